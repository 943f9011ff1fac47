"""PPO's networks: a body that sees, and two heads that share what it says.

Kaiser et al. 2020, appendix, https://arxiv.org/abs/1903.00374. Kernels are orthogonal with a gain of 1.5, biases 0.
A policy that learns in a simulation may be told how good that is: by an embedding of the epoch, beside what it sees.

Shape legend: B batch, P parameters of a distribution of actions.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.ppo.requirements import network_of, smallest_image
from rlsys.nets.distributions.gaussian import GaussianHead
from rlsys.nets.distributions.make import make_head
from rlsys.nets.observations.encoder import PartsEncoder
from rlsys.nets.observations.kinds import has_parts
from rlsys.nets.observations.normalization import RunningMoments
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
    """Parameters of the distribution of actions `[B, P]`, and values `[B]` in units of rewards, both float32."""

    policy: Tensor
    value: Tensor


class Body(nn.Module):
    """Sees, and makes of it the features of the last hidden layer."""

    def __init__(self, config: PPOConfig, env: EnvSpec) -> None:
        super().__init__()
        is_image = network_of(config, env) != "mlp"
        self.seeing, num_seen = _make_seeing(config, env)
        self.epoch = nn.Embedding(_EPOCHS, _EPOCHS) if config.use_epochs else None
        self.hidden = nn.Linear(num_seen + (_EPOCHS if config.use_epochs else 0), config.hidden_size)
        self._activation = nn.ReLU() if is_image else nn.Tanh()

    def features(self, prepared: Tensor, epoch: Tensor | None) -> Tensor:
        """Returns `[B, hidden_size]` float32."""
        seen = self.seeing(prepared)
        if self.epoch is not None:
            index = torch.zeros(len(seen), dtype=torch.int64, device=seen.device) if epoch is None else epoch
            seen = torch.cat([seen, self.epoch(index.clamp(max=_EPOCHS - 1)).to(seen.dtype)], dim=1)
        features: Tensor = self._activation(self.hidden(seen)).float()
        return features


class ActorCritic(Body):
    """A body and two heads.

    Attributes:
      critic: the values' own body; None where policy and value share one.
      observations: moments of what the network is given, of one array of numbers; None where that is not normalised.
      returns: moments of the returns; None where values are not normalised.
    """

    def __init__(self, config: PPOConfig, env: EnvSpec) -> None:
        super().__init__(config, env)
        self._clip = config.logits_clip
        self._has_parts = has_parts(env)
        self._input = ObservationInput(env, is_image=network_of(config, env) != "mlp")
        self.policy = make_head(config, env, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, 1)
        self.critic = None if config.vf_share_layers else Body(config, env)
        is_normalized = config.normalize_observations and not self._has_parts
        self.observations = RunningMoments(prod(env.policy_observation.shape)) if is_normalized else None
        self.returns = RunningMoments(1) if config.normalize_returns else None
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.Embedding) and not isinstance(module, GaussianHead):
                nn.init.orthogonal_(module.weight, gain=_GAIN)
                if not isinstance(module, nn.Embedding):
                    assert module.bias is not None
                    nn.init.zeros_(module.bias)

    def forward(self, observation: Tensor, epoch: Tensor | None = None) -> Output:
        """Returns what it says about observations `[B, ...]`, raw; `epoch` `[B]` is 0 where it is not given."""
        return self.judge(self.prepare(observation), epoch)

    def prepare(self, observation: Tensor) -> Tensor:
        """Returns what the body computes with, once for observations `[B, ...]` that are judged more than once."""
        if self._has_parts:
            return observation.reshape(len(observation), -1)
        prepared: Tensor = self._input(observation)
        return prepared if self.observations is None else self.observations(prepared)

    def judge(self, prepared: Tensor, epoch: Tensor | None = None) -> Output:
        """Does the rest of `forward`."""
        features = self.features(prepared, epoch)
        of_value = features if self.critic is None else self.critic.features(prepared, epoch)
        with torch.autocast(features.device.type, enabled=False):
            policy, value = self.policy(features), self.value(of_value).squeeze(-1)
        value = value if self.returns is None else self.returns.denormalize(value)
        return Output(policy.clamp(-self._clip, self._clip) if self._clip else policy, value)

    def remember(self, observation: Tensor, average: Callable[[list[Any]], None]) -> None:
        """Takes observations `[B, ...]`, raw, into what normalises them; `average` is as in `RunningMoments`."""
        if self.observations is not None:
            self.observations.update(self._input(observation), average)
        for body in (self, self.critic):
            if body is not None and isinstance(body.seeing, PartsEncoder):
                body.seeing.update(observation, average)


def _make_seeing(config: PPOConfig, env: EnvSpec) -> tuple[nn.Module, int]:
    """Returns what sees an observation, and the number of its features."""
    shape = env.policy_observation.shape
    network = network_of(config, env)
    make_stem = _nature_cnn if network == "cnn_nature" else _small_cnn
    if has_parts(env):
        encoder = PartsEncoder(
            env,
            config.hidden_size,
            make_stem=make_stem,
            smallest_image=smallest_image(config, env),
            normalizes=config.normalize_observations,
        )
        return encoder, encoder.num_features
    return make_stem(shape) if network != "mlp" else _hidden(prod(shape), config.hidden_size)


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
