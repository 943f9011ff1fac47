"""What a checkpoint can hold, and whether two of them are the same."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rlsys.testing.requirement import require


def check_saved(saved: Any, whose: str, path: str = "") -> None:
    """Requires nested dicts with text as keys, lists, arrays and JSON scalars, and nothing else.

    Args:
      saved: what is to be checkpointed.
      whose: that is, for the sentence.
      path: where it is in the whole.
    """
    if isinstance(saved, dict):
        for key, item in saved.items():
            require(isinstance(key, str), f"{whose} saves dicts with text as keys; {path or 'it'} has {key!r}")
            check_saved(item, whose, f"{path}.{key}" if path else key)
    elif isinstance(saved, list):
        for index, item in enumerate(saved):
            check_saved(item, whose, f"{path}.{index}" if path else str(index))
    else:
        is_scalar = isinstance(saved, str | int | float | bool | None) and not isinstance(saved, np.generic)
        is_array = isinstance(saved, np.ndarray) and saved.dtype.kind != "O"
        require(
            is_scalar or is_array,
            f"{whose} saves dicts, lists, arrays and JSON scalars; {path or 'it'} is {type(saved).__name__}",
        )


def leaves(saved: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields dotted path and value of all that is neither dict nor list."""
    if isinstance(saved, Mapping | list):
        for name, value in saved.items() if isinstance(saved, Mapping) else enumerate(saved):
            yield from leaves(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, saved


def first_difference(one: Any, other: Any) -> str | None:
    """Returns the dotted path of the first value that is not the same, bit by bit; None where all are."""
    ours, theirs = dict(leaves(one)), dict(leaves(other))
    for name in [*ours, *theirs]:
        if name not in ours or name not in theirs or not _is_same(ours[name], theirs[name]):
            return name
    return None


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return type(one) is type(other) and bool(one == other)
