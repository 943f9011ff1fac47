"""Losses of policies and values, summed over rows as in IMPALA: their scale grows with the batch.

Espeholt et al. 2018, section 4.2, https://arxiv.org/abs/1802.01561.
"""

from torch import Tensor


def policy_gradient_loss(log_probability: Tensor, advantage: Tensor) -> Tensor:
    """Returns `-Σ log π(a) advantage`; no gradient flows into advantages, which are 0 in rows that do not count."""
    return -(log_probability * advantage.detach()).sum()


def baseline_loss(value: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Returns `½ Σ (target - value)²` over the rows of the mask; no gradient flows into the targets."""
    return 0.5 * ((target.detach() - value).square() * mask).sum()
