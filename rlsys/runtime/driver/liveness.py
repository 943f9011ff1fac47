"""Who of a run's workers is there: says, once each time, who is away, silent, or without a machine."""

import os
import time

from rlsys.errors import WorkerError
from rlsys.quoting import quoted
from rlsys.runs.workers import Worker
from rlsys.runtime.driver.pending_calls import PendingCalls
from rlsys.runtime.driver.program import Program
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.driver.waiting import SILENCE_S

_PING_EVERY_S = 2.0
_HEAD_PATIENCE_S = 10.0
_HEAD_MARGIN_S = 15.0
_ANOTHER_LIMIT_S = 20.0
_HEAD_LIMIT_S = float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", "60"))  # noqa: SIM112 - Ray's name
"""Without the cluster's head for so long, Ray ends this process."""


class Liveness:
    """Keeps who has answered and who has not."""

    def __init__(self, program: Program, calls: PendingCalls, recorder: Recorder) -> None:
        self._program = program
        self._calls = calls
        self._recorder = recorder
        self._pids: dict[Worker, int] = {}
        self._away_since: dict[Worker, float] = {}
        self._silent_since: dict[Worker, float] = {}
        self._head_was_there = True
        self._next_ping = 0.0

    def answered(self, worker: Worker, pid: int | None = None) -> bool:
        """Notes that a worker is there; returns whether Ray restarted it while nobody looked."""
        away_since = self._away_since.pop(worker, None)
        if away_since is not None:
            self._recorder.message(f"{worker.title} is back after {time.monotonic() - away_since:.0f} s")
        if self._silent_since.pop(worker, None) is not None:
            self._recorder.waits(worker, "")
        if pid is None:
            return False
        before, self._pids[worker] = self._pids.get(worker, pid), pid
        is_news = before != pid and away_since is None
        if is_news:
            self._recorder.restarted(f"{worker.title} was restarted")
        return is_news

    def missed(self, worker: Worker, reason: str) -> float:
        """Notes that a worker which Ray restarts is away; returns for how many seconds it has been."""
        if worker not in self._away_since:
            self._away_since[worker] = time.monotonic()
            self._recorder.restarted(f"{worker.title} is away ({reason}); it is restarted")
            return 0.0
        away_s = time.monotonic() - self._away_since[worker]
        if away_s > SILENCE_S:
            self._explain(worker, self._away_since[worker])
        return away_s

    def look(self) -> None:
        """Says of workers that have not answered a call for a minute what they wait for, as far as that is known."""
        for call in self._calls:
            if call.worker is not None and call.age_s > SILENCE_S:
                self._explain(call.worker, call.since)

    def ping(self) -> None:
        """Asks those whom nobody else calls from here how they are, every two seconds."""
        if time.monotonic() < self._next_ping:
            return
        self._next_ping = time.monotonic() + _PING_EVERY_S
        for index, shard in enumerate(self._program.shards):
            if not self._calls.busy("shard", index=index):
                self._calls.track("shard", index, shard.report.remote())
        for index, host in enumerate(self._program.inference):
            if not self._calls.busy("inference", index=index):
                self._calls.track("inference", index, host.report.remote())
        for index in range(len(self._program.reanalysers)):
            self.tick_reanalyser(index)
        if not self._calls.busy("server"):
            self._calls.track("server", 0, self._program.server.report.remote())

    def tick_reanalyser(self, index: int) -> None:
        """Has a reanalyse worker work for a tick, unless it does; one that is being restarted does afterwards."""
        if not self._calls.busy("reanalyse", index=index):
            tick = self._program.reanalysers[index].collect.remote(self._program.spec.runtime.tick_s)
            self._calls.track("reanalyse", index, tick)

    def _explain(self, worker: Worker, since: float) -> None:
        """Says once of each silence what a worker waits for."""
        if self._silent_since.get(worker) == since:
            return
        self._silent_since[worker] = since
        name, needs = worker.title, self.needs(worker)
        if needs:
            self._recorder.waits(worker, needs)
        self._recorder.message(
            f"{name} waits for {needs}" if needs else f"{name} has not reported for {SILENCE_S:.0f} s"
        )

    def needs(self, worker: Worker) -> str:
        """Returns "a machine with …" if a worker waits for one; empty if it has one, or that is not known."""
        handle = dict(self._program.workers()).get(worker)
        is_homeless = handle is not None and self._program.machines.home(handle) == ""
        return self._program.needs(worker.kind) if is_homeless else ""

    def head_has_gone(self) -> bool:
        """Returns whether the cluster's head, which answered until now, does not any more; says when that changes.

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
        return was_there and not self._head_was_there
