"""Where a worker's time goes: every moment belongs to exactly one named part.

As metrics, the parts of a kind of worker are shares of 1: `workers/<kind>_<part>_share`.
"""

import math
import re
import time
from collections.abc import Iterable, Mapping
from types import TracebackType

_SHARE = re.compile(r"workers/([a-z]+)_([a-z_]+)_share")


class Stopwatch:
    """Splits time into parts; what no part covers is the rest, so that the parts always add up to the whole.

    Parts may lie within each other: the inner one's time is not the outer one's.
    """

    def __init__(self, rest: str = "other") -> None:
        """Begins; `rest` names what no part covers."""
        self._seconds: dict[str, float] = {}
        self._part = rest
        self._since = time.perf_counter()

    def part(self, name: str) -> "_Part":
        """Returns a context whose time is the part's; costs less than a microsecond."""
        return _Part(self, name)

    def take(self) -> dict[str, float]:
        """Returns the seconds of each part that has ever occurred since the last call, or since the beginning."""
        self.switch(self._part)
        seconds, self._seconds = self._seconds, dict.fromkeys(self._seconds, 0.0)
        return seconds

    def switch(self, name: str) -> str:
        """Ends the present part, returning its name, and begins another."""
        now = time.perf_counter()
        before = self._part
        self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._part, self._since = name, now
        return before


class _Part:
    """One stretch of time; when it ends, the part around it goes on."""

    __slots__ = ("_before", "_name", "_watch")

    def __init__(self, watch: Stopwatch, name: str) -> None:
        self._watch = watch
        self._name = name
        self._before = ""

    def __enter__(self) -> None:
        self._before = self._watch.switch(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._watch.switch(self._before)


def shares_of(seconds: Mapping[str, float]) -> dict[str, float]:
    """Returns part -> share of 1."""
    total = sum(seconds.values())
    return {part: value / total for part, value in seconds.items()} if total else {}


def share_name(kind: str, part: str) -> str:
    """Returns the metric that tells which share of its time a kind of worker spends on a part."""
    return f"workers/{kind}_{part}_share"


def shares_in(row: Mapping[str, float]) -> dict[str, float]:
    """Returns the metrics that say where workers' time goes; they add up to 1 for each kind."""
    return {name: value for name, value in row.items() if _SHARE.fullmatch(name)}


def by_kind(shares: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Returns kind -> part -> share of 1, the largest first, from metrics."""
    kinds: dict[str, dict[str, float]] = {}
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        match = _SHARE.fullmatch(name)
        if match is not None:
            kinds.setdefault(match[1], {})[match[2]] = share
    return kinds


def mean_row(rows: Iterable[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """Returns the mean of each metric over rows, weighted by their seconds; rows without it do not count."""
    sums: dict[str, list[float]] = {}
    for seconds, row in rows:
        for name, value in row.items():
            if math.isfinite(value):
                total = sums.setdefault(name, [0.0, 0.0])
                total[0] += seconds * value
                total[1] += seconds
    return {name: total / seconds for name, (total, seconds) in sums.items() if seconds}
