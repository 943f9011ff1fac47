"""IMPALA's acting side: one forward pass for all environments of a worker, on its own CPU or device.

Shape legend: B batch, A actions.
"""

import contextlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.history import carried_tables
from rlsys.algorithms.impala.networks import make_network
from rlsys.algorithms.impala.requirements import (
    LAST_REWARD,
    LOGITS,
    carries_sensitivities,
    sensitivity_name,
    state_sizes,
    state_specs,
)
from rlsys.api import Decision, Policy, PolicyContext, Saved
from rlsys.nets.exact import ExactCore
from rlsys.nets.flat import module_arrays, share_arrays
from rlsys.nets.precision import multiplies_bfloat16
from rlsys.types import Array, State, Weights


class ImpalaPolicy(Policy):
    """A network and one random stream. While exploring, actions are drawn from the policy; otherwise by temperature."""

    def __init__(self, context: PolicyContext) -> None:
        """Builds the network; `set_weights` must come before `act`."""
        self._config: ImpalaConfig = context.config
        self._device = torch.device(context.device)
        self._network = make_network(self._config, context.env).to(self._device).eval()
        self._has_weights = False
        self._rng = np.random.default_rng(context.seed)
        self._state_specs = state_specs(self._config, context.env)
        self._memory = tuple(state_sizes(self._config))
        rounded = self._config.acting_precision == "bf16" and multiplies_bfloat16(self._device)
        self._precision = torch.autocast(self._device.type, torch.bfloat16) if rounded else contextlib.nullcontext()

    def initial_state(self, batch_size: int) -> State:
        """Returns an empty memory and no reward."""
        return {name: np.zeros((batch_size, *spec.shape), spec.dtype) for name, spec in self._state_specs.items()}

    @torch.inference_mode()
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Draws an action for each observation; unless exploring, the values are among the extras, too."""
        features = self._see(observation)
        memory = {name: self._to_device(state[name]) for name in self._memory}
        last_reward = self._to_device(state[LAST_REWARD])
        output, after = self._network.step(features, last_reward, memory)
        logits = output.logits.cpu().numpy()
        next_state = {**state, **{name: value.cpu().numpy() for name, value in after.items()}}
        if explore and carries_sensitivities(self._config):
            next_state |= self._carry(features, last_reward, memory, state)
        temperature = 1.0 if explore else self._config.eval_temperature
        extras = {LOGITS: logits} if explore else {LOGITS: logits, "value": output.value.cpu().numpy()}
        encoded = features.cpu().numpy() if self._config.freeze_fc else None
        return Decision(self._choose(logits, temperature), next_state, extras, encoded=encoded)

    @torch.inference_mode()
    def encode(self, observation: Array) -> Array:
        """Returns the frozen stem's features, `[B, D]` float32."""
        features: Array = self._see(observation).cpu().numpy()
        return features

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """Remembers the reward."""
        return {**state, LAST_REWARD: reward}

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

    def _see(self, observation: Array) -> Tensor:
        with self._precision:
            return self._network.see(self._to_device(observation))

    def _carry(
        self, features_BD: Tensor, last_reward_B: Tensor, memory: Mapping[str, Tensor], state: State
    ) -> dict[str, Array]:
        core = self._network.core
        assert isinstance(core, ExactCore)
        tables = carried_tables(list(core.each_layer()), state)
        self._network.carry(features_BD, last_reward_B, memory, tables)
        return {
            sensitivity_name(layer, name): value.cpu().numpy()
            for layer, table in enumerate(tables)
            for name, value in table.named().items()
        }

    def _choose(self, logits_BA: Array, temperature: float) -> Array:
        """Draws from softmax(logits / temperature) by Gumbel's trick; the best action at temperature 0."""
        scores_BA = logits_BA
        if temperature > 0.0:
            scores_BA = logits_BA / temperature + self._rng.gumbel(size=logits_BA.shape)
        return np.asarray(scores_BA.argmax(axis=1))

    def _to_device(self, array: Array) -> Tensor:
        tensor: Tensor = torch.from_numpy(np.require(array, requirements=("C", "W")))
        return tensor if self._device.type == "cpu" else tensor.to(self._device)
