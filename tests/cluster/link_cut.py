"""What a cut of a link cost a run, from its rows of metrics."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Row = Mapping[str, float]

_BEFORE_S = 20.0
_AFTER_S = 10.0
_RECOVERED_SHARE = 0.8


def read(folder: Path) -> list[Row]:
    """Returns the rows of a run that say how replay stands; what is being written right now is left out."""
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return [row for row in rows if "replay/inserted" in row]


@dataclass(frozen=True)
class Cut:
    """When a link was down, in the run's own seconds (`time_s`)."""

    began: float
    ended: float

    def recovered(self, rows: Sequence[Row]) -> float | None:
        """Returns when, after the cut, ten seconds began that were about as fast as before; None: not yet."""
        wanted = _RECOVERED_SHARE * self._speed_before(rows, "env_steps")
        starts = [row["time_s"] for row in rows if self.ended <= row["time_s"] <= rows[-1]["time_s"] - _AFTER_S]
        fast = (start for start in starts if _speed(rows, "env_steps", start, start + _AFTER_S) >= wanted)
        return next(fast, None)

    def cost(self, rows: Sequence[Row]) -> dict[str, float]:
        """Returns what was lost until the run had recovered, beside what it would have done at the speed of before.

        `rows_not_in_replay` are decisions that were reported and have not come to replay: of games that are unfinished,
        or were when their worker was lost. `replay_share_left` is the least that replay held, as a share of what it
        held before.
        """
        end = self.recovered(rows)
        assert end is not None, "the run has not recovered"
        first, last = _at(rows, self.began), _at(rows, end)
        cost = {"cut_s": self.ended - self.began, "recovered_after_s": end - self.began}
        for name, column in (("env_steps", "env_steps"), ("learner_steps", "learner_step")):
            before = self._speed_before(rows, column)
            cost[f"{name}_per_s_before"] = before
            cost[f"{name}_per_s_during"] = _speed(rows, column, self.began, self.ended)
            cost[f"{name}_lost"] = before * (end - self.began) - (last[column] - first[column])
        for moment, row in (("before", first), ("after", last)):
            cost[f"rows_not_in_replay_{moment}"] = row["env_steps"] - row["replay/inserted"]
        items = [row["replay/items"] for row in rows if self.began <= row["time_s"] <= end]
        cost["replay_share_left"] = min(items) / first["replay/items"]
        cost["workers_restarted"] = rows[-1]["workers/restarts"] - first["workers/restarts"]
        return {name: round(value, 2) for name, value in cost.items()}

    def _speed_before(self, rows: Sequence[Row], name: str) -> float:
        return _speed(rows, name, self.began - _BEFORE_S, self.began)


def _at(rows: Sequence[Row], time_s: float) -> Row:
    """Returns the last row up to a time."""
    return max((row for row in rows if row["time_s"] <= time_s), key=lambda row: row["time_s"])


def _speed(rows: Sequence[Row], name: str, begin: float, end: float) -> float:
    first, last = _at(rows, begin), _at(rows, end)
    return (last[name] - first[name]) / max(1e-9, last["time_s"] - first["time_s"])
