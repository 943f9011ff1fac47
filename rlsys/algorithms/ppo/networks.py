"""PPO's networks: a body that sees, and two heads that share what it says.

Kaiser et al. 2020, appendix, https://arxiv.org/abs/1903.00374. Kernels are orthogonal with a gain of 1.5, biases 0.
A policy that learns in a simulation may be told how good that is: by an embedding of the epoch, beside what it sees.

Shape legend: B batch, A actions.
"""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.ppo.requirements import network_of
from rlsys.nets.pixels import FlattenPixels
from rlsys.nets.same_padding import SameConv
from rlsys.nets.scaling import ObservationInput
from rlsys.nets.stems import NatureStem
from rlsys.types import EnvSpec

_GAIN = 1.5
_CHANNELS, _KERNEL, _STRIDE = 32, 5, 2
_EPOCHS = 32
"""Epochs that are told apart, the last standing for all later ones; also the size of their embedding."""


class Output(NamedTuple):
    """Logits `[B, A]` and values `[B]`, both float32."""

    logits: Tensor
    value: Tensor


class ActorCritic(nn.Module):
    """A body and two heads."""

    def __init__(self, config: PPOConfig, env: EnvSpec) -> None:
        super().__init__()
        shape = env.policy_observation.shape
        network = network_of(config, env)
        is_image = network != "mlp"
        self._clip = config.logits_clip
        self._input = ObservationInput(env, is_image=is_image)
        if network == "cnn_nature":
            self.seeing, num_seen = _nature_cnn(shape)
        else:
            self.seeing, num_seen = _small_cnn(shape) if is_image else _hidden(prod(shape), config.hidden_size)
        self.epoch = nn.Embedding(_EPOCHS, _EPOCHS) if config.use_epochs else None
        self.hidden = nn.Linear(num_seen + (_EPOCHS if config.use_epochs else 0), config.hidden_size)
        self._activation = nn.ReLU() if is_image else nn.Tanh()
        self.policy = nn.Linear(config.hidden_size, env.num_actions)
        self.value = nn.Linear(config.hidden_size, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding):
                nn.init.orthogonal_(module.weight, gain=_GAIN)
            if isinstance(module, nn.Linear | nn.Conv2d):
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, observation: Tensor, epoch: Tensor | None = None) -> Output:
        """Returns what it says about observations `[B, ...]`, raw; `epoch` `[B]` is 0 where it is not given."""
        return self.judge(self.prepare(observation), epoch)

    def prepare(self, observation: Tensor) -> Tensor:
        """Returns what the body computes with, once for observations `[B, ...]` that are judged more than once."""
        prepared: Tensor = self._input(observation)
        return prepared

    def judge(self, prepared: Tensor, epoch: Tensor | None = None) -> Output:
        """Does the rest of `forward`."""
        seen = self.seeing(prepared)
        if self.epoch is not None:
            index = torch.zeros(len(seen), dtype=torch.int64, device=seen.device) if epoch is None else epoch
            seen = torch.cat([seen, self.epoch(index.clamp(max=_EPOCHS - 1)).to(seen.dtype)], dim=1)
        features = self._activation(self.hidden(seen)).float()
        with torch.autocast(features.device.type, enabled=False):
            logits, value = self.policy(features), self.value(features).squeeze(-1)
        return Output(logits.clamp(-self._clip, self._clip) if self._clip else logits, value)


def _small_cnn(shape: tuple[int, ...]) -> tuple[nn.Sequential, int]:
    """Returns two convolutions that halve height and width, and the number of their features."""
    first = SameConv(prod(shape[:-2]), _CHANNELS, _KERNEL, _STRIDE, (shape[-2], shape[-1]))
    second = SameConv(_CHANNELS, _CHANNELS, _KERNEL, _STRIDE, first.size)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), FlattenPixels()), _CHANNELS * prod(second.size)


def _nature_cnn(shape: tuple[int, ...]) -> tuple[nn.Sequential, int]:
    """Returns DQN's convolutions, and the number of their features."""
    stem = NatureStem((prod(shape[:-2]), shape[-2], shape[-1]), num_features=1)
    return stem.features, stem.fc.in_features


def _hidden(num_inputs: int, num_features: int) -> tuple[nn.Sequential, int]:
    return nn.Sequential(nn.Linear(num_inputs, num_features), nn.Tanh()), num_features
