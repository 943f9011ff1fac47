"""Who acts: it sees an observation, and remembers by the world model what came before."""

import numpy as np
import torch

from dreams.config import DreamerConfig
from dreams.networks import Agent
from dreams.requirements import VALUE
from rlsys.api import Decision, PolicyContext
from rlsys.nets.acting import NetworkPolicy
from rlsys.nets.distributions.make import make_distribution
from rlsys.types import Array, State


class DreamerPolicy(NetworkPolicy[Agent]):
    """A network that is given its weights; its state is its memory, and the observation that it decided on last."""

    def __init__(self, context: PolicyContext) -> None:
        self._config: DreamerConfig = context.config
        self._seen = context.env.observation
        distribution = make_distribution(self._config, context.env)
        super().__init__(context, Agent(self._config, context.env), distribution, "fp32")

    def initial_state(self, batch_size: int) -> State:
        """Returns a memory of nothing."""
        return {
            "memory": np.zeros((batch_size, self._config.units), np.float32),
            "seen": np.zeros((batch_size, *self._seen.shape), self._seen.dtype),
        }

    @torch.inference_mode()
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Draws an action for each observation."""
        output = self._network.actor_critic(self.to_device(observation), self.to_device(state["memory"]))
        drawn = self.draw(output.policy.cpu().numpy(), 1.0 if explore else self._config.eval_temperature)
        after = {"memory": state["memory"], "seen": observation.copy()}
        return Decision(self._distribution.action(drawn), after, {VALUE: output.value.cpu().numpy()})

    @torch.inference_mode()
    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """Remembers what was seen and done."""
        memory = self._network.world(*map(self.to_device, (state["memory"], state["seen"], action)))
        return {"memory": memory.cpu().numpy(), "seen": state["seen"]}
