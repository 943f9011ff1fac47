"""Losses of policies and values, summed over rows as in IMPALA: their scale grows with the batch.

Espeholt et al. 2018, section 4.2, https://arxiv.org/abs/1802.01561.
Shape legend: A actions.
"""

from torch import Tensor
from torch.nn import functional


def log_probability(logits: Tensor, action: Tensor) -> Tensor:
    """Returns `[...]`: log π(action).

    Args:
      logits: `[..., A]`.
      action: `[...]` int64.
    """
    return functional.log_softmax(logits, dim=-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def policy_gradient_loss(log_probability: Tensor, advantage: Tensor) -> Tensor:
    """Returns `-Σ log π(a) advantage`; no gradient flows into advantages, which are 0 in rows that do not count."""
    return -(log_probability * advantage.detach()).sum()


def baseline_loss(value: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Returns `½ Σ (target - value)²` over the rows of the mask; no gradient flows into the targets."""
    return 0.5 * ((target.detach() - value).square() * mask).sum()


def negative_entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Returns `Σ_rows Σ_a π log π` over the rows of the mask, to be minimised.

    Args:
      logits: `[..., A]`.
      mask: `[...]`.
    """
    log_policy = functional.log_softmax(logits, dim=-1)
    return ((log_policy.exp() * log_policy).sum(dim=-1) * mask).sum()
