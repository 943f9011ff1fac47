import numpy as np
import pytest

from rlsys.errors import ConfigError
from rlsys.testing.copy_task import BLANK, PAD, CopyExamples, copy_examples

FIELDS = ("inputs", "targets", "is_recalled", "is_token", "lengths")


def slow_line(read: list[int], max_length: int) -> tuple[list[int], list[int], list[bool], list[bool]]:
    """One example, token by token, from the bits that are read."""
    inputs, targets, is_recalled, is_token = [], [], [], []
    for position in range(2 * max_length):
        if position < len(read):
            row = read[position], BLANK, False, True
        elif position < 2 * len(read):
            row = BLANK, read[position - len(read)], True, True
        else:
            row = PAD, PAD, False, False
        for column, value in zip((inputs, targets, is_recalled, is_token), row, strict=True):
            column.append(value)
    return inputs, targets, is_recalled, is_token


def arrays(examples: CopyExamples) -> list[np.ndarray]:
    return [getattr(examples, name) for name in FIELDS]


@pytest.mark.parametrize(("min_length", "max_length"), [(1, 1), (1, 7), (3, 5), (6, 6)])
def test_examples_are_those_of_a_slow_loop(min_length: int, max_length: int) -> None:
    examples = copy_examples(200, max_length, min_length=min_length, rng=0)
    for index, length in enumerate(examples.lengths):
        read = examples.inputs[index, :length].tolist()
        assert set(read) <= {0, 1}
        for found, expected in zip(arrays(examples)[:4], slow_line(read, max_length), strict=True):
            assert found[index].tolist() == expected
    assert set(examples.lengths) == set(range(min_length, max_length + 1))


def test_both_bits_are_scored_and_nothing_else_is() -> None:
    # Upstream's ids of targets follow their first appearance, so that one of the bits takes the id that is not scored.
    for seed in range(10):
        examples = copy_examples(100, 6, rng=seed)
        scored = examples.targets[examples.is_recalled]
        assert set(scored) == {0, 1}
        assert abs(scored.mean() - 0.5) < 0.15
        assert set(examples.targets[~examples.is_recalled]) <= {BLANK, PAD}
        assert (examples.is_recalled.sum(axis=1) == examples.lengths).all()
        assert (examples.is_token.sum(axis=1) == 2 * examples.lengths).all()
        assert PAD not in examples.targets[examples.is_token]


@pytest.mark.parametrize("number", [0, 1, 1000])
def test_there_are_exactly_as_many_examples_as_asked_for(number: int) -> None:
    # Upstream leaves out the last one.
    examples = copy_examples(number, 5, rng=0)
    assert len(examples) == number
    for array in arrays(examples)[:4]:
        assert array.shape == (number, 10)


def test_a_seed_gives_the_same_examples_and_another_seed_others() -> None:
    first, again, other = (copy_examples(50, 8, rng=seed) for seed in (3, 3, 4))
    for array, same in zip(arrays(first), arrays(again), strict=True):
        np.testing.assert_array_equal(array, same)
    assert (first.inputs != other.inputs).any()
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(copy_examples(50, 8, rng=rng).inputs, first.inputs)
    assert (copy_examples(50, 8, rng=rng).inputs != first.inputs).any()  # a generator goes on


@pytest.mark.parametrize(
    ("number", "min_length", "max_length", "message"),
    [(-1, 1, 5, "num_examples"), (1, 0, 5, "min_length=0"), (1, 6, 5, "max_length=5"), (1, 1, 0, "max_length=0")],
)
def test_impossible_values_are_named(number: int, min_length: int, max_length: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        copy_examples(number, max_length, min_length=min_length, rng=0)
