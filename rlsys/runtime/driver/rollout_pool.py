"""The rollout workers of a run: who comes, who acts, who takes whose place, who goes.

Those with which a run begins act when all of them are there, or when nobody has come for a while: on a machine with
fewer cores than workers, who acts holds up who is still importing.
"""

import time
from dataclasses import replace

from rlsys.errors import ConfigError
from rlsys.quoting import quoted
from rlsys.runs.progress import Progress
from rlsys.runs.resolve import check
from rlsys.runs.restarts import Restarts
from rlsys.runs.weight_watch import WeightWatch
from rlsys.runs.workers import Worker
from rlsys.runtime.driver.pending_calls import PendingCalls
from rlsys.runtime.driver.program import Program
from rlsys.runtime.driver.recorder import Recorder

_INCARNATIONS_PER_SESSION = 1_000_000
"""Replay remembers who sent what: a worker of a resumed run must not look like one of the session before."""
_GATHERING_PATIENCE_S = 10.0


class RolloutPool:
    """Keeps every rollout worker busy a tick at a time, until it is told to stand by."""

    def __init__(
        self,
        program: Program,
        calls: PendingCalls,
        restarts: Restarts,
        weights: WeightWatch,
        progress: Progress,
        recorder: Recorder,
    ) -> None:
        self._program = program
        self._calls = calls
        self._restarts = restarts
        self._weights = weights
        self._progress = progress
        self._recorder = recorder
        self._coming: set[int] = set()
        self._standing_by: set[int] = set()
        self._last_came_at = 0.0
        self._ready_successors: set[int] = set()
        self._stands_by = True
        self._is_stopped = False

    @property
    def size(self) -> int:
        """How many there should be."""
        return self._program.spec.num_rollout_workers

    def start(self, step: int | None) -> None:
        """Starts all, from their parts of a checkpoint if a step is given."""
        for index in range(self.size):
            host = self._program.start_rollout(index, self._next_incarnation(index))
            came = host.pid.remote() if step is None else host.restore.remote(self._program.spec.checkpoints, step)
            self._calls.track("start", index, came)
            self._coming.add(index)

    def came(self, index: int) -> None:
        """Lets one work who has been built, with all others if it was the last."""
        self._coming.discard(index)
        self._standing_by.add(index)
        self._last_came_at = time.monotonic()
        self.look()

    def look(self) -> None:
        """Lets those work who stand by, if nobody else is coming."""
        is_late = time.monotonic() - self._last_came_at > _GATHERING_PATIENCE_S
        if self._standing_by and (not self._stands_by or not self._coming or is_late):
            self._stands_by = False
            for index in sorted(self._standing_by):
                self._tick(index)
            self._standing_by.clear()

    def go_on(self, index: int) -> bool:
        """Gives one who has reported its next tick, or its place to its successor; returns whether it goes on."""
        if index >= self.size:
            self.retire(index)
        elif index in self._ready_successors:
            self.adopt_successor(index)
        else:
            self._tick(index)
            return True
        return False

    def scale(self, count: int) -> str:
        """Goes on with another number of workers; those that are too many end after their present tick.

        Raises:
          ConfigError: the run cannot work with so many.
        """
        before, spec = self.size, self._program.spec
        if count < 1:
            raise ConfigError(
                f"rollout_workers = {count}; a run needs at least 1. {quoted('stop', spec.folder)} ends it."
            )
        if spec.turns is not None:
            raise ConfigError(
                f"rollout_workers = {count} of a run that collects and learns in turns; its workers have equal "
                f"shares of a turn. End it with {quoted('stop', spec.folder)}, and go on with "
                f"{quoted('launch', '--resume', spec.folder, f'runtime.rollout_workers={count}')}."
            )
        spec = replace(spec, runtime=spec.runtime.model_copy(update={"rollout_workers": count}))
        check(spec)
        self._program.spec = spec
        for index in range(before, count):
            self.join(index)
        for index in range(count, before):
            self._restarts.cancel(Worker.rollout(index))
            if not self._calls.busy("rollout", index=index):
                self.retire(index)
        text = f"{count} rollout workers instead of {before}"
        self._recorder.message(text)
        return text

    def stop(self) -> None:
        """Gives nobody another tick."""
        self._is_stopped = True

    def join(self, index: int) -> None:
        """Starts one; who was there before comes back under a new incarnation, or as its successor."""
        if index in self._program.successors:
            self.adopt_successor(index)
            return
        self.forget(index)
        self._program.start_rollout(index, self._next_incarnation(index))
        self._await(index)

    def retire(self, index: int) -> None:
        """Ends one who is too many."""
        self.forget(index)
        self._program.stop_rollout(index)
        self._weights.forget(Worker.rollout(index))
        self._recorder.left(Worker.rollout(index))

    def forget(self, index: int) -> None:
        """Forgets what one works at: it is gone, or about to be."""
        self._calls.forget("rollout", "start", "join", "successor", index=index)
        for indices in (self._ready_successors, self._coming, self._standing_by):
            indices.discard(index)

    def start_successor(self, index: int) -> None:
        """Starts who will take the place of one whose machine is about to be taken away."""
        host = self._program.start_successor(index, self._next_incarnation(index))
        self._calls.track("successor", index, host.pid.remote())

    def successor_came(self, index: int) -> None:
        """Has a successor take over at the next report."""
        self._ready_successors.add(index)

    def adopt_successor(self, index: int) -> None:
        """Lets the successor of one take its place."""
        is_built = index in self._ready_successors
        self.forget(index)
        self._weights.forget(Worker.rollout(index))
        self._program.adopt_successor(index)
        if is_built:
            self._tick(index)
        else:
            self._await(index)

    def _next_incarnation(self, index: int) -> int:
        return self._restarts.join(Worker.rollout(index), self._progress.sessions * _INCARNATIONS_PER_SESSION)

    def _await(self, index: int) -> None:
        """Lets one work as soon as it is built: how long that takes says nothing about how long a tick may."""
        self._calls.track("join", index, self._program.rollouts[index].pid.remote())

    def _tick(self, index: int) -> None:
        if self._is_stopped:
            return
        host = self._program.rollouts[index]
        self._calls.track("rollout", index, host.collect.remote(self._program.spec.runtime.tick_s))
