"""EfficientZero's network for pictures.

Ye et al. 2021, appendix A.1, https://arxiv.org/abs/2111.00210; embedded actions: Wang et al. 2024, appendix,
https://arxiv.org/abs/2403.00564.
Shape legend: B batch, S channels, H W height and width of a state, F numbers that a head reads.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.muzero.networks import (
    Network,
    Prediction,
    Sizes,
    action_planes,
    image_shape,
    with_action_planes,
)
from rlsys.nets.residual import ResidualBlock, StridedResidualBlock, conv3x3


class EfficientZeroNetwork(Network):
    """One residual block where MuZero has a tower; state `[B, S, H / 16, W / 16]`, which is not scaled.

    A transition adds to the state what it changes. The reward is read from where it leads.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        num_planes, *pixels = image_shape(sizes)
        channels = sizes.num_channels
        half = channels // 2
        self._state_shape = channels, *pixels
        self.representation = nn.Sequential(
            conv3x3(num_planes, half, stride=2, bias=False),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            ResidualBlock(half),
            StridedResidualBlock(half, channels),
            ResidualBlock(channels),
            nn.AvgPool2d(kernel_size=3, stride=2, padding=1),
            ResidualBlock(channels),
            nn.AvgPool2d(kernel_size=3, stride=2, padding=1),
            ResidualBlock(channels),
        )
        embedded = sizes.num_action_channels
        self.action = ActionEmbedding(action_planes(sizes), embedded, pixels) if embedded else nn.Identity()
        self.change = nn.Sequential(
            conv3x3(channels + (embedded or action_planes(sizes)), channels, bias=False), nn.BatchNorm2d(channels)
        )
        self.dynamics = ResidualBlock(channels)
        self.reduced_reward = _reduced(channels)
        self.reward = nn.Identity() if sizes.has_prefix else _head(self._state_shape, sizes.reward)
        self.prediction = ResidualBlock(channels)
        self.value = nn.Sequential(_reduced(channels), _head(self._state_shape, sizes.value))
        self.policy = nn.Sequential(_reduced(channels), _head(self._state_shape, sizes.policy))

    @property
    def state_shape(self) -> tuple[int, ...]:
        """S planes."""
        return self._state_shape

    @property
    def reward_size(self) -> int:
        """Of all reduced planes, where a value prefix is made of them."""
        return math.prod(self._state_shape) // _REDUCTION if self.sizes.has_prefix else self.sizes.reward

    def represent(self, observation: Tensor) -> Tensor:
        """Returns `[B, S, H / 16, W / 16]`."""
        return self.representation(self._planes(observation))  # type: ignore[no-any-return]

    def transition(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the next state twice, the second time for the reward."""
        planes = with_action_planes(state[:, :0], action, self.sizes.num_actions)
        changed = functional.relu(state + self.change(torch.cat([state, self.action(planes)], dim=1)))
        next_state = self.dynamics(changed)
        return next_state, next_state

    def predict_reward(self, features: Tensor) -> Tensor:
        """Returns `[B, R]`, or `[B, F]` for a value prefix."""
        return self.reward(self.reduced_reward(features))  # type: ignore[no-any-return]

    def predict(self, state: Tensor) -> Prediction:
        """Returns value and policy, from one block."""
        features = self.prediction(state)
        return Prediction(self.value(features), self.policy(features))


class ActionEmbedding(nn.Module):
    """Planes that say an action, seen by a convolution of 1×1 and normalised: EfficientZero V2's."""

    def __init__(self, num_planes: int, num_channels: int, pixels: list[int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_planes, num_channels, kernel_size=1)
        self.norm = nn.LayerNorm([num_channels, *pixels])

    def forward(self, planes: Tensor) -> Tensor:
        """Returns `[B, num_channels, H, W]`."""
        return functional.relu(self.norm(self.conv(planes)))


_REDUCTION = 4


def _reduced(num_channels: int) -> nn.Sequential:
    """Returns what reads a quarter as many channels, `[B, F]`."""
    reduced = num_channels // _REDUCTION
    return nn.Sequential(
        nn.Conv2d(num_channels, reduced, kernel_size=1), nn.BatchNorm2d(reduced), nn.ReLU(), nn.Flatten(start_dim=1)
    )


def _head(state_shape: tuple[int, ...], num_out: int) -> nn.Sequential:
    """Returns two layers on reduced planes; at first they say 0."""
    hidden = state_shape[0] // 2
    out = nn.Linear(hidden, num_out)
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)
    num_in = math.prod(state_shape) // _REDUCTION
    return nn.Sequential(nn.Linear(num_in, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), out)
