"""Unrolls of noise in which episodes end."""

import numpy as np
import torch
from torch import Tensor

from rlsys.ops.unroll import row_masks


def make_rows(size: int, length: int, seed: int, *, ends: float = 0.2, cuts: float = 0.2) -> dict[str, Tensor]:
    """Random unrolls in which episodes terminate and are truncated, bootstrap rows in their places."""
    rng = np.random.default_rng(seed)
    terminated, truncated = np.zeros((size, length), bool), np.zeros((size, length), bool)
    for b in range(size):
        for t in range(length):
            if t and truncated[b, t - 1]:
                continue
            terminated[b, t] = rng.random() < ends
            truncated[b, t] = not terminated[b, t] and rng.random() < cuts
    terminated_BT, truncated_BT = torch.tensor(terminated), torch.tensor(truncated)
    mask_BT, _ = row_masks(terminated_BT, truncated_BT)

    def random(*shape: int) -> Tensor:
        return torch.tensor(rng.normal(size=shape))

    return {
        "log_ratio_BT": 0.7 * random(size, length),
        "discount_BT": 0.9 * (~terminated_BT).double(),
        "reward_BT": random(size, length) * mask_BT,
        "value_BT": random(size, length + 1),
        "mask_BT": mask_BT,
        "terminated_BT": terminated_BT,
        "truncated_BT": truncated_BT,
    }
