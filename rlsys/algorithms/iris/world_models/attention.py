"""Which tokens see which, and attention over them: of whole sequences, and over what is kept of earlier ones.

Vaswani et al. 2017, section 3.2, https://arxiv.org/abs/1706.03762.

Shape legend: B batch, H heads, t new tokens, n all tokens so far, T the most, D numbers of a head.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.iris.world_models.memory import Memory

Kind = Literal["causal", "block_causal"]

_FEW = 4
"""Queries up to which three products are faster on a CPU than the fused function."""


def causal_mask(position_Q: Tensor, position_K: Tensor, block: int, kind: Kind) -> Tensor:
    """Tells `[Q, K]` whether a token sees another: those before it, itself and, block_causal, all of its own block."""
    query, key = position_Q.unsqueeze(1), position_K.unsqueeze(0)
    before = key <= query
    return before if kind == "causal" else before | (key // block == query // block)


def parallel_mask(num_blocks: int, block: int, kind: Kind, device: torch.device) -> Tensor:
    """Returns `[Q, Q]` of a sequence, and of the questions after it: what are the tokens of each block but the first?

    A question sees all blocks before its own, and the questions of the same block; nothing sees a question else. So
    all blocks are foretold in one pass, each as if there were none after it (Cohen et al. 2024, section 3.2,
    https://arxiv.org/abs/2402.05643).

    Args:
      num_blocks: L.
      block: tokens of one, with its action, about which nothing is asked.
      kind: what tokens see.
      device: of the mask.
    """
    real = torch.arange(num_blocks * block, device=device)
    asked = real[block:].view(-1, block)[:, :-1].flatten()
    sees_real = asked.unsqueeze(1) // block > real.unsqueeze(0) // block
    sees_asked = asked.unsqueeze(1) // block == asked.unsqueeze(0) // block
    nothing = torch.zeros(len(real), len(asked), dtype=torch.bool, device=device)
    rows = torch.cat([causal_mask(real, real, block, kind), nothing], dim=1)
    return torch.cat([rows, torch.cat([sees_real, sees_asked], dim=1)])


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Returns softmax(q kᵀ / √D) v, `[B, H, t, D]`.

    Args:
      q: `[B, H, t, D]`.
      k: `[B, H, n, D]`.
      v: likewise.
      mask: `[t, n]` bool, true where a token is seen; None: all are.
      dropout: share of the weights that are left out.
    """
    if q.is_cuda or q.shape[-2] > _FEW or q.requires_grad:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    if mask is not None:
        scores.masked_fill_(~mask, -torch.inf)
    return torch.matmul(torch.softmax(scores, dim=-1), v)


class Kept:
    """Keys and values of one pass, written behind those of earlier ones, where they stay: nothing is copied again."""

    def __init__(self, memory: Memory, start: int, mask: Tensor | None) -> None:
        """Takes where they are kept.

        Args:
          memory: with tensors "keys/i" and "values/i" `[B, H, T, D]` of layer i.
          start: tokens before the new ones.
          mask: `[t, n]` of the new ones.
        """
        self._tensors, self._start, self._mask = memory.tensors, start, mask

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Keeps k and v `[B, H, t, D]`, and returns what q sees of all that is kept."""
        keys, values = self._tensors[f"keys/{layer}"], self._tensors[f"values/{layer}"]
        end = self._start + k.shape[-2]
        keys[:, :, self._start : end] = k
        values[:, :, self._start : end] = v
        return attend(q.to(keys.dtype), keys[:, :, :end], values[:, :, :end], self._mask)


def keep(
    memory: Memory, num_layers: int, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device
) -> None:
    """Makes room for keys and values `[B, H, T, D]` of all layers, of a type if the device is no CPU."""
    # On CPUs in float32: products of few rows are not faster with bfloat16 there, and softmax is slower.
    dtype = torch.float32 if device.type == "cpu" else dtype
    for layer in range(num_layers):
        memory.tensors[f"keys/{layer}"] = torch.zeros(shape, dtype=dtype, device=device)
        memory.tensors[f"values/{layer}"] = torch.zeros(shape, dtype=dtype, device=device)
