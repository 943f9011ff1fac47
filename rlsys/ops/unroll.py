"""What the rows of an unroll mean: which were acted in, and which begin an episode.

The rows are those of `rlsys.types.UnrollBlock`: a truncated episode has a bootstrap row behind its last transition.
Shape legend: B unrolls, T rows.
"""

import torch
from torch import Tensor


def row_masks(terminated_BT: Tensor, truncated_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Tells bootstrap rows and first rows from how episodes ended.

    Args:
      terminated_BT: bool.
      truncated_BT: bool.

    Returns:
      `[B, T]` bool, False for bootstrap rows, in which nothing was done; and `[B, T + 1]` bool, True for rows that
      begin an episode within the unroll: whatever the network remembers is forgotten before them. Whether row 0 begins
      one is part of the state that the unroll came with, and it is False here.
    """
    nothing_B1 = torch.zeros_like(terminated_BT[:, :1])
    is_bootstrap_BT = torch.cat([nothing_B1, truncated_BT & ~terminated_BT], dim=1)[:, :-1]
    first_BT = torch.cat([nothing_B1, terminated_BT | is_bootstrap_BT], dim=1)
    return ~is_bootstrap_BT, first_BT


def continues(terminated_BT: Tensor, truncated_BT: Tensor) -> Tensor:
    """Returns `[B]` bool: whether the row after the unroll belongs to the episode of its last row."""
    mask_BT, _ = row_masks(terminated_BT, truncated_BT)
    return mask_BT[:, -1] & ~terminated_BT[:, -1] & ~truncated_BT[:, -1]
