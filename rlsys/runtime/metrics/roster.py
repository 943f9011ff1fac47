"""Who works for a run: one row per process, from what the processes report of themselves."""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from rlsys.runtime.metrics.timing import by_kind, share_name, shares_of
from rlsys.runtime.metrics.vitals import Vitals
from rlsys.runtime.phrases import percent

KINDS = ("driver", "learner", "evaluator", "server", "shard", "inference", "rollout")
"""Kinds of processes in the order in which they are shown."""


@dataclass(frozen=True)
class WorkerRow:
    """One process of a run, as of its last report.

    Attributes:
      kind, index: which worker it is.
      node, pid: where it runs.
      cores_used: CPU seconds per second since the report before.
      rss_bytes, pss_bytes: as in `Vitals`.
      does: what it waits for, or works at.
      rates: what it did per second since the report before: "env steps" -> 310.
      version, lag: of the weights that it acts with; by how many versions they were old. None where nobody acts.
      restarts: how often another process took its place, this session.
      shares: part of its time -> share of 1, since the report before.
      seen: Unix time of the report.
    """

    kind: str
    index: int
    node: str
    pid: int
    cores_used: float
    rss_bytes: int
    pss_bytes: int
    does: str = ""
    rates: Mapping[str, float] = field(default_factory=dict)
    version: int | None = None
    lag: int | None = None
    restarts: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)
    seen: float = 0.0

    @property
    def memory_bytes(self) -> int:
        """Its proportional set size where the system tells, else its resident memory."""
        return self.pss_bytes or self.rss_bytes


class Roster:
    """Keeps the last row of each worker, and the time of each kind of worker since the last row of metrics."""

    def __init__(self) -> None:
        self.newest_version = -1
        self._rows: dict[tuple[str, int], WorkerRow] = {}
        self._vitals: dict[tuple[str, int], Vitals] = {}
        self._restarts: dict[tuple[str, int], int] = defaultdict(int)
        self._busy: dict[str, float] = {}
        self._spent: dict[str, dict[str, float]] = {}

    def report(
        self,
        kind: str,
        index: int,
        vitals: Vitals | None,
        *,
        spent: Mapping[str, float] | None = None,
        counts: Mapping[str, float] | None = None,
        does: str = "",
        version: int | None = None,
    ) -> None:
        """Takes in what a worker did since its last report.

        Args:
          kind: one of `KINDS`.
          index: its number among its kind.
          vitals: of its process; None where it shares the driver's.
          spent: part -> seconds.
          counts: what it did -> how often; becomes rates.
          does: what it waits for, or works at.
          version: of the weights that it acts with; negative before the first, None where nobody acts.
        """
        version = None if version is not None and version < 0 else version
        spent = spent or {}
        sums = self._spent.setdefault(kind, defaultdict(float))
        for part, seconds in spent.items():
            sums[part] += seconds
        if vitals is None:
            return
        key = (kind, index)
        elapsed_s = sum(spent.values())
        self._rows[key] = WorkerRow(
            kind=kind,
            index=index,
            node=vitals.node,
            pid=vitals.pid,
            cores_used=self._cores_used(key, vitals),
            rss_bytes=vitals.rss_bytes,
            pss_bytes=vitals.pss_bytes,
            does=does,
            rates={name: count / elapsed_s for name, count in (counts or {}).items()} if elapsed_s else {},
            version=version,
            lag=None if version is None else max(0, self.newest_version - version),
            restarts=self._restarts.get(key, 0),
            shares=shares_of(spent),
            seen=time.time(),
        )

    def left(self, kind: str, index: int) -> None:
        """Forgets a worker that is gone for good."""
        for memory in (self._rows, self._vitals, self._restarts):
            memory.pop((kind, index), None)

    def rows(self) -> list[WorkerRow]:
        """Returns all rows, by kind and index."""
        return sorted(self._rows.values(), key=lambda row: (KINDS.index(row.kind), row.index))

    def take_shares(self) -> dict[str, float]:
        """Returns `workers/<kind>_<part>_share` -> share of 1, over all workers of a kind since the last call."""
        spent, self._spent = self._spent, {}
        return {
            share_name(kind, part): share
            for kind, seconds in spent.items()
            for part, share in shares_of(seconds).items()
        }

    def system(self) -> dict[str, float]:
        """Returns sums over each kind of process, and how busy their machines are, as metrics."""
        sums: dict[str, float] = defaultdict(float)
        for row in self._rows.values():
            sums[f"system/{row.kind}_processes"] += 1
            sums[f"system/{row.kind}_cpu_cores"] += row.cores_used
            sums[f"system/{row.kind}_memory_mib"] += row.memory_bytes / 2**20
        cores = {vitals.node: vitals.cores for vitals in self._vitals.values()}
        sums["system/cores"] = float(sum(cores.values()))
        sums["system/busy_cores"] = sum(self._busy.get(node, 0.0) for node in cores)
        return dict(sums)

    def _cores_used(self, key: tuple[str, int], vitals: Vitals) -> float:
        before = self._vitals.get(key)
        self._vitals[key] = vitals
        if before is not None and (before.node, before.pid) != (vitals.node, vitals.pid):
            self._restarts[key] += 1
            before = None
        if before is None or vitals.at_s <= before.at_s:
            return 0.0
        elapsed_s = vitals.at_s - before.at_s
        self._busy[vitals.node] = (vitals.busy_s - before.busy_s) / elapsed_s
        return (vitals.cpu_s - before.cpu_s) / elapsed_s


def time_rows(shares: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Returns metrics of where time goes as rows for people: kind of worker, part, share."""
    kinds = by_kind(shares)
    return [
        (kind, part.replace("_", " for ", 1), percent(share))
        for kind in KINDS
        for part, share in kinds.get(kind, {}).items()
    ]
