"""Returns of all lengths, mixed: λ-returns (Sutton and Barto 2018, section 12.1).

Shape legend: B batch, T time.
"""

import torch
from torch import Tensor


def lambda_returns(reward_BT: Tensor, discount_BT: Tensor, next_value_BT: Tensor, lambda_: float) -> Tensor:
    """Returns `[B, T]`, what came of each step; the last one bootstraps from the value after it alone.

        G_t = r_t + γ_t ((1 - λ) v_{t+1} + λ G_{t+1}),   G_T = v_T

    Args:
      reward_BT: r_t, what each step brought.
      discount_BT: γ_t, 0 where it ended the episode.
      next_value_BT: v_{t+1}, of what each step led to.
      lambda_: 0 looks one step ahead, 1 as far as there is anything.
    """
    following_B = next_value_BT[:, -1]
    found = []
    for step in range(reward_BT.shape[1] - 1, -1, -1):
        mixed_B = torch.lerp(next_value_BT[:, step], following_B, lambda_)
        following_B = reward_BT[:, step] + discount_BT[:, step] * mixed_B
        found.append(following_B)
    return torch.stack(found[::-1], dim=1)
