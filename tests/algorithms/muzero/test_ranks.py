"""What ranks agree on."""

import functools

import numpy as np
import pytest

from rlsys.algorithms.muzero.ranks import maximum
from rlsys.testing.processes import RankGroup


@pytest.mark.parametrize("values", [[0.25, 3.0], [3.0, 0.25, 2.9999998], [1.0, 1.0], [1e-30, 2e-30, 0.0]])
def test_ranks_agree_on_the_maximum_exactly(values: list[float]) -> None:
    group = RankGroup(len(values), seed=0)
    found = group.run(lambda rank: maximum(values[rank], functools.partial(group.average, rank)))
    assert found == [float(np.float32(max(values)))] * len(values)
