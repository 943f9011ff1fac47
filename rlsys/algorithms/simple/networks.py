"""The world model's network: it predicts the next frame, for sure, or with bits drawn for what it cannot know.

Kaiser et al. 2020, section 4 and appendix, https://arxiv.org/abs/1903.00374.

    frame, memory ── 1×1 ── ↓ ↓ … ↓ ── action ── bits ── ○ ○ ── ↑ ↑ … ↑ ── 1×1 ── 256 logits per channel of a pixel
                      └──────┴─┴──────── added ──────────────────┘ ┘        └──── 3 logits of a reward of -1, 0, 1

What the model remembers of earlier frames is its memory: the last three of them, or a recurrent state. Where pixels
are predicted one channel at a time, the likeliest of 256 values is what is seen.

Shape legend: B batch, C channels of a frame, H W its height and width.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.simple.config import WorldModelConfig
from rlsys.algorithms.simple.latents import Latents
from rlsys.algorithms.simple.layers import (
    ActionEmbedding,
    Activation,
    ChannelNorm,
    Inject,
    Timing,
    belu,
    initialize,
    make_even,
    standardize,
)
from rlsys.api import Saved
from rlsys.nets import flat
from rlsys.types import EnvSpec

INPUT_FRAMES = 4
"""Frames that a prediction begins from."""
REWARDS = (-1.0, 0.0, 1.0)
"""Rewards that can be predicted."""

_VALUES = 256
_REWARD_UNITS = 128
_EMBED_BIAS_DEVIATION = 0.01


class Prediction(NamedTuple):
    """What comes after a frame.

    Attributes:
      pixel_logits: `[B, H, W, C, 256]`.
      reward_logits: `[B, 3]`.
      memory: for the next call.
      latent_loss: of the predictor of bits; 0 without one.
    """

    pixel_logits: Tensor
    reward_logits: Tensor
    memory: Tensor
    latent_loss: Tensor

    @property
    def frame(self) -> Tensor:
        """`[B, C, H, W]` uint8, the likeliest."""
        return self.pixel_logits.detach().argmax(dim=-1).to(torch.uint8).permute(0, 3, 1, 2)

    @property
    def reward(self) -> Tensor:
        """`[B]` float32, the likeliest."""
        return self.reward_logits.detach().argmax(dim=1).float() + REWARDS[0]


class WorldModel(nn.Module):
    """Either model; in training mode it drops out, and reads its bits off the true next frame."""

    def __init__(self, config: WorldModelConfig, num_channels: int, size: tuple[int, int], num_actions: int) -> None:
        """Builds it for frames of some channels, height and width."""
        super().__init__()
        self._config = config
        self._is_stochastic = config.generative_model == "stochastic_discrete"
        self._activation: Activation = functional.relu if config.activation == "relu" else belu
        self._frame_shape = (num_channels, *size)
        hidden, state = config.hidden_size, config.recurrent_state_size
        self.action = ActionEmbedding(num_actions, hidden)
        num_in = num_channels + state if self._is_stochastic else INPUT_FRAMES * num_channels
        self.embed = nn.Conv2d(num_in, hidden, 1)
        self.timing = Timing(hidden, *size)
        shapes = _shapes(config, size)
        self.down = nn.ModuleList(_Down(config, *pair, self._activation) for pair in itertools.pairwise(shapes))
        top, height, width = shapes[-1]
        self.inject = Inject(top, hidden)
        self.latents = (
            Latents(
                config,
                num_channels=num_channels,
                num_features=hidden,
                frame_size=size,
                num_top=top,
                top_size=(height, width),
            )
            if self._is_stochastic
            else None
        )
        self.middle = _Middle(config, top, self._activation)
        upward = shapes[::-1]
        self.up = nn.ModuleList(_Up(config, *pair, hidden, self._activation) for pair in itertools.pairwise(upward))
        self.pixels = nn.Linear(hidden, num_channels * _VALUES)
        self.reward_hidden = nn.Linear(top + hidden, _REWARD_UNITS)
        self.reward = nn.Linear(_REWARD_UNITS, len(REWARDS), bias=False)
        if self._is_stochastic:
            self.gate = nn.Conv2d(state + num_channels, 2 * state, 3, padding=1)
        initialize(self)
        nn.init.normal_(self.embed.bias, std=_EMBED_BIAS_DEVIATION)  # type: ignore[arg-type]
        nn.init.normal_(self.reward.weight, std=_REWARD_UNITS**-0.5)
        if self.latents is not None:
            nn.init.normal_(self.latents.posterior.embed.bias, std=_EMBED_BIAS_DEVIATION)  # type: ignore[arg-type]

    def begin(self, frames: Tensor) -> Tensor:
        """Returns the memory after the first three of four frames, `[B, 4, C, H, W]`; the last goes into `forward`."""
        if not self._is_stochastic:
            return frames[:, :-1]
        memory = self.no_memory(len(frames))
        for index in range(frames.shape[1] - 1):
            memory = self.remember(memory, frames[:, index])
        return memory

    def remember(self, memory: Tensor, frame: Tensor) -> Tensor:
        """Returns the recurrent state after a frame."""
        return self._remember(memory, standardize(frame))

    def no_memory(self, batch_size: int) -> Tensor:
        """Returns the recurrent state before the first frame of a clip."""
        size = self._frame_shape[1:]
        return torch.zeros(batch_size, self._config.recurrent_state_size, *size, device=self.embed.weight.device)

    def forward(
        self,
        frame: Tensor,
        action: Tensor,
        memory: Tensor,
        after: Tensor | None = None,
        step: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Prediction:
        """Predicts what comes after a frame.

        Args:
          frame: `[B, C, H, W]` uint8 (or, with noise, float), the newest.
          action: `[B]` int64, what is done in it.
          memory: of the frames before it.
          after: in training, the true next frame.
          step: in training, how many updates there were, as a scalar.
          generator: that bits are drawn from without `after`; None: torch's own stream.
        """
        seen = standardize(frame)
        if self._is_stochastic:
            inputs, remembered = torch.cat([seen, memory], dim=1), self._remember(memory, seen)
        else:
            before = standardize(memory).flatten(start_dim=1, end_dim=2)
            inputs, remembered = torch.cat([before, seen], dim=1), torch.cat([memory[:, 1:], frame[:, None]], dim=1)
        embedded = self.action(action)
        x = self.timing(self.embed(inputs.contiguous(memory_format=torch.channels_last)))
        skips = []
        for layer in self.down:
            skips.append(x)
            x = layer(x)
        x = self.inject(x, embedded)
        latent_loss = torch.zeros((), device=x.device)
        if self.latents is not None:
            if after is None:
                x = self.latents.predict(x, generator)
            else:
                assert step is not None
                x, latent_loss = self.latents.read(x, seen, standardize(after), embedded, step)
        mean = x.mean(dim=(-2, -1))
        x = self.middle(x)
        for layer, skip in zip(self.up, reversed(skips), strict=True):
            x = layer(x, skip, embedded)
        both = torch.cat([mean, x.mean(dim=(-2, -1))], dim=1)
        reward_logits = self.reward(functional.relu(self.reward_hidden(both))).float()
        logits = self.pixels(x.permute(0, 2, 3, 1)).unflatten(-1, (-1, _VALUES))  # values side by side in memory
        return Prediction(logits, reward_logits, remembered, latent_loss)

    def _remember(self, memory: Tensor, seen: Tensor) -> Tensor:
        gate, candidate = self.gate(torch.cat([memory, seen], dim=1)).float().chunk(2, dim=1)
        gate = torch.sigmoid(gate)
        return memory * gate + torch.tanh(candidate) * (1.0 - gate)


def make_world_model(config: WorldModelConfig, env: EnvSpec) -> WorldModel:
    """Returns a model with fresh weights for the frames of an environment, pictures `[H, W]` or `[C, H, W]`."""
    *channels, height, width = env.observation.shape
    return WorldModel(config, channels[0] if channels else 1, (height, width), env.num_actions)


def check_world_model(network: WorldModel, saved: Saved, env: EnvSpec) -> None:
    """Refuses weights of another model.

    Raises:
      CheckpointError: it names the first of them that does not fit.
    """
    arrays = saved.get("parameters") if isinstance(saved, Mapping) else None
    remedy = (
        f"it was made for another game, frame size or model than '{env.id}' {env.observation.shape}. Choose the run "
        "that belongs to it."
    )
    flat.check_fits(network, arrays, "world model", remedy)


class _Down(nn.Module):
    """Halves height and width."""

    def __init__(
        self,
        config: WorldModelConfig,
        source: tuple[int, int, int],
        target: tuple[int, int, int],
        activation: Activation,
    ) -> None:
        super().__init__()
        self._activation = activation
        self._dropout = nn.Dropout(config.dropout)
        self.timing = Timing(source[0], source[1] + source[1] % 2, source[2] + source[2] % 2)
        self.conv = nn.Conv2d(source[0], target[0], 4, 2, padding=1)
        self.norm = ChannelNorm(target[0])

    def forward(self, x: Tensor) -> Tensor:
        """Returns the smaller picture."""
        x = self.conv(self.timing(make_even(self._dropout(x))))
        out: Tensor = self.norm(self._activation(x))
        return out


class _Middle(nn.Module):
    """Convolutions at the smallest size."""

    def __init__(self, config: WorldModelConfig, num_channels: int, activation: Activation) -> None:
        super().__init__()
        self._activation = activation
        self._dropout = nn.Dropout(config.residual_dropout)
        num = config.num_hidden_layers
        self.convs = nn.ModuleList(nn.Conv2d(num_channels, num_channels, 3, padding=1) for _ in range(num))
        self.norms = nn.ModuleList(ChannelNorm(num_channels) for _ in range(num - 1))

    def forward(self, x: Tensor) -> Tensor:
        """Returns a picture of the same shape."""
        x = self._activation(self.convs[0](self._dropout(x)))
        for conv, norm in zip(self.convs[1:], self.norms, strict=True):
            x = norm(x + self._activation(conv(self._dropout(x))))
        return x


class _Up(nn.Module):
    """Doubles height and width, and adds what was seen at that size."""

    def __init__(
        self,
        config: WorldModelConfig,
        source: tuple[int, int, int],
        target: tuple[int, int, int],
        num_features: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self._activation = activation
        self._dropout = nn.Dropout(config.dropout)
        self.inject = Inject(source[0], num_features)
        self.conv = nn.ConvTranspose2d(source[0], target[0], 4, 2, padding=1)
        self.norm = ChannelNorm(target[0])
        self.timing = Timing(*target)

    def forward(self, x: Tensor, skip: Tensor, action: Tensor) -> Tensor:
        """Returns the larger picture, of the skip's shape."""
        x = self._activation(self.conv(self.inject(self._dropout(x), action)))
        out: Tensor = self.timing(self.norm(x[..., : skip.shape[-2], : skip.shape[-1]] + skip))
        return out


def _shapes(config: WorldModelConfig, size: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Returns channels, height and width from full size down to the smallest."""
    shapes = [(config.hidden_size, *size)]
    for index in range(config.num_compress_steps):
        channels, height, width = shapes[-1]
        channels *= 2 if index < config.filter_double_steps else 1
        shapes.append((channels, (height + 1) // 2, (width + 1) // 2))
    return shapes
