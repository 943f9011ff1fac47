"""Layers of the next-frame models. Kaiser et al. 2020, appendix, https://arxiv.org/abs/1903.00374.

Shape legend: B batch, C channels, H W height and width, A actions, E size of an action's embedding, D inputs and N
units of an LSTM.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[[Tensor], Tensor]

_KERNEL_GAIN = 1.3
_TIMESCALE = 1e4


def standardize(image: Tensor) -> Tensor:
    """Returns float32 images with mean 0 and deviation 1 in each channel; one of a single colour becomes 0."""
    image = image.float()
    deviation, mean = torch.std_mean(image, dim=(-2, -1), correction=0, keepdim=True)
    return (image - mean) / deviation.clamp_min(1.0 / math.sqrt(image.shape[-2] * image.shape[-1]))


def belu(x: Tensor) -> Tensor:
    """Returns elu(x) in even channels and -elu(-x) in odd ones."""
    is_odd = (torch.arange(x.shape[1], device=x.device) % 2).bool()[:, None, None]
    return torch.where(is_odd, -functional.elu(-x), functional.elu(x))


def make_even(x: Tensor) -> Tensor:
    """Pads height and width with zeros, below and to the right, to even numbers."""
    height, width = x.shape[-2:]
    return functional.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x


def initialize(module: nn.Module) -> None:
    """Draws kernels uniformly within ± √(3 · 1.3 / mean of the fans), and sets biases to 0, throughout a module.

    Range and Adafactor's moments are those of a whole kernel: what upstream has in one kernel has to be in one here.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            fans = sum(nn.init._calculate_fan_in_and_fan_out(layer.weight)) / 2
            limit = math.sqrt(3 * _KERNEL_GAIN / fans)
            nn.init.uniform_(layer.weight, -limit, limit)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class ChannelNorm(nn.Module):
    """Layer normalization over the channels of each pixel."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self._norm = nn.LayerNorm(num_channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[B, C, H, W]` for the same; without a copy where channels lie last."""
        normalized: Tensor = self._norm(x.permute(0, 2, 3, 1))
        return normalized.permute(0, 3, 1, 2)


class Timing(nn.Module):
    """Adds to each pixel where it is: sines and cosines of its row and column. Parmar et al. 2018, arXiv 1802.05751."""

    signal: Tensor

    def __init__(self, num_channels: int, height: int, width: int) -> None:
        super().__init__()
        num = num_channels // 4
        rate = torch.exp(-torch.arange(num) * math.log(_TIMESCALE) / max(1, num - 1))
        signal = torch.zeros(num_channels, height, width)
        row, column = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
        for index, position in enumerate((row, column)):
            angle = (position * rate[:, None, None]).expand(num, height, width)
            signal[2 * index * num : (2 * index + 1) * num] = angle.sin()
            signal[(2 * index + 1) * num : (2 * index + 2) * num] = angle.cos()
        self.register_buffer("signal", signal, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[B, C, H, W]`."""
        return x + self.signal.to(x.dtype)


class Inject(nn.Module):
    """Scales and shifts channels by what was done: `x σ(W a + b) + W' a + b'`."""

    def __init__(self, num_channels: int, num_features: int) -> None:
        super().__init__()
        self._scale = nn.Linear(num_features, num_channels)
        self._shift = nn.Linear(num_features, num_channels)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Returns `[B, C, H, W]` for that and `[B, E]`."""
        scale, shift = self._scale(features).sigmoid(), self._shift(features)
        moved: Tensor = x * scale[:, :, None, None] + shift[:, :, None, None]
        return moved


class ActionEmbedding(nn.Module):
    """A vector per action; that of action 0, doing nothing, is 0."""

    def __init__(self, num_actions: int, size: int) -> None:
        super().__init__()
        self._table = nn.Embedding(num_actions, size)
        nn.init.normal_(self._table.weight, std=size**-0.5)
        self._scale = math.sqrt(size)

    def forward(self, action: Tensor) -> Tensor:
        """Returns `[B, E]` for `[B]`."""
        embedded: Tensor = self._table(action)
        return embedded * self._scale * (action != 0)[:, None]


class LSTMCell(nn.Module):
    """An LSTM's step with one kernel for what comes in and what is remembered, as TensorFlow has it.

    The forget gate begins open: by a constant rather than a bias, since Adafactor's steps grow with what it moves.
    """

    def __init__(self, num_inputs: int, num_units: int) -> None:
        super().__init__()
        self._gates = nn.Linear(num_inputs + num_units, 4 * num_units)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the next hidden state and cell, float32 `[B, N]`, for inputs `[B, D]` and those before."""
        gates: Tensor = self._gates(torch.cat([x, hidden], dim=1))
        admit, candidate, forget, show = gates.float().chunk(4, dim=1)
        cell = torch.sigmoid(forget + 1.0) * cell + torch.sigmoid(admit) * torch.tanh(candidate)
        return torch.sigmoid(show) * torch.tanh(cell), cell


class MeanAttention(nn.Module):
    """Summarizes a picture: its mean, and four means with weights of its own choice."""

    _HEADS = 4

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self._weights = nn.Conv2d(num_channels, self._HEADS, 1)
        self._out = nn.Linear((self._HEADS + 1) * num_channels, 2 * num_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[B, 2 C]` for `[B, C, H, W]`."""
        weights = self._weights(x).flatten(start_dim=2).softmax(dim=-1)
        num_pixels = x.shape[-2] * x.shape[-1]
        weighted = torch.einsum("bhp,bcp->bhc", weights, x.flatten(start_dim=2)) / num_pixels
        mean = x.mean(dim=(-2, -1))
        out: Tensor = self._out(torch.cat([weighted.flatten(start_dim=1), mean], dim=1))
        return out
