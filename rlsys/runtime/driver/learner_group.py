"""The learner ranks of a run: they work, and are started again, together."""

from rlsys.runs.progress import Progress
from rlsys.runs.restarts import Restarts
from rlsys.runs.weight_watch import WeightWatch
from rlsys.runs.workers import Worker, WorkerKind
from rlsys.runtime.driver.pending_calls import PendingCalls
from rlsys.runtime.driver.program import Program
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.workers.learning import LearnerReport

LEARNERS = Worker(WorkerKind.LEARNER, 0)
"""All ranks, as far as restarts and waiting go."""


class LearnerGroup:
    """Keeps all ranks busy a tick at a time; none begins its next before all have ended the last."""

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
        self._working = 0
        restarts.join(LEARNERS)

    @property
    def is_idle(self) -> bool:
        """Whether all are there, and none works."""
        return not (self._working or self._restarts.is_booked(LEARNERS) or self._calls.busy("begin"))

    def tick(self) -> None:
        """Lets them work if they are idle, and nobody's weights are too old."""
        if not self.is_idle:
            return
        until, last_version = self._progress.next_stop(), self._weights.last_version()
        slowest = self._weights.slowest()
        if slowest is not None and last_version is not None and self._weights.newest >= last_version:
            self._recorder.waits(LEARNERS, f"{slowest.title} to act with newer weights")
            return
        for rank, host in enumerate(self._program.learners):
            self._calls.track(
                "learner", rank, host.train.remote(self._program.spec.runtime.tick_s, until, last_version)
            )
        self._working = len(self._program.learners)

    def reported(self, rank: int, report: LearnerReport) -> bool:
        """Takes in what a rank did; returns whether the run has advanced, of which the first rank tells."""
        self._working -= 1
        advanced = rank == 0 and report.learner_step > self._progress.learner_steps
        if rank == 0:
            self._progress.learner_steps = report.learner_step
            self._progress.steps_left = report.steps_left
            self._weights.published(report.published)
        self._recorder.learner(report, rank)
        return advanced

    def lost(self) -> None:
        """Notes that a rank is gone: nobody waits for the others."""
        self._working = 0

    def begin(self, step: int | None) -> None:
        """Starts all from a checkpoint, or from the beginning; they go on when they are there."""
        for rank, reference in enumerate(self._program.start_learners(step, self._weights.newest_possible)):
            self._calls.track("begin", rank, reference)
