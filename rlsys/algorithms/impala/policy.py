"""IMPALA's acting side: one forward pass for all environments of a worker, on its own CPU or device.

Shape legend: B batch, P parameters of a distribution of actions.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.history import carried_tables
from rlsys.algorithms.impala.networks import ActorCritic, make_network
from rlsys.algorithms.impala.requirements import (
    LAST_REWARD,
    VALUE,
    behaviour_name,
    carries_sensitivities,
    sensitivity_name,
    state_sizes,
    state_specs,
)
from rlsys.api import Decision, PolicyContext
from rlsys.nets.acting import NetworkPolicy
from rlsys.nets.distributions.make import make_distribution
from rlsys.nets.distributions.spaces import drawn_extras
from rlsys.nets.rtrl_core import ExactCore
from rlsys.types import Array, State


class ImpalaPolicy(NetworkPolicy[ActorCritic]):
    """A network and one random stream. While exploring, actions are drawn from the policy; otherwise by temperature."""

    def __init__(self, context: PolicyContext) -> None:
        """Builds the network; `set_weights` must come before `act`."""
        self._config: ImpalaConfig = context.config
        distribution = make_distribution(self._config, context.env)
        network = make_network(self._config, context.env)
        super().__init__(context, network, distribution, self._config.acting_precision)
        self._behaviour, self._drawn = behaviour_name(context.env), drawn_extras(context.env)
        self._state_specs = state_specs(self._config, context.env)
        self._memory = tuple(state_sizes(self._config))

    def initial_state(self, batch_size: int) -> State:
        """Returns an empty memory and no reward."""
        return {name: np.zeros((batch_size, *spec.shape), spec.dtype) for name, spec in self._state_specs.items()}

    @torch.inference_mode()
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Draws an action for each observation; unless exploring, the values are among the extras, too."""
        features = self._see(observation)
        memory = {name: self.to_device(state[name]) for name in self._memory}
        last_reward = self.to_device(state[LAST_REWARD])
        output, after = self._network.step(features, last_reward, memory)
        policy_BP = output.policy.cpu().numpy()
        next_state = {**state, **{name: value.cpu().numpy() for name, value in after.items()}}
        if explore and carries_sensitivities(self._config):
            next_state |= self._carry(features, last_reward, memory, state)
        drawn = self.draw(policy_BP, 1.0 if explore else self._config.eval_temperature)
        extras = {self._behaviour: policy_BP, **dict.fromkeys(self._drawn, drawn)}
        if not explore:
            extras[VALUE] = output.value.cpu().numpy()
        encoded = features.cpu().numpy() if self._config.freeze_fc else None
        return Decision(self._distribution.action(drawn), next_state, extras, encoded=encoded)

    @torch.inference_mode()
    def encode(self, observation: Array) -> Array:
        """Returns the frozen stem's features, `[B, D]` float32."""
        features: Array = self._see(observation).cpu().numpy()
        return features

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """Remembers the reward."""
        return {**state, LAST_REWARD: reward}

    def _see(self, observation: Array) -> Tensor:
        with self._precision:
            return self._network.see(self.to_device(observation))

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
