"""Who acts: it sees frames as their tokens tell them, and draws what its actor-critic says.

Shape legend: B environments, A actions.
"""

import numpy as np
import torch

from rlsys.algorithms.iris.actor_critic import Agent, Recalled
from rlsys.algorithms.iris.config import IrisConfig
from rlsys.algorithms.iris.requirements import VALUE
from rlsys.api import Decision, PolicyContext
from rlsys.nets.acting import NetworkPolicy
from rlsys.nets.distributions.categorical import Categorical
from rlsys.types import Array, State


class IrisPolicy(NetworkPolicy[Agent]):
    """Its state is what the LSTM remembers of the episode."""

    def __init__(self, context: PolicyContext) -> None:
        self._config: IrisConfig = context.config
        self._num_actions = context.env.num_actions
        super().__init__(context, Agent(self._config, context.env), Categorical(), self._config.precision)

    def initial_state(self, batch_size: int) -> State:
        """Returns that nothing was seen."""
        units = self._config.actor_critic.units
        return {name: np.zeros((batch_size, units), np.float32) for name in Recalled._fields}

    @torch.inference_mode()
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Draws an action for each observation; while collecting some of them are uniformly random instead."""
        memory = Recalled(*(self.to_device(state[name]) for name in Recalled._fields))
        with self._precision:
            judged = self._network(self.to_device(observation), memory)
        config, policy_BA = self._config, judged.policy.cpu().numpy()
        action = self.draw(policy_BA, config.temperature if explore else config.eval_temperature)
        if explore:
            action = np.where(self._rng.random(len(action)) < config.epsilon, self._random(len(action)), action)
        remembered = {name: part.cpu().numpy() for name, part in judged.memory._asdict().items()}
        return Decision(action, remembered, {VALUE: judged.value.cpu().numpy()})

    def _random(self, num_environments: int) -> Array:
        return self._rng.integers(0, self._num_actions, num_environments)
