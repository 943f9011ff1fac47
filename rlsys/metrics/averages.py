"""What a row of metrics averages, and what it counts, over everything that may happen between two rows.

A row must not depend on how often workers reported, nor on whether the run was stopped and resumed meanwhile: sums are
exact, so that they are the same in whatever portions they come, and they are part of a checkpoint.
"""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from rlsys.api import Saved
from rlsys.files.json_tree import check_tree
from rlsys.replay.schema import TABLE_COUNTS
from rlsys.types import Array

COUNTS = ("inserted", *TABLE_COUNTS)
"""Figures of replay that only grow: those of its tables and queues, and `inserted`, which is their inserted items."""


class Averages:
    """Weighted means of named numbers, with sums as if they were computed without rounding."""

    def __init__(self) -> None:
        self._totals: dict[str, list[float]] = {}
        self._weights: dict[str, float] = {}

    def add(self, name: str, values: Iterable[float], weight: float = 1.0) -> None:
        """Takes in some values, each of which counts `weight` times."""
        totals = self._totals.setdefault(name, [])
        for value in values:
            _add(totals, value * weight)
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def means(self) -> dict[str, float]:
        """Returns the mean of each name that has a value."""
        return {name: math.fsum(self._totals[name]) / weight for name, weight in self._weights.items() if weight}

    def save(self) -> Saved:
        """Returns everything."""
        return {"totals": {name: list(parts) for name, parts in self._totals.items()}, "weights": dict(self._weights)}

    def load(self, saved: Saved) -> None:
        """Goes on from `save`."""
        self._totals = check_tree(saved["totals"], dict[str, list[float]])
        self._weights = check_tree(saved["weights"], dict[str, float])


class Staleness:
    """How old what was learned from is: publications (lags) and updates (ages of targets) since it was made."""

    def __init__(self) -> None:
        self._lags = self._ages = np.zeros(0, np.int64)

    def add(self, lags: Array, ages: Array) -> None:
        """Takes in one number of each kind for each item of an update."""
        self._lags, self._ages = np.concatenate([self._lags, lags]), np.concatenate([self._ages, ages])

    def histograms(self) -> dict[str, Array]:
        """Returns those of which there are any."""
        both = {"replay/version_lag": self._lags, "replay/target_age": self._ages}
        return {name: values for name, values in both.items() if len(values)}

    def row(self) -> dict[str, float]:
        """Returns their figures, of those of which there are any."""
        row = dict[str, float]()
        if len(self._lags):
            median, high, highest = np.quantile(self._lags, (0.5, 0.95, 1.0))
            row["replay/version_lag_median"] = float(median)
            row["replay/version_lag_p95"] = float(high)
            row["replay/version_lag_max"] = float(highest)
        if len(self._ages):
            row["replay/target_age_mean"] = float(self._ages.mean())
            row["replay/target_age_max"] = float(self._ages.max())
        return row

    def save(self) -> Saved:
        """Returns everything."""
        return {"lags": self._lags, "ages": self._ages}

    def load(self, saved: Saved) -> None:
        """Goes on from `save`; checkpoints of before targets had an age say nothing of it."""
        self._lags = np.asarray(saved["lags"], np.int64)
        self._ages = np.asarray(saved.get("ages", ()), np.int64)


class Growth:
    """Counts that go on where a shard that died, and came back with fewer, left off."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, float]] = {}
        self._lost: dict[str, float] = {}
        self._shown: dict[str, float] = {}

    def shard(self, index: int, stats: Mapping[str, float]) -> None:
        """Takes in what one shard has counted, since its beginning or since that of a checkpoint."""
        last = self._last.setdefault(str(index), {})
        for name in COUNTS:
            if name in stats:
                self._lost[name] = self._lost.get(name, 0.0) + max(0.0, last.get(name, 0.0) - stats[name])
                last[name] = stats[name]

    def continued(self, stats: Mapping[str, float]) -> dict[str, float]:
        """Returns figures of all shards with counts that never fall, whoever of them, or of their readers, is new."""
        shown = dict(stats)
        for name in COUNTS:
            if name in stats:
                lost = self._lost.get("inserted_items" if name == "inserted" else name, 0.0)
                shown[name] = self._shown[name] = max(stats[name] + lost, self._shown.get(name, 0.0))
        return shown

    def save(self) -> Saved:
        """Returns everything."""
        last = {index: dict(counts) for index, counts in self._last.items()}
        return {"last": last, "lost": dict(self._lost), "shown": dict(self._shown)}

    def load(self, saved: Saved) -> None:
        """Goes on from `save`."""
        self._last = check_tree(saved["last"], dict[str, dict[str, float]])
        self._lost = check_tree(saved["lost"], dict[str, float])
        self._shown = check_tree(saved["shown"], dict[str, float])


def _add(parts: list[float], value: float) -> None:
    """Adds to numbers that do not overlap and whose sum is exact (Shewchuk 1997, grow-expansion)."""
    kept = 0
    for part in list(parts):
        larger, smaller = (value, part) if abs(value) >= abs(part) else (part, value)
        value = larger + smaller
        rest = smaller - (value - larger)
        if rest:
            parts[kept] = rest
            kept += 1
    parts[kept:] = [value]
