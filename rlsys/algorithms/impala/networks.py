"""The actor-critic: a stem that sees, a core that may remember, and two heads.

Irie, Gopalakrishnan and Schmidhuber 2024, appendix B, https://arxiv.org/abs/2305.19044. The last reward, clamped to
[-1, 1], stands beside the stem's features; the last action does not.

Shape legend: B sequences, T rows, D features, A actions.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.requirements import state_sizes, stem_features, stem_of
from rlsys.nets.elstm import ELSTMCore
from rlsys.nets.lstm import LSTMCore
from rlsys.nets.recurrent import RecurrentCore, Unrolled
from rlsys.nets.rtrl_core import ExactCore
from rlsys.nets.rtu import RTUCore
from rlsys.nets.scaling import ObservationInput
from rlsys.nets.stems import DeepStem, DenseStem, NatureStem, NoStem
from rlsys.ops.sensitivities import SensitivityTable
from rlsys.types import EnvSpec


class Output(NamedTuple):
    """Logits `[..., A]` and values `[...]`, both float32."""

    logits: Tensor
    value: Tensor


class ActorCritic(nn.Module):
    """Stem, core and heads.

    Attributes:
      stem: what sees; has `features` and `fc`.
      core: what remembers; None for a feedforward network.
    """

    def __init__(self, config: ImpalaConfig, env: EnvSpec) -> None:
        super().__init__()
        self._input = ObservationInput(env, is_image=stem_of(config, env) in ("deep", "nature"))
        self.stem = _make_stem(config, env)
        num_features = stem_features(config, env) + 1
        self.core: RecurrentCore | None = _make_core(config, num_features)
        num_outputs = num_features if self.core is None else self.core.num_outputs
        self.policy = nn.Linear(num_outputs, env.num_actions)
        self.baseline = nn.Linear(num_outputs, 1)
        assert self.core is None or dict(self.core.state_sizes) == state_sizes(config)

    def see(self, observation: Tensor) -> Tensor:
        """Returns the stem's features `[B, D]` float32 of observations `[B, ...]`."""
        features: Tensor = self.stem(self._input(observation))
        return features.float()

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

    def _say(self, output: Tensor) -> Output:
        return Output(self.policy(output), self.baseline(output).squeeze(-1))


def make_network(config: ImpalaConfig, env: EnvSpec) -> ActorCritic:
    """Returns the configured network with fresh weights."""
    return ActorCritic(config, env)


def _with_reward(features: Tensor, reward: Tensor) -> Tensor:
    return torch.cat([features, reward.clamp(-1.0, 1.0).unsqueeze(-1)], dim=-1)


def _make_stem(config: ImpalaConfig, env: EnvSpec) -> nn.Module:
    shape = env.policy_observation.shape
    kind = stem_of(config, env)
    if kind == "none":
        return NoStem()
    if kind == "mlp":
        return DenseStem(int(torch.Size(shape).numel()), config.fc_size)
    height, width = shape[-2:]
    channels = int(torch.Size(shape[:-2]).numel())
    if kind == "nature":
        return NatureStem((channels, height, width), config.fc_size)
    return DeepStem((channels, height, width), config.fc_size, conv_scale=config.conv_scale)


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
