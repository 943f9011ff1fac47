"""How many rewards the returns of a window have: fewer, the older it is.

    n = clip(td_steps − ⌊age / auto_td_steps⌋, 1, td_steps)         age: decisions since the first of the window

for the rewards are those of a policy that has changed meanwhile. Ye et al. 2021, section 4.3,
https://arxiv.org/abs/2111.00210.

From some update on windows older than the newest ones have no rewards at all, n = 0: their values are those of the
search from each row itself, which reanalysing makes anew. Wang et al. 2024, section 4.3,
https://arxiv.org/abs/2403.00564.

Shape legend: B windows.
"""

import numpy as np

from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.types import Array


def return_lengths(config: MuZeroConfig, age_B: Array, learner_step: int) -> Array | None:
    """Returns `[B]` int64, n; None where all are `td_steps`.

    Args:
      config: names both rules.
      age_B: of windows.
      learner_step: updates done before this one.
    """
    is_mixed = config.mixed_value_after is not None and learner_step >= config.mixed_value_after
    if config.auto_td_steps is None and not is_mixed:
        return None
    length_B = np.full(len(age_B), config.td_steps)
    if config.auto_td_steps is not None:
        length_B = np.clip(config.td_steps - age_B // config.auto_td_steps, 1, config.td_steps)
    return np.where(age_B >= config.mixed_value_newest, 0, length_B) if is_mixed else length_B
