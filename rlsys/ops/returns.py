"""Returns over a few steps, on numpy arrays: they are made where batches arrive, before anything goes to a device.

Shape legend: B batch, T time, K targets.
"""

import numpy as np

from rlsys.types import Array


def n_step_returns(reward_BT: Array, value_BT: Array, *, num_returns: int, num_steps: int, discount: float) -> Array:
    """Returns `[B, K]` float64, the n-step returns from the first K rows on.

        z_k = r_k + γ r_{k+1} + … + γ^{n-1} r_{k+n-1} + γ^n v_{k+n}

    Zeros in both arrays after an episode's end make the return stop there. To bootstrap at an earlier row t instead,
    as after a time limit, add v_t to r_t.

    Args:
      reward_BT: `[B, ≥ K + n - 1]`.
      value_BT: `[B, ≥ K + n]`.
      num_returns: K.
      num_steps: n; 0 for the values themselves.
      discount: γ; below 0 where every other row is an opponent's.
    """
    discount_n = discount ** np.arange(num_steps, dtype=np.float64)
    reward_BT = reward_BT.astype(np.float64, copy=False)
    return_KB = np.stack([reward_BT[:, k : k + num_steps] @ discount_n for k in range(num_returns)])
    value_BK = value_BT[:, num_steps : num_steps + num_returns].astype(np.float64, copy=False)
    return_BK: Array = return_KB.T + discount**num_steps * value_BK
    return return_BK


def returns_of_lengths(reward_BT: Array, value_BT: Array, length_B: Array, num_returns: int, discount: float) -> Array:
    """Returns what `n_step_returns` does, where each row has an n of its own: `length_B`."""
    return_BK = np.empty((len(length_B), num_returns))
    for length in np.unique(length_B).tolist():
        rows = length_B == length
        return_BK[rows] = n_step_returns(
            reward_BT[rows], value_BT[rows], num_returns=num_returns, num_steps=length, discount=discount
        )
    return return_BK
