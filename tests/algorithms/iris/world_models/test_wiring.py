import numpy as np
import pytest

from rlsys.algorithms.iris.world_models.wiring import make_wiring
from rlsys.types import Array

# What ncps 1.0.1 wires: AutoNCP(units, motor, seed=seed), built for so many senses.
SMALL = (
    [[0, 0, 1], [0, 1, 0], [1, 0, 1]],
    [[1, 1], [0, 1], [0, 1]],
    [[1, 1, 1, 0], [0, 0, 0, 1]],
)
CHECKSUMS = {
    (3, 9, 4, 22222): [24, 13, 14],
    (3, 7, 3, 22222): [24, 6, 6],
    (5, 12, 4, 1): [133, 42, 30],
    (2, 60, 3, 9): [1425, 148357, 1212],
    (64, 90, 64, 3): [262480, 6464, 105504],
    (256, 512, 256, 22222): [97211771, 33095872, 59329844],
}


def checksum(listens: Array) -> int:
    """A number that hardly any other wiring has."""
    weights = np.arange(1, listens.size + 1, dtype=np.int64) % 9_973
    return int((listens.astype(np.int64).flatten() * weights).sum())


@pytest.mark.parametrize(("sizes", "sums"), CHECKSUMS.items())
def test_it_is_wired_as_ncps_does(sizes: tuple[int, int, int, int], sums: list[int]) -> None:
    assert [checksum(listens) for listens in make_wiring(*sizes).layers] == sums


def test_a_small_one_synapse_by_synapse() -> None:
    assert [listens.astype(int).tolist() for listens in make_wiring(3, 9, 4).layers] == list(SMALL)


def test_nobody_is_left_out() -> None:
    for seed in range(20):
        wiring = make_wiring(2, 60, 3, seed)
        assert all(listens.any(axis=0).all() for listens in wiring.layers), "who listens to nobody"
        assert all(listens.any(axis=1).all() for listens in (wiring.command, wiring.motor)), "whom nobody listens to"


def test_layers_are_as_large_as_upstream_s() -> None:
    assert make_wiring(256, 512, 256).inter.shape == (256, 154)
    assert make_wiring(256, 512, 256).motor.shape == (102, 256)
