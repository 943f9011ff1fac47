"""Which checkpoint of a run is begun, and when: some must not be left out, all others come when they can."""

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.errors import CheckpointError
from rlsys.runs.progress import Due, Progress
from rlsys.runs.weight_watch import WeightWatch
from rlsys.runs.workers import Worker
from rlsys.runtime.driver.checkpointing import Checkpointing
from rlsys.runtime.driver.pending_calls import PendingCalls
from rlsys.runtime.driver.preemption import Preemption
from rlsys.runtime.driver.program import Program
from rlsys.runtime.driver.waiting import SILENCE_S

_LAST_CHECKPOINT_S = 1_800.0
"""Longest that the end of a run waits for its last checkpoint, whose first writing may be gigabytes."""


class DueCheckpoints:
    """Begins checkpoints as a run advances: one at a time, and none while one who begins may be reading the last.

    A step that is evaluated, or whose checkpoint stays for good, owes one: learners wait until that has begun. What is
    due otherwise is left out while another is being written.
    """

    def __init__(
        self,
        program: Program,
        calls: PendingCalls,
        checkpoints: Checkpoints,
        checkpointing: Checkpointing,
        preemption: Preemption,
        weights: WeightWatch,
        progress: Progress,
    ) -> None:
        self._program = program
        self._calls = calls
        self._checkpoints = checkpoints
        self._checkpointing = checkpointing
        self._preemption = preemption
        self._weights = weights
        self._progress = progress
        self._in_a_hurry = False
        self._owed: Due | None = None

    @property
    def is_owed(self) -> bool:
        """Whether learners wait for a checkpoint to begin."""
        return self._owed is not None

    def hurry(self) -> None:
        """Has one begin at the next report of the learners, whether it is due or not."""
        self._in_a_hurry = True

    def take(self, due: Due) -> None:
        """Begins what has become due, or owes it."""
        is_urgent = self._in_a_hurry or self._preemption.wants_checkpoint
        if due.evaluation or due.extra:
            self._owed = due
            self.work()
        elif not self._is_read() and (due.checkpoint or (is_urgent and not self._checkpointing.is_writing)):
            self._begin()

    def work(self) -> bool:
        """Begins what is owed as soon as that can be; returns whether learners need not wait for it any more."""
        if self._owed is None:
            return False
        if self._checkpointing.is_writing or self._is_read():
            self._checkpointing.put_off(self._progress.learner_steps)
            return False
        owed, self._owed = self._owed, None
        self._begin(extra=owed.extra)
        return True

    def rewind(self, step: int) -> None:
        """Owes nothing any more: the learners go on from this step."""
        self._owed = None
        self._checkpointing.rewind(step)

    def write_last(self) -> None:
        """Writes that of the last step, unless it is there, and waits for it.

        Raises:
          CheckpointError: it could not be written.
        """
        self._checkpointing.finish(_LAST_CHECKPOINT_S)
        owed, self._owed = self._owed, None
        if owed is not None or self._progress.learner_steps != self._checkpoints.latest():
            self._begin(extra=owed is not None and owed.extra)
            self._checkpointing.finish(_LAST_CHECKPOINT_S)
        step, last = self._progress.learner_steps, self._checkpoints.latest()
        if step != last:
            raise CheckpointError(f"the last checkpoint, of step {step}, could not be written; the newest is of {last}")

    def _begin(self, *, extra: bool = False) -> None:
        """Asks every worker that is there to write its part; an extra one stays for good."""
        progress = self._progress
        hosts = self._program.writers(lambda index: self._weights.knows(Worker.rollout(index)))
        metrics = {"learner_steps": progress.learner_steps, "env_steps": progress.env_steps}
        if self._checkpointing.begin(progress.learner_steps, progress.save(), metrics, hosts, extra=extra):
            self._in_a_hurry = False
            self._preemption.checkpoint_begins()
        elif not self._checkpointing.is_writing:
            self._preemption.checkpoint_ended(committed=False)

    def _is_read(self) -> bool:
        """Whether one who begins may be reading the last checkpoint; who waits for a machine is not."""
        return any(call.kind == "start" and call.age_s < SILENCE_S for call in self._calls)
