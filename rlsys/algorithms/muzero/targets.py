"""Training targets: what value, reward and policy should be at each step of an unroll.

Schrittwieser et al. 2020, section 3 and appendix G, https://arxiv.org/abs/1911.08265.

A window holds rows 0 … K + n of an episode; target k belongs to the state after k steps:

    value_k   r_k + γ r_{k+1} + … + γ^{n-1} r_{k+n-1} + γ^n v_{k+n}       v: value of the root when it was searched
                                              where two play by turns, γ < 0: rewards and values of every other row are
                                              those of the opponent; old windows may have fewer rewards (`reach.py`)
    reward_k  r_{k-1}, for k ≥ 1                                           the step into the state
                                              with value prefixes the sum since its window began (`prefix.py`)
    policy_k  visits of the search in row k

How an episode ends decides what comes after its T-th row, the last:

    terminated  absorbing: rewards and values are 0, and there is no policy loss. The actions are random, so that the
                model learns that nothing matters any more
    truncated   unknown: returns bootstrap from the search of the observation in row T, and targets k > T are masked

Upstream does not know truncation: it treats a time limit as an end.
Shape legend: B windows, K unroll steps, A actions, D factors of an action (`actions.py`), L = K + n + 1 rows.
"""

from dataclasses import dataclass

import numpy as np

from rlsys.algorithms.muzero.actions import ActionCode
from rlsys.algorithms.muzero.efficientzero.prefix import prefixes
from rlsys.algorithms.muzero.requirements import ROOT_VALUE, VISITS
from rlsys.ops.returns import n_step_returns, returns_of_lengths
from rlsys.types import Array, Batch


@dataclass(frozen=True)
class Targets:
    """Targets of B windows, in raw units.

    Attributes:
      action: `[B, K]` int64, or `[B, K, D]` float32 of numbers, what the model is unrolled with.
      value: `[B, K + 1]` float32.
      reward: `[B, K]` float32; entry k is for the state after k + 1 steps, or the sum since its window began.
      policy: `[B, K + 1, A]` float32, or `[B, K + 1, D, values]` of numbers; all zero in absorbing states.
      mask: `[B, K + 1]` float32, 0 where nothing is known about the state.
    """

    action: Array
    value: Array
    reward: Array
    policy: Array
    mask: Array


def window_length(num_unroll_steps: int, td_steps: int) -> int:
    """Returns L, the rows that the targets of one window are made of."""
    return num_unroll_steps + td_steps + 1


def window_rows(num_unroll_steps: int, td_steps: int, num_observations: int = 1) -> dict[str, int]:
    """Returns how many of the L rows of each column are needed; columns not named are needed whole."""
    num_rewards = num_unroll_steps + td_steps
    return {
        "observation": num_observations,
        "action": num_unroll_steps,
        "reward": num_rewards,
        "terminated": 0,
        "truncated": num_rewards,
        VISITS: num_unroll_steps + 1,
    }


def make_targets(
    batch: Batch,
    code: ActionCode,
    *,
    num_unroll_steps: int,
    td_steps: int,
    discount: float,
    rng: np.random.Generator,
    value_prefix: int | None = None,
    return_length_B: Array | None = None,
) -> Targets:
    """Makes the targets of a batch that was sampled with `window_length` and `window_rows`.

    Args:
      batch: windows; not changed.
      code: of their actions.
      num_unroll_steps: K.
      td_steps: n.
      discount: γ, signed.
      rng: draws the actions in absorbing states.
      value_prefix: steps of a window of value prefixes; None for rewards.
      return_length_B: n of each window, 0 to td_steps; None for td_steps.
    """
    num_windows, num_rewards = batch.reward.shape
    assert num_rewards == num_unroll_steps + td_steps, batch.reward.shape
    root_value_BL = batch.extras[ROOT_VALUE]
    end_B = batch.num_rows
    windows = np.arange(num_windows)
    ends_inside_B = end_B <= num_rewards
    is_truncated_B = ends_inside_B & batch.truncated[windows, end_B.clip(max=num_rewards) - 1]

    reward_BT = batch.reward.astype(np.float64)
    cut = np.flatnonzero(is_truncated_B & (end_B < num_rewards))
    reward_BT[cut, end_B[cut]] = root_value_BL[cut, end_B[cut]]  # a reward in row T is discounted as a value there is
    if return_length_B is None:
        value_BK = n_step_returns(
            reward_BT, root_value_BL, num_returns=num_unroll_steps + 1, num_steps=td_steps, discount=discount
        )
    else:
        value_BK = returns_of_lengths(reward_BT, root_value_BL, return_length_B, num_unroll_steps + 1, discount)

    step_K = np.arange(num_unroll_steps + 1)
    is_unknown_BK = is_truncated_B[:, None] & (step_K > end_B[:, None])
    action, random = code.inputs(batch.action), code.random_inputs(rng, (num_windows, num_unroll_steps))
    is_real_BK = step_K[:-1] < end_B[:, None]
    reward_BK = batch.reward[:, :num_unroll_steps]
    return Targets(
        action=np.where(is_real_BK[..., None] if code.is_numbers else is_real_BK, action, random),
        value=value_BK.astype(np.float32),
        reward=reward_BK if value_prefix is None else prefixes(reward_BK, value_prefix),
        policy=batch.extras[VISITS],
        mask=(~is_unknown_BK).astype(np.float32),
    )
