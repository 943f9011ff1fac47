"""Who works for a run: one row per process, from what the processes report of themselves."""

import time
from collections import defaultdict
from collections.abc import Mapping

from rlsys.metrics.formatting import percent
from rlsys.metrics.process_stats import ProcessStats
from rlsys.metrics.timing import by_kind, share_name, shares_of
from rlsys.runs.workers import Worker, WorkerKind, WorkerRow

_ORDER: list[str] = list(WorkerKind)


class WorkerTable:
    """Keeps the last row of each worker, and the time of each kind of worker since the last row of metrics."""

    def __init__(self) -> None:
        self.newest_version = -1
        self._rows: dict[Worker, WorkerRow] = {}
        self._process_stats: dict[Worker, ProcessStats] = {}
        self._restarts: dict[Worker, int] = defaultdict(int)
        self._busy: dict[str, float] = {}
        self._spent: dict[str, dict[str, float]] = {}

    def report(
        self,
        worker: Worker,
        process_stats: ProcessStats | None,
        *,
        spent: Mapping[str, float] | None = None,
        counts: Mapping[str, float] | None = None,
        does: str = "",
        version: int | None = None,
    ) -> None:
        """Takes in what a worker did since its last report.

        Args:
          worker: which it is.
          process_stats: of its process; None where it shares the driver's.
          spent: part -> seconds.
          counts: what it did -> how often; becomes rates.
          does: what it waits for, or works at.
          version: of the weights that it acts with; negative before the first, None where nobody acts.
        """
        version = None if version is not None and version < 0 else version
        spent = spent or {}
        sums = self._spent.setdefault(worker.kind, defaultdict(float))
        for part, seconds in spent.items():
            sums[part] += seconds
        if process_stats is None:
            return
        elapsed_s = sum(spent.values())
        self._rows[worker] = WorkerRow(
            kind=worker.kind,
            index=worker.index,
            node=process_stats.node,
            pid=process_stats.pid,
            cores_used=self._cores_used(worker, process_stats),
            rss_bytes=process_stats.rss_bytes,
            pss_bytes=process_stats.pss_bytes,
            does=does,
            rates={name: count / elapsed_s for name, count in (counts or {}).items()} if elapsed_s else {},
            version=version,
            lag=None if version is None else max(0, self.newest_version - version),
            restarts=self._restarts.get(worker, 0),
            shares=shares_of(spent),
            seen=time.time(),
        )

    def left(self, worker: Worker) -> None:
        """Forgets a worker that is gone for good."""
        for memory in (self._rows, self._process_stats, self._restarts):
            memory.pop(worker, None)

    def rows(self) -> list[WorkerRow]:
        """Returns all rows, by kind and index."""
        return sorted(self._rows.values(), key=lambda row: (_ORDER.index(row.kind), row.index))

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
        cores = {process_stats.node: process_stats.cores for process_stats in self._process_stats.values()}
        sums["system/cores"] = float(sum(cores.values()))
        sums["system/busy_cores"] = sum(self._busy.get(node, 0.0) for node in cores)
        return dict(sums)

    def _cores_used(self, worker: Worker, process_stats: ProcessStats) -> float:
        before = self._process_stats.get(worker)
        self._process_stats[worker] = process_stats
        if before is not None and (before.node, before.pid) != (process_stats.node, process_stats.pid):
            self._restarts[worker] += 1
            before = None
        if before is None or process_stats.at_s <= before.at_s:
            return 0.0
        elapsed_s = process_stats.at_s - before.at_s
        self._busy[process_stats.node] = (process_stats.busy_s - before.busy_s) / elapsed_s
        return (process_stats.cpu_s - before.cpu_s) / elapsed_s


def time_rows(shares: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Returns metrics of where time goes as rows for people: kind of worker, part, share."""
    kinds = by_kind(shares)
    return [
        (kind, part.replace("_", " for ", 1), percent(share))
        for kind in WorkerKind
        for part, share in kinds.get(kind, {}).items()
    ]
