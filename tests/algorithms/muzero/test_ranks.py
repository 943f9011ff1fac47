"""What ranks agree on."""

import threading

import numpy as np
import pytest
from support.fake_ranks import FakeRanks

from rlsys.algorithms.muzero.ranks import maximum


@pytest.mark.parametrize("values", [[0.25, 3.0], [3.0, 0.25, 2.9999998], [1.0, 1.0], [1e-30, 2e-30, 0.0]])
def test_ranks_agree_on_the_maximum_exactly(values: list[float]) -> None:
    ranks = FakeRanks(len(values))
    found = [0.0] * len(values)

    def work(rank: int) -> None:
        found[rank] = maximum(values[rank], ranks.average)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(len(values))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [float(np.float32(max(values)))] * len(values)
