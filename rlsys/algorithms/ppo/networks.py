"""PPO's networks: a body that sees, and two heads that share what it says.

Kaiser et al. 2020, appendix, https://arxiv.org/abs/1903.00374. Kernels are orthogonal with a gain of 1.5, biases 0.

Shape legend: B batch, K frames of a stack, C channels, A actions.
"""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.ppo.requirements import network_of
from rlsys.nets.scaling import ObservationInput
from rlsys.types import EnvSpec

_GAIN = 1.5
_CHANNELS, _KERNEL, _STRIDE = 32, 5, 2


class Output(NamedTuple):
    """Logits `[B, A]` and values `[B]`, both float32."""

    logits: Tensor
    value: Tensor


class ActorCritic(nn.Module):
    """A body and two heads."""

    def __init__(self, config: PPOConfig, env: EnvSpec) -> None:
        super().__init__()
        shape = env.policy_observation.shape
        is_image = network_of(config, env) == "cnn_small"
        self._clip = config.logits_clip
        self._input = ObservationInput(env, is_image=is_image)
        self.body = _small_cnn(shape, config.hidden_size) if is_image else _mlp(prod(shape), config.hidden_size)
        self.policy = nn.Linear(config.hidden_size, env.num_actions)
        self.value = nn.Linear(config.hidden_size, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.orthogonal_(module.weight, gain=_GAIN)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, observation: Tensor) -> Output:
        """Returns what it says about observations `[B, ...]`, raw."""
        features = self.body(self._input(observation)).float()
        with torch.autocast(features.device.type, enabled=False):
            logits, value = self.policy(features), self.value(features).squeeze(-1)
        return Output(logits.clamp(-self._clip, self._clip) if self._clip else logits, value)


def _small_cnn(shape: tuple[int, ...], num_features: int) -> nn.Sequential:
    """Two convolutions that halve height and width, padded as TensorFlow's "same" pads, and a dense layer."""
    height, width = shape[-2:]
    layers: list[nn.Module] = []
    num_in = prod(shape[:-2])
    for _ in range(2):
        layers += [nn.ZeroPad2d((*_same(width), *_same(height))), nn.Conv2d(num_in, _CHANNELS, _KERNEL, _STRIDE)]
        layers += [nn.ReLU()]
        num_in, height, width = _CHANNELS, -(-height // _STRIDE), -(-width // _STRIDE)
    dense = nn.Linear(_CHANNELS * height * width, num_features)
    return nn.Sequential(*layers, nn.Flatten(), dense, nn.ReLU())


def _same(size: int) -> tuple[int, int]:
    """Returns what is padded before and after a side, so that it becomes ⌈size / stride⌉."""
    total = max(0, (-(-size // _STRIDE) - 1) * _STRIDE + _KERNEL - size)
    return total // 2, total - total // 2


def _mlp(num_inputs: int, num_features: int) -> nn.Sequential:
    layers = [nn.Linear(num_inputs, num_features), nn.Tanh(), nn.Linear(num_features, num_features), nn.Tanh()]
    return nn.Sequential(*layers)
