"""Who of a run's workers is there: says, once each time, who is away, silent, or without a machine."""

import os
import time
from collections.abc import Iterable

from rlsys.errors import WorkerError
from rlsys.quoting import quoted
from rlsys.runtime.cluster.machine_types import Worker
from rlsys.runtime.cluster.placement import WorkerKey
from rlsys.runtime.driver.pending_calls import Call
from rlsys.runtime.driver.program import Program
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.driver.waiting import SILENCE_S

_HEAD_PATIENCE_S = 10.0
_HEAD_MARGIN_S = 15.0
_ANOTHER_LIMIT_S = 20.0
_HEAD_LIMIT_S = float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", "60"))  # noqa: SIM112 - Ray's name
"""Without the cluster's head for so long, Ray ends this process."""
_NAMES: dict[Worker, str] = {"shard": "replay shard", "inference": "inference worker", "server": "parameter server"}


def name_of(worker: WorkerKey) -> str:
    """Returns what a worker is called on the console."""
    kind, index = worker
    return _NAMES[kind] if kind == "server" else f"{_NAMES.get(kind, kind)} {index}"


class Liveness:
    """Keeps who has answered and who has not."""

    def __init__(self, program: Program, recorder: Recorder) -> None:
        self._program = program
        self._recorder = recorder
        self._pids: dict[WorkerKey, int] = {}
        self._away_since: dict[WorkerKey, float] = {}
        self._silent_since: dict[WorkerKey, float] = {}
        self._head_was_there = True

    def answered(self, worker: WorkerKey, pid: int | None = None) -> bool:
        """Notes that a worker is there; returns whether Ray restarted it while nobody looked."""
        away_since = self._away_since.pop(worker, None)
        if away_since is not None:
            self._recorder.message(f"{name_of(worker)} is back after {time.monotonic() - away_since:.0f} s")
        if self._silent_since.pop(worker, None) is not None:
            self._recorder.waits(name_of(worker), "")
        if pid is None:
            return False
        before, self._pids[worker] = self._pids.get(worker, pid), pid
        is_news = before != pid and away_since is None
        if is_news:
            self._recorder.restarted(f"{name_of(worker)} was restarted")
        return is_news

    def missed(self, worker: WorkerKey, reason: str) -> float:
        """Notes that a worker which Ray restarts is away; returns for how many seconds it has been."""
        if worker not in self._away_since:
            self._away_since[worker] = time.monotonic()
            self._recorder.restarted(f"{name_of(worker)} is away ({reason}); it is restarted")
            return 0.0
        away_s = time.monotonic() - self._away_since[worker]
        if away_s > SILENCE_S:
            self._explain(worker, self._away_since[worker])
        return away_s

    def look(self, calls: Iterable[Call]) -> None:
        """Says of workers that have not answered a call for a minute what they wait for, as far as that is known."""
        for call in calls:
            if call.worker is not None and call.age_s > SILENCE_S:
                self._explain(call.worker, call.since)

    def _explain(self, worker: WorkerKey, since: float) -> None:
        """Says once of each silence what a worker waits for."""
        if self._silent_since.get(worker) == since:
            return
        self._silent_since[worker] = since
        name, needs = name_of(worker), self.needs(worker)
        if needs:
            self._recorder.waits(name, needs)
        self._recorder.message(
            f"{name} waits for {needs}" if needs else f"{name} has not reported for {SILENCE_S:.0f} s"
        )

    def needs(self, worker: WorkerKey) -> str:
        """Returns "a machine with …" if a worker waits for one; empty if it has one, or that is not known."""
        handle = dict(self._program.workers()).get(worker)
        is_homeless = handle is not None and self._program.machines.home(handle) == ""
        return self._program.needs(worker[0]) if is_homeless else ""

    def head_is_there(self) -> bool:
        """Returns whether the cluster's head answers; says when that changes.

        Raises:
          WorkerError: it has been away for so long that Ray is about to end this process.
        """
        machines, spec = self._program.machines, self._program.spec
        silent_s, is_another = machines.silent_s, machines.head_is_another
        what = "was restarted without its state" if is_another else "does not answer"
        if silent_s > (_ANOTHER_LIMIT_S if is_another else _HEAD_LIMIT_S - _HEAD_MARGIN_S):
            raise WorkerError(
                f"the cluster's head (GCS) {what}, for {silent_s:.0f} s now, and Ray gives such a cluster up. Start it "
                f"again, and go on with {quoted('launch', '--resume', spec.folder)}."
            )
        was_there, self._head_was_there = self._head_was_there, silent_s <= _HEAD_PATIENCE_S and not is_another
        if was_there and not self._head_was_there:
            self._recorder.message(
                f"the cluster's head (GCS) {what}: training goes on, a checkpoint is written, nothing can be started"
            )
        elif self._head_was_there and not was_there:
            self._recorder.message("the cluster's head (GCS) answers again")
        return self._head_was_there
