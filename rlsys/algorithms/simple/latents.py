"""What a frame alone does not tell, as bits: read off the true next frame in training, predicted otherwise.

Kaiser et al. 2020, section 4 and appendix, https://arxiv.org/abs/1903.00374; the rounding is the semantic hashing of
Kaiser and Bengio 2018, https://arxiv.org/abs/1801.09797. Bits are ±1, eight to a symbol, the lowest first.

Shape legend: B batch, C channels, D bits, S symbols.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.simple import schedules
from rlsys.algorithms.simple.config import WorldModelConfig
from rlsys.algorithms.simple.layers import Inject, LSTMCell, MeanAttention, Timing
from rlsys.nets.same_padding import SameConv

_SYMBOL_BITS = 8
_SYMBOLS = 2**_SYMBOL_BITS
_DROPOUT = 0.1
_DEVIATION = 0.2
"""Of the noise before bits are rounded."""


class Read(NamedTuple):
    """Bits of a true next frame.

    Attributes:
      bits: `[B, D]`, rounded or not, with noise; gradients flow through them.
      clean: `[B, D]`, rounded without noise; no gradients do.
    """

    bits: Tensor
    clean: Tensor


class Posterior(nn.Module):
    """Reads bits off a frame and the one after it."""

    def __init__(self, config: WorldModelConfig, num_channels: int, num_features: int, size: tuple[int, int]) -> None:
        super().__init__()
        self._config = config
        self.embed = nn.Conv2d(2 * num_channels, config.hidden_size, 1)
        self._timing = Timing(config.hidden_size, *size)
        self._inject = Inject(config.hidden_size, num_features)
        first, second = config.discriminator_size, 4 * config.discriminator_size
        self._first = SameConv(config.hidden_size, first, 8, 4, size)
        self._second = SameConv(first, second, 8, 4, self._first.size)
        self._attend_first, self._attend_second = MeanAttention(first), MeanAttention(second)
        self._bits = nn.Linear(2 * (first + second), config.bottleneck_bits)

    def forward(self, frame: Tensor, after: Tensor, action: Tensor, step: Tensor) -> Read:
        """Returns bits for standardized frames `[B, C, H, W]`, an embedded action, and the number of updates so far."""
        x = self._inject(self._timing(self.embed(torch.cat([frame, after], dim=1))), action)
        x = self._first(x)
        attended = self._attend_first(x)
        x = self._second(functional.relu(x))
        before = self._bits(torch.cat([attended, self._attend_second(x)], dim=1)).float()
        clean = _sign(before.detach())
        soft = torch.tanh(before + _DEVIATION * _truncated_normal(before))
        hard = soft + (_sign(soft) - soft).detach()
        hard = hard * torch.where(torch.rand_like(hard) < self._config.bottleneck_noise, -1.0, 1.0)
        is_hard = torch.rand_like(hard) < schedules.rounded_bits(self._config, step)
        return Read(torch.where(is_hard, hard, soft), clean)


class Predictor(nn.Module):
    """An LSTM over the symbols of a code, begun from what the model has made of frame and action."""

    def __init__(self, config: WorldModelConfig, num_inputs: int) -> None:
        super().__init__()
        size = config.latent_predictor_state_size
        self._num_symbols = config.bottleneck_bits // _SYMBOL_BITS
        self._temperature = config.latent_predictor_temperature
        self._begin = nn.ModuleList(nn.Linear(num_inputs, size) for _ in range(3))  # input, cell, hidden state
        self._cell = LSTMCell(size, size)
        self._embed = nn.Linear(_SYMBOLS, size)
        self._logits = nn.Linear(size, _SYMBOLS)
        self._dropout = nn.Dropout(_DROPOUT)

    def loss(self, features: Tensor, clean: Tensor) -> Tensor:
        """Returns the mean cross entropy of the symbols of `[B, D]` bits, each after the true ones before it."""
        symbols_BS = _symbols(clean)
        x, cell, hidden = self._start(features)
        logits = []
        for index in range(self._num_symbols):
            hidden, cell = self._cell(x, hidden, cell)
            logits.append(self._logits(self._dropout(hidden)))
            x = self._dropout(self._embedded(symbols_BS[:, index]))
        return functional.cross_entropy(torch.stack(logits, dim=1).flatten(end_dim=1).float(), symbols_BS.flatten())

    @torch.no_grad()
    def draw(self, features: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Returns `[B, D]` bits, drawn symbol by symbol; without a generator from torch's own stream."""
        x, cell, hidden = self._start(features)
        symbols = []
        for _ in range(self._num_symbols):
            hidden, cell = self._cell(x, hidden, cell)
            symbols.append(self._choose(self._logits(hidden).float(), generator))
            x = self._embedded(symbols[-1])
        return _bits(torch.stack(symbols, dim=1))

    def _start(self, features: Tensor) -> list[Tensor]:
        return [layer(features).float() for layer in self._begin]

    def _embedded(self, symbol_B: Tensor) -> Tensor:
        return functional.embedding(symbol_B, self._embed.weight.t()) + self._embed.bias

    def _choose(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        if self._temperature == 0.0:
            return logits.argmax(dim=1)
        uniform = torch.rand_like(logits, generator=generator).clamp_min(1e-20)
        return (logits / self._temperature - torch.log(-torch.log(uniform))).argmax(dim=1)


class AddBits(nn.Module):
    """Scales and shifts the channels of a picture by bits: `x σ(W b) + W' b`."""

    def __init__(self, num_bits: int, num_channels: int) -> None:
        super().__init__()
        self._inject = Inject(num_channels, num_bits)

    def forward(self, x: Tensor, bits: Tensor) -> Tensor:
        """Returns `[B, C, H, W]` for that and `[B, D]`."""
        out: Tensor = self._inject(x, bits)
        return out


class Latents(nn.Module):
    """Bits and what they do to the picture at its smallest."""

    def __init__(
        self,
        config: WorldModelConfig,
        *,
        num_channels: int,
        num_features: int,
        frame_size: tuple[int, int],
        num_top: int,
        top_size: tuple[int, int],
    ) -> None:
        """Takes the frames' channels and size, the size of an action's embedding, and the smallest picture's shape."""
        super().__init__()
        self._config = config
        self.posterior = Posterior(config, num_channels, num_features, frame_size)
        self.predictor = Predictor(config, num_top * top_size[0] * top_size[1])
        self.add = AddBits(config.bottleneck_bits, num_top)

    def predict(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Returns the picture with predicted bits; without a generator they are drawn from torch's own stream."""
        out: Tensor = self.add(x, self.predictor.draw(x.flatten(start_dim=1), generator))
        return out

    def read(self, x: Tensor, frame: Tensor, after: Tensor, action: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the picture with the bits of what came after, mixed with predicted ones, and the predictor's loss."""
        features = x.flatten(start_dim=1)
        read = self.posterior(frame, after, action, step)
        loss = self.predictor.loss(features, read.clean)
        predicted = self.predictor.draw(features)
        is_predicted = torch.rand_like(predicted) < schedules.predicted_bits(self._config, step)
        bits = torch.where(is_predicted, predicted, read.bits)
        is_given = torch.rand(len(x), device=x.device) < schedules.examples_with_bits(self._config, step)
        return torch.where(is_given[:, None, None, None], self.add(x, bits), x), loss


def _truncated_normal(like: Tensor) -> Tensor:
    """Returns standard normal numbers, none beyond two deviations."""
    inside = math.erf(2.0 / math.sqrt(2.0))
    return math.sqrt(2.0) * torch.erfinv(inside * (2.0 * torch.rand_like(like) - 1.0))


def _sign(x: Tensor) -> Tensor:
    return torch.where(x > 0, 1.0, -1.0)


def _symbols(bits: Tensor) -> Tensor:
    """Returns `[B, S]` int64 for ±1 `[B, D]`."""
    weights = 2 ** torch.arange(_SYMBOL_BITS, device=bits.device)
    symbols: Tensor = ((bits > 0).reshape(len(bits), -1, _SYMBOL_BITS) * weights).sum(dim=-1)
    return symbols


def _bits(symbols: Tensor) -> Tensor:
    """Returns ±1 `[B, D]` float32 for `[B, S]`."""
    shifts = torch.arange(_SYMBOL_BITS, device=symbols.device)
    return (2.0 * (torch.bitwise_right_shift(symbols[:, :, None], shifts) & 1) - 1.0).flatten(start_dim=1)
