"""Drawing from categorical distributions, without asking the device for a number."""

import torch
from torch import Tensor


def draw(logits: Tensor, generator: torch.Generator | None = None, temperature: float = 1.0) -> Tensor:
    """Returns classes `[...]`, int64: where a uniform number falls among the cumulated probabilities.

    Args:
      logits: `[..., N]`.
      generator: torch's, on their device; None: torch's own stream. One number per row is drawn from it.
      temperature: by which logits are divided; at 0 the likeliest class is taken, and nothing drawn.
    """
    if not temperature:
        return logits.argmax(-1)
    cumulated = torch.softmax(logits.float() / temperature, dim=-1).cumsum(-1)
    uniform = torch.rand(logits.shape[:-1], generator=generator, device=logits.device).unsqueeze(-1)
    # Within the last sum rather than 1, which it misses by rounding: no class past the end is ever drawn.
    drawn = torch.searchsorted(cumulated, uniform * cumulated[..., -1:], right=True).squeeze(-1)
    return drawn.clamp_max(logits.shape[-1] - 1)
