"""What a tokenizer is trained by, and the module that a learner holds: the tokenizer and what else its losses need.

    l1_weight · |x − x̂| and/or l2_weight · (x − x̂)² + worst_pixel_weight · max (x − x̂)²
        + commitment_weight · (‖sg(z) − e‖² + beta ‖z − sg(e)‖²)
        + perceptual_weight · LPIPS(x, x̂) + critic_weight · (v(e) − R)²

all of them means, of frames within [-1, 1]. Micheli et al. 2023, equation 1, https://arxiv.org/abs/2209.00588; squares
and the worst pixel: Micheli et al. 2024, https://arxiv.org/abs/2406.19320; the critic is the thesis's.

Shape legend: N frames, C channels, H height, W width, K tokens, D numbers of a code.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.perceptual import load_lpips
from rlsys.algorithms.iris.tokenizer.pretrained import load_pretrained
from rlsys.algorithms.iris.tokenizer.quantizer import Ranks
from rlsys.algorithms.iris.tokenizer.tokenizer import Before, Seen, Tokenizer


class Losses(NamedTuple):
    """Of one batch.

    Attributes:
      total: scalar.
      parts: name -> scalar: `reconstruction_loss`, with its weights, and before they are weighted `worst_pixel_loss`,
        `commitment_loss`, `perceptual_loss` and `value_loss`, those which the config has.
      tokens: `[N, K]`.
      encoded: `[N, K, D]`, without gradient.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    tokens: Tensor
    encoded: Tensor


class Critic(nn.Sequential):
    """Returns foretold from all codes of a frame: hidden layers with a ReLU each."""

    def __init__(self, config: TokenizerConfig, num_tokens: int) -> None:
        sizes = [num_tokens * config.embedding_size, *[config.critic_units] * config.critic_layers]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU()]
        super().__init__(*layers, nn.Linear(sizes[-1], 1), nn.Flatten(start_dim=0))


class TokenizerModel(nn.Module):
    """A tokenizer and what its losses need beside it: a critic, and a network that knows many pictures.

    Attributes:
      tokenizer: what others need of it.
    """

    def __init__(self, config: TokenizerConfig, shape: tuple[int, int, int], num_actions: int = 0) -> None:
        """Takes what `Tokenizer` takes. Begins as the pretrained one that is configured.

        Raises:
          ConfigError: such frames do not fit the config, or a file that it names cannot be read or does not fit.
        """
        super().__init__()
        self._config = config
        self.tokenizer = Tokenizer(config, shape, num_actions)
        self.critic = Critic(config, self.tokenizer.num_tokens) if config.critic_weight else None
        self.perceptual = load_lpips(config, shape)
        if config.initial is not None:
            load_pretrained(self.tokenizer, config.initial)
        if not config.train:
            self.requires_grad_(False)

    def forward(self, frames: Tensor, returns: Tensor | None = None, before: Before | None = None) -> Losses:
        """Returns the losses of frames.

        Args:
          frames: `[..., C, H, W]`, bytes or numbers within [0, 1].
          returns: `[...]`, what came after each; only a critic needs them.
          before: what came before each; only deltas need it.
        """
        seen: Seen = self.tokenizer(frames, before)
        apart = seen.decoded.float() - seen.frames
        parts = {"reconstruction_loss": reconstruction_loss(self._config, apart)}
        if self._config.worst_pixel_weight:
            parts["worst_pixel_loss"] = apart.square().amax(dim=(1, 2, 3)).mean()
        parts["commitment_loss"] = seen.quantized.loss
        if self.perceptual is not None:
            parts["perceptual_loss"] = self.perceptual(seen.frames, seen.decoded)
        if self.critic is not None:
            assert returns is not None, "the critic learns from returns"
            value_N = self.critic(seen.quantized.embedded).float()
            parts["value_loss"] = functional.mse_loss(value_N, returns.flatten())
        weights = _weights(self._config)
        total = torch.stack([weights[name] * loss for name, loss in parts.items()]).sum()
        return Losses(total, parts, seen.quantized.tokens, seen.encoded.detach())

    def observe(
        self, losses: Losses, ranks: Ranks | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Comes after each update whose numbers were finite; see `Quantizer.observe`."""
        return self.tokenizer.quantizer.observe(losses.tokens, losses.encoded, ranks, generator)


def reconstruction_loss(config: TokenizerConfig, apart: Tensor) -> Tensor:
    """Returns how far reconstructions are from frames, by their differences `[N, C, H, W]`."""
    loss = apart.new_zeros(())
    if config.reconstruction != "l2":
        loss = loss + config.l1_weight * apart.abs().mean()
    if config.reconstruction != "l1":
        loss = loss + config.l2_weight * apart.square().mean()
    return loss


def _weights(config: TokenizerConfig) -> dict[str, float]:
    return {
        "reconstruction_loss": 1.0,
        "worst_pixel_loss": config.worst_pixel_weight,
        "commitment_loss": config.commitment_weight,
        "perceptual_loss": config.perceptual_weight,
        "value_loss": config.critic_weight,
    }
