"""The acting side of PPO: draws actions, and remembers how probable they were and what was expected.

Shape legend: B environments, A actions.
"""

import contextlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.ppo.networks import ActorCritic
from rlsys.algorithms.ppo.requirements import LOG_PROBABILITY, VALUE
from rlsys.api import Decision, Policy, PolicyContext, Saved
from rlsys.nets.flat import module_arrays, share_arrays
from rlsys.nets.precision import multiplies_bfloat16
from rlsys.types import Array, State, Weights


class PPOPolicy(Policy):
    """A network that is given its weights."""

    def __init__(self, context: PolicyContext) -> None:
        self._config: PPOConfig = context.config
        self._device = torch.device(context.device)
        self._network = ActorCritic(self._config, context.env).to(self._device).eval()
        self._has_weights = False
        self._rng = np.random.default_rng(context.seed)
        rounded = self._config.acting_precision == "bf16" and multiplies_bfloat16(self._device)
        self._precision = torch.autocast(self._device.type, torch.bfloat16) if rounded else contextlib.nullcontext()

    def initial_state(self, batch_size: int) -> State:
        """Returns `{}`: a stack of frames is all that it remembers."""
        return {}

    @torch.inference_mode()
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Draws an action for each observation, at temperature 1 or, in evaluations, `eval_temperature`."""
        with self._precision:
            output = self._network(self._to_device(observation))
        logits_BA, value_B = output.logits.cpu().numpy(), output.value.cpu().numpy()
        temperature = 1.0 if explore else self._config.eval_temperature
        action_B = self._choose(logits_BA, temperature)
        return Decision(action_B, state, {LOG_PROBABILITY: _log_probability(logits_BA, action_B), VALUE: value_B})

    def set_weights(self, weights: Weights) -> None:
        """Acts with the arrays as they are; on another device, with a copy."""
        self._has_weights = True
        share_arrays(self._network, weights.arrays)

    def weights(self) -> Mapping[str, Array]:
        """See `Policy`."""
        return module_arrays(self._network) if self._has_weights else {}

    def save(self) -> Saved:
        """Returns the random state."""
        return {"rng": self._rng.bit_generator.state}

    def load(self, saved: Saved) -> None:
        """Takes over the random state."""
        self._rng.bit_generator.state = saved["rng"]

    def _choose(self, logits_BA: Array, temperature: float) -> Array:
        """Draws from softmax(logits / temperature) by Gumbel's trick; the best action at temperature 0."""
        scores_BA = logits_BA
        if temperature > 0.0:
            scores_BA = logits_BA / temperature + self._rng.gumbel(size=logits_BA.shape)
        return np.asarray(scores_BA.argmax(axis=1))

    def _to_device(self, array: Array) -> Tensor:
        tensor: Tensor = torch.from_numpy(np.require(array, requirements=("C", "W")))
        return tensor if self._device.type == "cpu" else tensor.to(self._device)


def _log_probability(logits_BA: Array, action_B: Array) -> Array:
    """Returns `[B]` float32: log π(action) at temperature 1."""
    shifted_BA = logits_BA - logits_BA.max(axis=1, keepdims=True)
    chosen_B = shifted_BA[np.arange(len(action_B)), action_B]
    log_probability_B: Array = chosen_B - np.log(np.exp(shifted_BA).sum(axis=1))
    return log_probability_B.astype(np.float32, copy=False)
