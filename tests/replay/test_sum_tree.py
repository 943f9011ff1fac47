import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsys.replay.sum_tree import SumTree

_PRIORITY = st.one_of(st.just(0.0), st.floats(1e-6, 1e6))


@st.composite
def _trees(draw: st.DrawFn) -> tuple[SumTree, np.ndarray]:
    """A tree after random changes, and its leaves kept by plain indexing."""
    capacity = draw(st.integers(1, 600))
    tree, leaves = SumTree(capacity), np.zeros(capacity)
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["range", "clear", "set"]))
        start = draw(st.integers(0, capacity - 1))
        count = draw(st.integers(0, min(capacity - start, 40)))
        if kind == "range":
            values = np.array(draw(st.lists(_PRIORITY, min_size=count, max_size=count)))
            tree.set_range(start, values)
            leaves[start : start + count] = values
        elif kind == "clear":
            tree.clear_range(start, start + count)
            leaves[start : start + count] = 0.0
        else:
            chosen = draw(st.lists(st.integers(0, capacity - 1), max_size=40))
            values = draw(st.lists(_PRIORITY, min_size=len(chosen), max_size=len(chosen)))
            tree.set(np.array(chosen, np.int64), np.array(values))
            for leaf, value in zip(chosen, values, strict=True):
                leaves[leaf] = value
    return tree, leaves


@settings(max_examples=150, deadline=None, derandomize=True)
@given(_trees())
def test_leaves_are_what_was_set_last_and_the_total_is_their_sum(case):
    tree, leaves = case
    np.testing.assert_array_equal(tree.priorities, leaves)
    assert tree.total == pytest.approx(leaves.sum(), rel=1e-12)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(_trees(), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_a_position_finds_the_leaf_whose_share_of_the_cumulative_sum_holds_it(case, fractions):
    tree, leaves = case
    if tree.total == 0.0:
        return
    ends = np.cumsum(leaves)
    for leaf, position in zip(
        tree.find(np.array(fractions) * tree.total), np.array(fractions) * tree.total, strict=True
    ):
        assert leaves[leaf] > 0.0
        rounding = 1e-9 * tree.total
        assert ends[leaf] - leaves[leaf] - rounding <= position <= ends[leaf] + rounding


def test_whole_numbers_are_found_exactly():
    rng = np.random.default_rng(1)
    leaves = rng.integers(0, 5, 1000).astype(float)
    tree = SumTree(1000)
    tree.set_range(0, leaves)
    positions = np.arange(tree.total)
    np.testing.assert_array_equal(tree.find(positions), np.repeat(np.arange(1000), leaves.astype(int)))


def test_the_upper_end_belongs_to_the_last_leaf_with_a_share():
    tree = SumTree(500)
    tree.set(np.array([3, 77, 410]), np.array([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(tree.find(np.array([tree.total, np.nextafter(tree.total, 1)])), [410, 410])


def test_sums_do_not_drift_over_many_updates():
    rng = np.random.default_rng(2)
    tree = SumTree(3000)
    for _ in range(2000):
        tree.set(rng.integers(0, 3000, 64), rng.random(64) * 10.0 ** rng.integers(-8, 8, 64))
    fresh = SumTree(3000)
    fresh.set_range(0, tree.priorities.copy())
    assert tree.total == fresh.total
    tree.clear_range(0, 3000)
    assert tree.total == 0.0


def test_read_only_arrays_are_taken_and_arguments_stay_as_they_were():
    tree = SumTree(100)
    leaves, priorities, positions = np.array([5, 6]), np.array([1.0, 2.0]), np.array([0.5, 1.5])
    for array in (leaves, priorities, positions):
        array.setflags(write=False)
    tree.set(leaves, priorities)
    np.testing.assert_array_equal(tree.find(positions), [5, 6])
    np.testing.assert_array_equal(leaves, [5, 6])
    np.testing.assert_array_equal(positions, [0.5, 1.5])
