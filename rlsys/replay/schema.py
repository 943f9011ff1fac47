"""What a replay table holds and counts: its columns, how large a segment can be, and whether one fits."""

import math
from collections.abc import Mapping

import numpy as np

from rlsys.api import Cut, Segments
from rlsys.errors import ConfigError, ReplayError, did_you_mean
from rlsys.types import Array, ArraySpec, EnvSpec, Segment

_FLAGS = ("terminated", "truncated")
_TRANSITION_COLUMNS = ("action", "reward", *_FLAGS)
"""Columns without a value for the bootstrap row."""
TABLE_COUNTS = (
    "inserted_items",
    "inserted_segments",
    "duplicate_segments",
    "sampled_items",
    "updated_priorities",
    "skipped_priorities",
    "refreshed_rows",
    "skipped_refreshes",
    "evicted_by_size",
    "evicted_by_slots",
    "evicted_by_bytes",
)
"""Figures of a table that only grow from the beginning of the run; evictions are of segments."""
QUEUE_COUNTS = ("inserted_items", "duplicate_segments", "sampled_items")
"""Likewise of a queue."""


def column_specs(env: EnvSpec, cut: Cut) -> dict[str, ArraySpec]:
    """Returns name -> spec of one row of every column.

    Raises:
      ConfigError: an extra has the name of another column.
    """
    specs = {
        "observation": env.observation,
        "action": env.action,
        "reward": ArraySpec((), "float32"),
        "terminated": ArraySpec((), "bool"),
        "truncated": ArraySpec((), "bool"),
    }
    for name in cut.extras:
        if name in specs:
            raise ConfigError(f"extra '{name}' has the name of a column that every table has. Rename the extra.")
    return specs | dict(cut.extras)


def context_rows(env: EnvSpec) -> int:
    """Returns the rows kept before a segment's first item: what a frame stack reaches back."""
    return env.num_stack - 1


def max_segment_rows(env: EnvSpec, segments: Segments) -> int:
    """Returns the most transitions that a segment can have."""
    return context_rows(env) + segments.overlap + segments.length


def window_lengths(
    specs: Mapping[str, ArraySpec], length: int, rows: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Returns column -> how many of the L rows of a window are wanted; columns not named in `rows` come with all.

    Raises:
      ReplayError: `rows` names an unknown column, or asks for more than L rows.
    """
    lengths = dict.fromkeys(specs, length)
    for name, count in (rows or {}).items():
        if name not in lengths:
            raise ReplayError(
                f"rows['{name}'] names no column; there are {', '.join(lengths)}.{did_you_mean(name, lengths)}"
            )
        if not 0 <= count <= length:
            raise ReplayError(f"rows['{name}'] = {count}; 0 to length = {length} are allowed. Ask for a longer window.")
        lengths[name] = count
    return lengths


def columns_of(segment: Segment) -> dict[str, Array]:
    """Returns name -> array of all columns of a segment."""
    return {
        "observation": segment.observation,
        "action": segment.action,
        "reward": segment.reward,
        "terminated": segment.terminated,
        "truncated": segment.truncated,
        **segment.extras,
    }


def check_segment(segment: Segment, specs: Mapping[str, ArraySpec], max_rows: int) -> None:
    """Refuses a segment that a table of these columns cannot hold.

    Raises:
      ReplayError: a column is missing, unknown, or of another shape or dtype; there are too many rows; the items lie
        outside the rows; an episode ends before the last row; a priority is not finite or is negative.
    """
    num_rows = segment.num_rows
    if not 1 <= num_rows <= max_rows:
        raise ReplayError(f"segment has {num_rows:,} rows; 1 to {max_rows:,} are allowed. {_DISAGREE}")
    columns = columns_of(segment)
    check_names(columns, specs, "segment")
    for name, array in columns.items():
        num_expected = num_rows if name in _TRANSITION_COLUMNS else num_rows + 1
        check_array(name, array, num_expected, specs[name])
    first, last = segment.first_item, segment.first_item + segment.num_items - 1
    if not 0 <= first <= last < num_rows:
        raise ReplayError(f"items are rows {first} to {last}; they must lie in rows 0 to {num_rows - 1}. {_DISAGREE}")
    for name in _FLAGS:
        if columns[name][:-1].any():
            row = int(np.argmax(columns[name]))
            raise ReplayError(
                f"{name}[{row}] = True before the last row, {num_rows - 1}. Cut segments at episode ends."
            )
    if segment.priority is not None:
        check_array("priority", segment.priority, segment.num_items, ArraySpec((), "float64"))
        check_priorities(segment.priority, f"a segment of worker {segment.source.worker}")


def check_names(given: Mapping[str, Array], specs: Mapping[str, ArraySpec], owner: str) -> None:
    """Refuses missing and unknown columns.

    Raises:
      ReplayError: the names differ.
    """
    if given.keys() == specs.keys():
        return
    for name in given:
        if name not in specs:
            raise ReplayError(f"{owner} has an unknown column '{name}'.{did_you_mean(name, specs)} {_DISAGREE}")
    missing = next(name for name in specs if name not in given)
    raise ReplayError(f"{owner} has no column '{missing}'. {_DISAGREE}")


def check_array(name: str, array: Array, num_rows: int, spec: ArraySpec) -> None:
    """Refuses a column whose shape is not `[num_rows, *spec.shape]` or whose dtype differs.

    Raises:
      ReplayError: it does.
    """
    if array.shape != (num_rows, *spec.shape):
        raise ReplayError(f"{name} has shape {array.shape}, expected {(num_rows, *spec.shape)}. {_DISAGREE}")
    if array.dtype != spec.dtype:
        raise ReplayError(f"{name} has dtype {array.dtype}, expected {spec.dtype}. {_DISAGREE}")


def check_priorities(priorities: Array, origin: str) -> None:
    """Refuses priorities (`[n]`) that are not finite or are negative.

    Raises:
      ReplayError: it names the first of them.
    """
    # One pass for the usual case: a sum of numbers that are ≥ 0 is finite where each of them is, short of overflow.
    if priorities.min(initial=0.0) >= 0.0 and math.isfinite(priorities.sum()):
        return
    bad = np.flatnonzero(~(np.isfinite(priorities) & (priorities >= 0.0)))
    if len(bad):
        raise ReplayError(
            f"priority[{bad[0]}] = {priorities[bad[0]]} from {origin}; priorities must be finite and not negative. "
            "Look for a loss or a value that diverged."
        )


_DISAGREE = "What was collected and the table's specs disagree."
