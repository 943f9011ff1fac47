"""The actor-critic: a stem that sees, a core that may remember, and two heads.

Irie, Gopalakrishnan and Schmidhuber 2024, appendix B, https://arxiv.org/abs/2305.19044. The last reward, clamped to
[-1, 1], stands beside the stem's features; the last action does not.

Shape legend: B sequences, T rows, D features, P parameters of a distribution of actions.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.requirements import smallest_image, state_sizes, stem_features, stem_of
from rlsys.nets.distributions.make import make_head
from rlsys.nets.elstm import ELSTMCore
from rlsys.nets.lstm import LSTMCore
from rlsys.nets.observations.encoder import PartsEncoder
from rlsys.nets.observations.kinds import has_parts
from rlsys.nets.observations.normalization import RunningMoments
from rlsys.nets.recurrent import RecurrentCore, Unrolled
from rlsys.nets.rtrl_core import ExactCore
from rlsys.nets.rtu import RTUCore
from rlsys.nets.scaling import ObservationInput
from rlsys.nets.stems import DeepStem, DenseStem, NatureStem, NoStem
from rlsys.ops.sensitivities import SensitivityTable
from rlsys.types import EnvSpec


class Output(NamedTuple):
    """Parameters of the distribution of actions `[..., P]`, and values `[...]` in units of rewards, both float32."""

    policy: Tensor
    value: Tensor


class ActorCritic(nn.Module):
    """Stem, core and heads.

    Attributes:
      stem: what sees; has `features` and `fc`.
      core: what remembers; None for a feedforward network.
      observations: moments of what the stem is given, of one array of numbers; None where that is not normalised.
      returns: moments of the returns; None where values are not normalised.
    """

    def __init__(self, config: ImpalaConfig, env: EnvSpec) -> None:
        super().__init__()
        self._has_parts = has_parts(env)
        self._input = ObservationInput(env, is_image=smallest_image(config, env) is not None)
        self.stem = _make_stem(config, env)
        num_features = stem_features(config, env) + 1
        self.core: RecurrentCore | None = _make_core(config, num_features)
        num_outputs = num_features if self.core is None else self.core.num_outputs
        self.policy = make_head(config, env, num_outputs)
        self.baseline = nn.Linear(num_outputs, 1)
        is_normalized = config.normalize_observations and not self._has_parts
        self.observations = RunningMoments(prod(env.policy_observation.shape)) if is_normalized else None
        self.returns = RunningMoments(1) if config.normalize_returns else None
        assert self.core is None or dict(self.core.state_sizes) == state_sizes(config)

    def see(self, observation: Tensor) -> Tensor:
        """Returns the stem's features `[B, D]` float32 of observations `[B, ...]`."""
        features: Tensor = self.stem(observation if self._has_parts else self._prepare(observation))
        return features.float()

    def remember(self, observation: Tensor, average: Callable[[list[Any]], None]) -> None:
        """Takes observations `[B, ...]`, raw, into what normalises them; `average` is as in `RunningMoments`."""
        if self.observations is not None:
            self.observations.update(self._input(observation), average)
        if isinstance(self.stem, PartsStem):
            self.stem.features.update(observation, average)

    def step(
        self, features_BD: Tensor, reward_B: Tensor, state: Mapping[str, Tensor]
    ) -> tuple[Output, dict[str, Tensor]]:
        """Returns what it says about one row, and its memory after it."""
        inputs = _with_reward(features_BD, reward_B)
        if self.core is None:
            return self._say(inputs), {}
        output, after = self.core.step(inputs, state)
        return self._say(output), after

    def carry(
        self,
        features_BD: Tensor,
        reward_B: Tensor,
        state: Mapping[str, Tensor],
        tables: Sequence[SensitivityTable],
    ) -> None:
        """Moves the sensitivities of an exact core's layers over one row, in place; arguments as in `step`."""
        assert isinstance(self.core, ExactCore)
        self.core.carry(_with_reward(features_BD, reward_B), state, tables)

    def unroll(
        self, features_BTD: Tensor, reward_BT: Tensor, first_BT: Tensor, state: Mapping[str, Tensor]
    ) -> tuple[Output, Unrolled]:
        """Returns what it says about all rows, and what RTRL needs; arguments as in `RecurrentCore.unroll`."""
        inputs = _with_reward(features_BTD, reward_BT)
        unrolled = Unrolled(inputs) if self.core is None else self.core.unroll(inputs, first_BT, state)
        return self._say(unrolled.output), unrolled

    def _prepare(self, observation: Tensor) -> Tensor:
        prepared: Tensor = self._input(observation)
        return prepared if self.observations is None else self.observations(prepared)

    def _say(self, output: Tensor) -> Output:
        value = self.baseline(output).squeeze(-1)
        return Output(self.policy(output), value if self.returns is None else self.returns.denormalize(value))


class PartsStem(nn.Module):
    """Sees observations of several parts, or integers. Attributes as in `DeepStem`."""

    def __init__(self, config: ImpalaConfig, env: EnvSpec) -> None:
        super().__init__()
        self.features = PartsEncoder(
            env,
            config.fc_size,
            make_stem=lambda shape: (_make_image_stem(config, stem_of(config, env), shape), config.fc_size),
            smallest_image=smallest_image(config, env),
            normalizes=config.normalize_observations,
        )
        self.fc = nn.Linear(self.features.num_features, config.fc_size)

    def forward(self, observation: Tensor) -> Tensor:
        """Returns `[B, D]`, after a tanh, for `[B, ...]`."""
        return torch.tanh(self.fc(self.features(observation)))


def make_network(config: ImpalaConfig, env: EnvSpec) -> ActorCritic:
    """Returns the configured network with fresh weights."""
    return ActorCritic(config, env)


def _with_reward(features: Tensor, reward: Tensor) -> Tensor:
    return torch.cat([features, reward.clamp(-1.0, 1.0).unsqueeze(-1)], dim=-1)


def _make_stem(config: ImpalaConfig, env: EnvSpec) -> nn.Module:
    if has_parts(env):
        return PartsStem(config, env)
    shape = env.policy_observation.shape
    kind = stem_of(config, env)
    if kind == "none":
        return NoStem()
    if kind == "mlp":
        return DenseStem(prod(shape), config.fc_size)
    return _make_image_stem(config, kind, (prod(shape[:-2]), shape[-2], shape[-1]))


def _make_image_stem(config: ImpalaConfig, kind: str, shape: tuple[int, int, int]) -> nn.Module:
    if kind == "nature":
        return NatureStem(shape, config.fc_size)
    return DeepStem(shape, config.fc_size, conv_scale=config.conv_scale)


def _make_core(config: ImpalaConfig, num_inputs: int) -> RecurrentCore | None:
    match config.network:
        case "feedforward":
            return None
        case "lstm":
            return LSTMCore(num_inputs, config.hidden_size)
        case "elstm":
            return ELSTMCore(
                num_inputs, config.hidden_size, num_layers=config.num_layers, forget_bias=config.forget_bias
            )
        case "rtu" | "linear_rtu":
            linear = config.network == "linear_rtu"
            return RTUCore(num_inputs, config.hidden_size, num_layers=config.num_layers, linear=linear)
