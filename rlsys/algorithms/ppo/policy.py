"""The acting side of PPO: draws actions, and remembers how probable they were and what was expected.

Shape legend: B environments, A actions.
"""

import numpy as np
import torch

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.ppo.networks import ActorCritic
from rlsys.algorithms.ppo.requirements import LOG_PROBABILITY, VALUE
from rlsys.api import Decision, PolicyContext
from rlsys.nets.acting import NetworkPolicy
from rlsys.types import Array, State


class PPOPolicy(NetworkPolicy[ActorCritic]):
    """A network that is given its weights."""

    def __init__(self, context: PolicyContext) -> None:
        self._config: PPOConfig = context.config
        super().__init__(context, ActorCritic(self._config, context.env), self._config.acting_precision)

    def initial_state(self, batch_size: int) -> State:
        """Returns `{}`: a stack of frames is all that it remembers."""
        return {}

    @torch.inference_mode()
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Draws an action for each observation, at temperature 1 or, in evaluations, `eval_temperature`."""
        with self._precision:
            output = self._network(self.to_device(observation))
        logits_BA, value_B = output.logits.cpu().numpy(), output.value.cpu().numpy()
        temperature = 1.0 if explore else self._config.eval_temperature
        action_B = self.choose(logits_BA, temperature)
        return Decision(action_B, state, {LOG_PROBABILITY: _log_probability(logits_BA, action_B), VALUE: value_B})


def _log_probability(logits_BA: Array, action_B: Array) -> Array:
    """Returns `[B]` float32: log π(action) at temperature 1."""
    shifted_BA = logits_BA - logits_BA.max(axis=1, keepdims=True)
    chosen_B = shifted_BA[np.arange(len(action_B)), action_B]
    log_probability_B: Array = chosen_B - np.log(np.exp(shifted_BA).sum(axis=1))
    return log_probability_B.astype(np.float32, copy=False)
