"""What the actor-critic is trained by: REINFORCE with a baseline, on λ-returns of what it has imagined.

    - mean log π(a_t) (G_t - sg v_t)  +  mean (v_t - G_t)²  -  entropy_weight · mean H(π_t)

Micheli et al. 2023, appendix B, https://arxiv.org/abs/2209.00588. Values that are said as distributions (scalars.py)
have a cross entropy in the second one's place.
"""

from torch import Tensor

from rlsys.algorithms.iris.config import ActorCriticConfig
from rlsys.algorithms.iris.imagination import Dream, Opinion
from rlsys.algorithms.iris.scalars import make_scalar
from rlsys.ops.lambda_returns import lambda_returns


def actor_critic_losses(config: ActorCriticConfig, dream: Dream, opinion: Opinion) -> dict[str, Tensor]:
    """Returns "policy_loss", "value_loss" and "entropy_loss", which is weighted: scalars, whose sum is the loss."""
    known = opinion.value.detach()
    discount = config.gamma * (~dream.terminated).float()
    target = lambda_returns(dream.reward, discount, known[:, 1:], config.lambda_)
    return {
        "policy_loss": -(opinion.log_probability * (target - known[:, :-1])).mean(),
        "value_loss": make_scalar(config.values).loss(opinion.value_said[:, :-1], target).mean(),
        "entropy_loss": -config.entropy_weight * opinion.entropy.mean(),
    }
