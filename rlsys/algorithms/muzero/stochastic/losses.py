"""What Stochastic MuZero learns beside MuZero: what an action is worth, and how likely each thing is that may follow.

Antonoglou et al. 2022, section 4.3, https://openreview.net/forum?id=X6D9bAHhBQ1.

    afterstate value    Q_k is drawn to the value target of state k, which expects what chance does next
    chance              σ_k is drawn to e(o_k+1): cross-entropy, which over all draws of a code is what the paper's
                        single code comes to
    encoder             learns by what states that its codes lead to foretell, through the drawn code

The paper draws codes by the largest logit, and has a commitment loss for them; see the README for why they are drawn.

Shape legend: B windows, K unroll steps, C codes.
"""

from torch import Tensor

from rlsys.algorithms.muzero.scalars import ScalarCode
from rlsys.algorithms.muzero.stochastic.network import ChanceUnroll
from rlsys.ops.losses import cross_entropy


def chance_losses(
    unrolled: ChanceUnroll, value: ScalarCode, value_target_BK: Tensor, weight_BK: Tensor, seen_weight_BK: Tensor
) -> dict[str, Tensor]:
    """Returns scalars, weighted sums over windows and steps.

    Args:
      unrolled: of the model.
      value: how it says a value.
      value_target_BK: of the K states that actions were taken in.
      weight_BK: of each of these steps.
      seen_weight_BK: the same, 0 where nothing was seen after the step.
    """
    return {
        "afterstate_value": (weight_BK * value.loss(unrolled.value, value_target_BK)).sum(),
        "chance": (seen_weight_BK * cross_entropy(unrolled.code_logits, unrolled.code)).sum(),
    }


def codes_in_use(unrolled: ChanceUnroll) -> Tensor:
    """Returns how many codes a batch is told by: e to the entropy of their mean probability, from 1 to C."""
    mean_C = unrolled.code.detach().mean(dim=(0, 1))
    return (-(mean_C * mean_C.clamp(min=1e-12).log()).sum()).exp()
