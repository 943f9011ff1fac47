"""The codebook: which code is nearest to an encoding, and how codes become what is needed.

van den Oord et al. 2017, sections 3.1 and 3.2 and appendix A.1, https://arxiv.org/abs/1711.00937. Codes that nothing is
nearest to begin anew as encodings: Dhariwal et al. 2020, section 3.1, https://arxiv.org/abs/2005.00341.

Shape legend: N encodings, D numbers of each, V codes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig


class Quantized(NamedTuple):
    """Encodings as codes.

    Attributes:
      tokens: `[...]` int64, of the nearest codes.
      embedded: `[..., D]`, those codes; their gradient goes to the encodings as if they were these.
      loss: scalar, how far both are from each other: ‖sg(z) − e‖² + β ‖z − sg(e)‖², means over all numbers.
    """

    tokens: Tensor
    embedded: Tensor
    loss: Tensor


@dataclass(frozen=True)
class Ranks:
    """Who learns the same, from other batches.

    Attributes:
      rank: of this learner, from 0.
      count: of learners.
      average: averages a list of tensors over them in place.
    """

    rank: int = 0
    count: int = 1
    average: Callable[[list[Any]], None] = lambda tensors: None


class Quantizer(nn.Module):
    """The codebook. Codes are a parameter, or a buffer that `observe` moves; what it counts is the same on all ranks.

    Attributes:
      codes: `[V, D]`.
      size: `[V]`, ema: the moving mean of how many encodings are nearest to each.
      idle: `[V]` int64, updates since there was one.
    """

    codes: Tensor
    size: Tensor
    idle: Tensor

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self._decay = config.ema_decay if config.codebook == "ema" else None
        self._beta, self._most_idle = config.beta, config.revive_dead_codes
        bound = 1 / config.vocabulary_size
        codes_VD = torch.empty(config.vocabulary_size, config.embedding_size).uniform_(-bound, bound)
        if self._decay is None:
            self.codes = nn.Parameter(codes_VD)
        else:
            self.register_buffer("codes", codes_VD)
        self.register_buffer("size", torch.zeros(config.vocabulary_size))
        self.register_buffer("idle", torch.zeros(config.vocabulary_size, dtype=torch.int64))

    @torch.no_grad()
    def nearest(self, encoded: Tensor) -> Tensor:
        """Returns the tokens `[...]` of encodings `[..., D]`: argmin_v ‖e_v‖² − 2 z·e_v, one product for all.

        It is computed with 32 bits whatever the precision of networks, so that all who tokenize a frame agree.
        """
        with torch.autocast(encoded.device.type, enabled=False):
            flat_ND = encoded.reshape(-1, encoded.shape[-1]).float()
            tokens_N = torch.addmm(self.codes.square().sum(dim=1), flat_ND, self.codes.t(), alpha=-2.0).argmin(dim=1)
        return tokens_N.view(encoded.shape[:-1])

    def embed(self, tokens: Tensor) -> Tensor:
        """Returns the codes `[..., D]` of tokens `[...]`."""
        return functional.embedding(tokens, self.codes)

    def forward(self, encoded: Tensor) -> Quantized:
        """Returns the codes nearest to encodings `[..., D]`, to learn from."""
        encoded, tokens = encoded.float(), self.nearest(encoded)
        codes = self.embed(tokens)
        loss = self._beta * functional.mse_loss(encoded, codes.detach())
        if self._decay is None:
            loss = loss + functional.mse_loss(codes, encoded.detach())
        return Quantized(tokens, encoded + (codes - encoded).detach(), loss)

    @torch.no_grad()
    def observe(
        self, tokens: Tensor, encoded: Tensor, ranks: Ranks | None = None, generator: torch.Generator | None = None
    ) -> dict[str, Tensor]:
        """Takes notice of an update's encodings, of which ema codes become means and dead ones begin anew.

        Args:
          tokens: `[...]`, of this rank.
          encoded: `[..., D]`, what they stand for.
          ranks: all ranks come to the same codes.
          generator: draws what dead codes become; None: torch's own stream.

        Returns:
          Scalars of all ranks' tokens: `codes_used`, the share of codes; `perplexity`, exp of their entropy, how many
          codes used evenly would say as much; and `codes_revived`.
        """
        ranks = ranks or Ranks()
        tokens_N, encoded_ND = tokens.flatten(), encoded.detach().reshape(-1, encoded.shape[-1]).float()
        counts_V = torch.zeros_like(self.size).index_add_(0, tokens_N, torch.ones_like(encoded_ND[:, 0]))
        if self._decay is None:
            ranks.average([counts_V])
        else:
            sums_VD = torch.zeros_like(self.codes).index_add_(0, tokens_N, encoded_ND)
            ranks.average([counts_V, sums_VD])
            self._follow(counts_V, sums_VD, self._decay)
        self.idle.add_(1).masked_fill_(counts_V > 0, 0)
        share_V = counts_V / counts_V.sum()
        return {
            "codes_used": (counts_V > 0).float().mean(),
            "perplexity": torch.exp(-torch.xlogy(share_V, share_V).sum()),
            "codes_revived": self._revive(encoded_ND, ranks, generator),
        }

    def _follow(self, counts_V: Tensor, sums_VD: Tensor, decay: float) -> None:
        """Moves codes to the moving mean m / N of what they stand for.

            N' = γ N + (1 − γ) n,   m' = γ m + (1 − γ) Σ z;   with m = N e:   e' = e + (1 − γ) (Σ z − n e) / N'

        which leaves a code as it is where n = 0, however small N has become.
        """
        self.size.mul_(decay).add_(counts_V, alpha=1 - decay)
        step_V1 = ((1 - decay) / self.size.clamp_min(torch.finfo(torch.float32).tiny)).unsqueeze(1)
        self.codes.add_(torch.where(counts_V[:, None] > 0, step_V1 * (sums_VD - counts_V[:, None] * self.codes), 0.0))

    def _revive(self, encoded_ND: Tensor, ranks: Ranks, generator: torch.Generator | None) -> Tensor:
        """Begins dead codes anew, each as an encoding of one of the ranks; returns how many there were."""
        dead_V = self.idle >= self._most_idle if self._most_idle else torch.zeros_like(self.idle, dtype=torch.bool)
        if self._most_idle and bool(dead_V.any()):
            (dead_K,) = dead_V.nonzero(as_tuple=True)
            drawn_K = torch.randint(len(encoded_ND), dead_K.shape, generator=generator, device=encoded_ND.device)
            is_ours_K = dead_K % ranks.count == ranks.rank
            begun_KD = torch.where(is_ours_K[:, None], encoded_ND[drawn_K] * ranks.count, 0.0)
            ranks.average([begun_KD])
            self.codes[dead_K] = begun_KD
            self.size[dead_K], self.idle[dead_K] = 0.0, 0
        return dead_V.sum().float()
