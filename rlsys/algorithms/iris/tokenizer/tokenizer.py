"""A frame as K tokens, and back: encoder, codebook and decoder.

Micheli et al. 2023, section 2.1, https://arxiv.org/abs/2209.00588.

Shape legend: C channels, H and W of a frame, h and w of its map, K = h · w tokens, D numbers of a code.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.networks import Decoder, Encoder
from rlsys.algorithms.iris.tokenizer.quantizer import Quantized, Quantizer


class Seen(NamedTuple):
    """Frames and what became of them, to learn from.

    Attributes:
      frames: `[N, C, H, W]` within [-1, 1].
      encoded: `[N, K, D]`.
      quantized: tokens `[N, K]`, codes `[N, K, D]` and their loss.
      decoded: `[N, C, H, W]`, about within [-1, 1].
    """

    frames: Tensor
    encoded: Tensor
    quantized: Quantized
    decoded: Tensor


class Tokenizer(nn.Module):
    """Frames to tokens and back. Tokens lie row by row; leading axes are arbitrary.

    What is computed for others than the tokenizer's own losses has no gradient.

    Attributes:
      shape: C, H, W.
      map_size: h, w.
      num_tokens: K.
    """

    def __init__(self, config: TokenizerConfig, shape: tuple[int, int, int]) -> None:
        """Takes frames of `shape`: channels, height, width.

        Raises:
          ConfigError: such frames cannot be halved as the config wants.
        """
        super().__init__()
        self.shape, self.map_size = shape, config.map_size(*shape[1:])
        self.num_tokens = self.map_size[0] * self.map_size[1]
        self.encoder, self.decoder = Encoder(config, shape), Decoder(config, shape)
        self.before_codes = nn.Linear(config.z_channels, config.embedding_size)
        self.after_codes = nn.Linear(config.embedding_size, config.z_channels)
        self.quantizer = Quantizer(config)

    def forward(self, frames: Tensor) -> Seen:
        """Returns all that becomes of frames `[..., C, H, W]`, bytes or numbers within [0, 1]."""
        prepared = prepare(frames.reshape(-1, *self.shape))
        encoded = self._encode(prepared)
        quantized = self.quantizer(encoded)
        return Seen(prepared, encoded, quantized, self._decode(quantized.embedded))

    @torch.no_grad()
    def encode(self, frames: Tensor) -> Tensor:
        """Returns tokens `[..., K]` int64 of frames `[..., C, H, W]`, bytes or numbers within [0, 1]."""
        tokens_NK = self.quantizer.nearest(self._encode(prepare(frames.reshape(-1, *self.shape))))
        return tokens_NK.view(*frames.shape[:-3], self.num_tokens)

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> Tensor:
        """Returns the codes `[..., K, D]` of tokens `[..., K]`."""
        return self.quantizer.embed(tokens)

    @torch.no_grad()
    def decode(self, embedded: Tensor) -> Tensor:
        """Returns frames `[..., C, H, W]` within [0, 1], of 32 bits, of codes `[..., K, D]`."""
        frames = self._decode(embedded.reshape(-1, *embedded.shape[-2:])).float().add(1.0).mul_(0.5).clamp_(0.0, 1.0)
        return frames.reshape(*embedded.shape[:-2], *self.shape)

    def decode_tokens(self, tokens: Tensor) -> Tensor:
        """Returns frames `[..., C, H, W]` within [0, 1] of tokens `[..., K]`."""
        return self.decode(self.embed(tokens))

    def reconstruct(self, frames: Tensor) -> Tensor:
        """Returns frames as their tokens tell them, `[..., C, H, W]` within [0, 1], of such or of bytes."""
        return self.decode_tokens(self.encode(frames))

    def _encode(self, prepared: Tensor) -> Tensor:
        """Returns `[N, K, D]` of `[N, C, H, W]`."""
        encoded: Tensor = self.before_codes(self.encoder(prepared).flatten(start_dim=2).transpose(1, 2))
        return encoded

    def _decode(self, embedded: Tensor) -> Tensor:
        """Returns `[N, C, H, W]` of `[N, K, D]`."""
        maps = self.after_codes(embedded).transpose(1, 2).unflatten(2, self.map_size)
        frames: Tensor = self.decoder(maps.contiguous(memory_format=_layout()))
        return frames


def prepare(frames: Tensor) -> Tensor:
    """Returns frames `[N, C, H, W]`, bytes or numbers within [0, 1], within [-1, 1]."""
    scale = 2.0 if frames.is_floating_point() else 2.0 / 255
    return frames.float().mul(scale).sub_(1.0).contiguous(memory_format=_layout())


def as_bytes(frames: Tensor) -> Tensor:
    """Returns frames within [0, 1], or such as are bytes already, as bytes."""
    return frames.mul(255.0).round_().to(torch.uint8) if frames.is_floating_point() else frames


def _layout() -> torch.memory_format:
    """Returns how pictures lie: channels last, but not to learn.

    Convolutions are faster with channels last, but there a CPU's norm of groups needs ten times as long for a gradient.
    """
    return torch.contiguous_format if torch.is_grad_enabled() else torch.channels_last
