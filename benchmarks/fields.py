"""Cells of the tables: what makes one of a row."""

import re
from collections.abc import Callable, Mapping
from typing import Any

Row = Mapping[str, Any]
Field = str | Callable[[Row], object]
"""A name in a row, dots leading inward, or what makes a cell of it."""


def part(name: str, pattern: str) -> Field:
    """Returns a field that is the first group of a pattern in a word of the row, or all of the word without it."""
    return lambda row: found[1] if (found := re.search(pattern, row[name])) else row[name]


def result(row: Row) -> str:
    """Returns a mean return with its interval and over how many games; of a run without evaluation its last ones."""
    if "mean" not in row:
        return f"{row['curves']['episodes/return'][-1][2]:.1f} while training"
    low, high = row["interval"]
    digits = 1 if max(abs(low), abs(high)) >= 2.0 else 2
    return f"{row['mean']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}) over {row['episodes']:,}"


def interval(row: Row) -> str:
    """Returns the interval of a mean."""
    low, high = row["interval"]
    return f"{low:.0f} to {high:.0f}"


def minutes(row: Row) -> str:
    """Returns how long a run took."""
    return f"{row['wall_minutes']:.1f}"


def unroll(length: int) -> Field:
    """Returns a field of what was learned with unrolls of this length."""
    return lambda row: f"{row['final_return']:.2f}" if row["unroll_length"] == length else ""


def errors(name: str) -> Field:
    """Returns a field of errors at several distances."""
    return lambda row: ", ".join(f"{error:.2f}" for error in row[name])


def slope(kind: str) -> Field:
    """Returns a field of how much memory a kind of process takes more an hour."""
    return f"mib_per_hour.{kind}"
