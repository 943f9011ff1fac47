"""A frame as K tokens, and back: encoder, codebook and decoder.

Micheli et al. 2023, section 2.1, https://arxiv.org/abs/2209.00588. Tokens of what is new in a frame (deltas): Micheli
et al. 2024, section 3.1, https://arxiv.org/abs/2406.19320.

Shape legend: C channels, H and W of a frame, p side of a patch, h and w of a map of tokens, K = h · w tokens, D numbers
of a code, L frames that follow one another.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.networks import Context, Decoder, Encoder
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


class Before(NamedTuple):
    """What came before frames; tokens of other kinds than deltas do not need it.

    Attributes:
      frame: `[..., C, H, W]`, bytes or numbers within [0, 1].
      action: `[...]` int64, done there.
    """

    frame: Tensor
    action: Tensor


class Tokenizer(nn.Module):
    """Frames to tokens and back. Tokens lie row by row; leading axes are arbitrary.

    What is computed for others than the tokenizer's own losses has no gradient.

    Attributes:
      shape: C, H, W.
      map_size: h, w.
      num_tokens: K.
      deltas: tokens tell a frame only to who knows the one before it and what was done then.
    """

    def __init__(self, config: TokenizerConfig, shape: tuple[int, int, int], num_actions: int = 0) -> None:
        """Takes sizes.

        Args:
          config: of the networks.
          shape: of frames: channels, height, width.
          num_actions: that can lie between two frames; only deltas need it.

        Raises:
          ConfigError: such frames cannot be divided as the config wants.
        """
        super().__init__()
        self.shape, self.map_size, self.deltas = shape, config.map_size(*shape[1:]), config.deltas
        self.num_tokens = self.map_size[0] * self.map_size[1]
        self._patch = config.patch
        height, width = (size * self._patch for size in self.map_size)
        self.context = Context(config, shape, (height, width), num_actions) if self.deltas else None
        beside = (self.context.num_encoded, self.context.num_decoded) if self.context else (0, 0)
        self.encoder = Encoder(config, (shape[0] + beside[0], *shape[1:]))
        self.decoder = Decoder(config, shape, config.z_channels + beside[1])
        num_joined = config.z_channels * self._patch**2
        self.before_codes = nn.Linear(num_joined, config.embedding_size)
        self.after_codes = nn.Linear(config.embedding_size, num_joined)
        self.quantizer = Quantizer(config)

    def forward(self, frames: Tensor, before: Before | None = None) -> Seen:
        """Returns all that becomes of frames `[..., C, H, W]`, bytes or numbers within [0, 1]."""
        prepared, known = prepare(frames.reshape(-1, *self.shape)), self._known(before)
        encoded = self._encode(prepared, known)
        quantized = self.quantizer(encoded)
        return Seen(prepared, encoded, quantized, self._decode(quantized.embedded, known))

    @torch.no_grad()
    def encode(self, frames: Tensor, action: Tensor | None = None) -> Tensor:
        """Returns tokens.

        Args:
          frames: `[..., C, H, W]`, bytes or numbers within [0, 1]; of deltas `[B, L, C, H, W]`.
          action: `[B, L - 1]` or more, done between them; only deltas need it.

        Returns:
          `[..., K]` int64. Of deltas the first frames' are 0: nothing is known of what came before.
        """
        if not self.deltas:
            return self._tokens(frames)
        tokens = torch.zeros(*frames.shape[:2], self.num_tokens, dtype=torch.int64, device=frames.device)
        if frames.shape[1] > 1:
            tokens[:, 1:] = self._tokens(frames[:, 1:], _between(frames, action))
        return tokens

    @torch.no_grad()
    def embed(self, tokens: Tensor) -> Tensor:
        """Returns the codes `[..., K, D]` of tokens `[..., K]`."""
        return self.quantizer.embed(tokens)

    @torch.no_grad()
    def decode(self, embedded: Tensor, before: Before | None = None) -> Tensor:
        """Returns frames `[..., C, H, W]` within [0, 1], of 32 bits, of codes `[..., K, D]`."""
        frames = self._decode(embedded.reshape(-1, *embedded.shape[-2:]), self._known(before))
        return frames.float().add(1.0).mul_(0.5).clamp_(0.0, 1.0).reshape(*embedded.shape[:-2], *self.shape)

    def decode_tokens(self, tokens: Tensor, before: Before | None = None) -> Tensor:
        """Returns frames `[..., C, H, W]` within [0, 1] of tokens `[..., K]`."""
        return self.decode(self.embed(tokens), before)

    def reconstruct(self, frames: Tensor, action: Tensor | None = None) -> Tensor:
        """Returns frames as their tokens tell them, `[..., C, H, W]` within [0, 1]; arguments are those of `encode`.

        Deltas tell each frame to who has seen the real one before it; the first frames are as they were.
        """
        tokens = self.encode(frames, action)
        if not self.deltas:
            return self.decode_tokens(tokens)
        shown = within_one(frames)
        if frames.shape[1] == 1:
            return shown
        return torch.cat([shown[:, :1], self.decode_tokens(tokens[:, 1:], _between(frames, action))], dim=1)

    def _tokens(self, frames: Tensor, before: Before | None = None) -> Tensor:
        tokens_NK = self.quantizer.nearest(self._encode(prepare(frames.reshape(-1, *self.shape)), self._known(before)))
        return tokens_NK.view(*frames.shape[:-3], self.num_tokens)

    def _known(self, before: Before | None) -> Before | None:
        """Returns what came before, `[N, C, H, W]` within [-1, 1] and `[N]`, if that is needed."""
        if not self.deltas:
            return None
        assert before is not None, "deltas say nothing without the frame before"
        return Before(prepare(before.frame.reshape(-1, *self.shape)), before.action.reshape(-1))

    def _encode(self, prepared: Tensor, known: Before | None) -> Tensor:
        """Returns `[N, K, D]` of `[N, C, H, W]`."""
        if self.context is not None and known is not None:
            prepared = torch.cat([self.context.beside_frames(*known), prepared], dim=1)
        maps = functional.pixel_unshuffle(self.encoder(prepared), self._patch)
        encoded: Tensor = self.before_codes(maps.flatten(start_dim=2).transpose(1, 2))
        return encoded

    def _decode(self, embedded: Tensor, known: Before | None) -> Tensor:
        """Returns `[N, C, H, W]` of `[N, K, D]`."""
        maps = self.after_codes(embedded).transpose(1, 2).unflatten(2, self.map_size)
        maps = functional.pixel_shuffle(maps, self._patch)
        if self.context is not None and known is not None:
            maps = torch.cat([maps, self.context.beside_maps(*known)], dim=1)
        frames: Tensor = self.decoder(maps.contiguous(memory_format=_layout()))
        return frames


def prepare(frames: Tensor) -> Tensor:
    """Returns frames `[N, C, H, W]`, bytes or numbers within [0, 1], within [-1, 1]."""
    scale = 2.0 if frames.is_floating_point() else 2.0 / 255
    return frames.float().mul(scale).sub_(1.0).contiguous(memory_format=_layout())


def within_one(frames: Tensor) -> Tensor:
    """Returns frames within [0, 1], of such or of bytes."""
    return frames if frames.is_floating_point() else frames / 255


def as_bytes(frames: Tensor) -> Tensor:
    """Returns frames within [0, 1], or such as are bytes already, as bytes."""
    return frames.mul(255.0).round_().to(torch.uint8) if frames.is_floating_point() else frames


def _between(frames: Tensor, action: Tensor | None) -> Before:
    """Returns what came before all frames but the first, of `[B, L, C, H, W]` and `[B, L - 1]` or more."""
    assert action is not None, "a difference is what came of an action"
    return Before(frames[:, :-1], action[:, : frames.shape[1] - 1])


def _layout() -> torch.memory_format:
    """Returns how pictures lie: channels last, but not to learn.

    Convolutions are faster with channels last, but there a CPU's norm of groups needs ten times as long for a gradient.
    """
    return torch.contiguous_format if torch.is_grad_enabled() else torch.channels_last
