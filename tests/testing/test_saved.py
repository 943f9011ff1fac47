"""What a checkpoint can hold is told from what it cannot, and what differs is named."""

from typing import Any

import numpy as np
import pytest

from rlsys.testing.requirement import ContractError
from rlsys.testing.saved import check_saved, first_difference, leaves


def test_dicts_lists_arrays_and_scalars_can_be_saved() -> None:
    check_saved({"a": [1, 2.0, None, True, "text"], "b": {"c": np.zeros(3), "d": {}}}, "a learner")


@pytest.mark.parametrize(
    ("saved", "sentence"),
    [
        ({"a": {"b": (1, 2)}}, r"^a learner saves dicts, lists, arrays and JSON scalars; a\.b is tuple$"),
        ({"a": [0, np.float32(1)]}, r"a\.1 is float32$"),
        ({"a": np.array([None])}, r"a is ndarray$"),
        ({"a": {3: 4}}, r"^a learner saves dicts with text as keys; a has 3$"),
    ],
)
def test_what_cannot_be_saved_is_named(saved: Any, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        check_saved(saved, "a learner")


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ({"a": [1, np.zeros(2)]}, {"a": [1, np.zeros(2)]}, None),
        ({"a": np.array([np.nan])}, {"a": np.array([np.nan])}, None),
        ({"a": [1, np.zeros(2)]}, {"a": [1, np.zeros(3)]}, "a.1"),
        ({"a": np.zeros(2)}, {"a": np.zeros(2, np.float32)}, "a"),
        ({"a": np.zeros(1)}, {"a": -np.zeros(1)}, "a"),
        ({"a": 1}, {"a": 1.0}, "a"),
        ({"a": 1}, {"a": 1, "b": 2}, "b"),
    ],
)
def test_the_first_difference_is_named(one: Any, other: Any, difference: str | None) -> None:
    assert first_difference(one, other) == difference


def test_leaves_have_dotted_paths() -> None:
    assert list(leaves({"a": {"b": [1, 2]}, "c": 3})) == [("a.b.0", 1), ("a.b.1", 2), ("c", 3)]
