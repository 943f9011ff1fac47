"""The supervisor: keeps every worker busy a tick at a time, notices failures, writes checkpoints, ends the run."""

import time
from typing import Any, NoReturn

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.errors import RlsysError, WorkerError
from rlsys.evaluation.evaluator import Evaluation
from rlsys.runs.control_server import ControlServer, ending
from rlsys.runs.progress import Due, Progress
from rlsys.runs.restarts import Restarts
from rlsys.runs.spec import RunSpec
from rlsys.runs.weight_watch import WeightWatch
from rlsys.runs.workers import Worker, WorkerKind
from rlsys.runtime.driver.checkpointing import Checkpointing
from rlsys.runtime.driver.due_checkpoints import DueCheckpoints
from rlsys.runtime.driver.evaluating import Evaluating
from rlsys.runtime.driver.learner_group import LEARNERS, LearnerGroup
from rlsys.runtime.driver.liveness import Liveness
from rlsys.runtime.driver.pending_calls import Call, PendingCalls, brief
from rlsys.runtime.driver.preemption import Preemption
from rlsys.runtime.driver.program import Program
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.driver.rollout_pool import RolloutPool
from rlsys.runtime.driver.waiting import SILENCE_S, get
from rlsys.runtime.workers.learning import LearnerReport
from rlsys.runtime.workers.rollout import RolloutReport
from rlsys.signals import INTERRUPTED, INTERRUPTED_S
from rlsys.weights import Echo

_EVALUATOR = Worker(WorkerKind.EVALUATOR, 0)
_OF_ROLLOUT = ("rollout", "start", "join")
_START_PATIENCE_S = 300.0
_HEAD_SILENCE_S = 3.0


class Supervisor:
    """Runs a program until its budget is spent, a stop is asked for, or something fails for good."""

    def __init__(
        self, spec: RunSpec, program: Program, progress: Progress, recorder: Recorder, checkpoints: Checkpoints
    ) -> None:
        self._spec = spec
        self._program = program
        self._progress = progress
        self._recorder = recorder
        self._checkpoints = checkpoints
        self._checkpointing = Checkpointing(checkpoints, progress, recorder)
        self._calls = PendingCalls()
        self._evaluating = Evaluating(program, self._calls, progress, recorder, checkpoints, self._checkpointing)
        self._restarts = Restarts(spec.runtime.worker_restarts)
        self._liveness = Liveness(program, self._calls, recorder)
        self._preemption = Preemption(program, recorder.message)
        for worker, _ in program.workers():
            self._restarts.join(worker)
        self._restarts.join(_EVALUATOR)
        self._interrupted_at: float | None = None
        self._watch_weights = WeightWatch(spec.runtime.max_version_lag)
        self._due_checkpoints = DueCheckpoints(
            program, self._calls, checkpoints, self._checkpointing, self._preemption, self._watch_weights, progress
        )
        watched = (program, self._calls, self._restarts, self._watch_weights, progress, recorder)
        self._rollout_pool, self._learner_group = RolloutPool(*watched), LearnerGroup(*watched)
        self.stop_reason = ""

    def start(self, step: int | None) -> None:
        """Starts all workers, from a checkpoint if a step is given, and waits until the learners have published.

        Raises:
          WorkerError: a worker cannot be built.
        """
        if step is not None and not self._spec.refills(step):
            restored = [shard.restore.remote(self._spec.checkpoints, step) for shard in self._program.shards]
            get(restored, "restore the replay", self._recorder.message, _START_PATIENCE_S)
        elif self._spec.run.dataset is not None:
            filled = [shard.fill.remote() for shard in self._program.shards]
            get(filled, "read the data set", self._recorder.message, _START_PATIENCE_S)
        started = self._program.start_learners(step)
        steps_left, *_ = get(started, "start the learners", self._recorder.message, _START_PATIENCE_S)
        self._progress.steps_left = steps_left
        self._rollout_pool.start(step)
        if self._progress.is_evaluated:
            self._program.start_evaluator()
            self._evaluating.make_up()
        self._tick_learners()

    def run(self, control_server: ControlServer | None = None) -> str:
        """Works until the run is complete; returns why it ended.

        `stop` ends it from a signal handler, and requests to the control server are answered meanwhile.
        """
        while not self.stop_reason:
            self.work()
            if control_server is not None:
                control_server.serve(self)
            self.stop_reason = self.stop_reason or self._progress.finished()
        self._drain()
        if self._interrupted_at is None and self._progress.take_last():
            self._evaluating.take()
        self._due_checkpoints.write_last()
        self._end_evaluations(control_server)
        return self.stop_reason

    def work(self) -> None:
        """Handles what has happened since the last call, waiting up to a quarter of a second for it."""
        self._serve(timeout_s=0.25)
        if outcome := self._checkpointing.work():
            self._checkpoint_ended(committed=outcome == "committed")
        if self._due_checkpoints.work():
            self._tick_learners()
        self._evaluating.work()
        if self._program.machines.silent_s < _HEAD_SILENCE_S:  # who starts something waits for the head
            self._start_due()
            self._heed_notices()
        self._rollout_pool.look()
        self._watch()
        self._recorder.tick()

    def restarts(self, worker: Worker) -> int:
        """Returns how often a worker failed within the last ten minutes."""
        return self._restarts.count(worker)

    def stop(self, reason: str) -> None:
        """Asks the run to end with a checkpoint, and with an evaluation of its last weights if it is evaluated."""
        self.stop_reason = self.stop_reason or reason

    def interrupt(self) -> None:
        """Asks the run to end soon with a checkpoint; what that leaves unevaluated is left to the next session."""
        self._interrupted_at = time.monotonic()
        self.stop(INTERRUPTED)

    def scale(self, rollout_workers: int) -> str:
        """Goes on with another number of rollout workers; those that are too many end after their present tick.

        Raises:
          ConfigError: the run cannot work with so many, or is about to end.
        """
        if self.stop_reason:
            raise ending(self.stop_reason, rollout_workers)
        return self._rollout_pool.scale(rollout_workers)

    def _serve(self, timeout_s: float) -> None:
        """Handles all calls that have ended, waiting up to `timeout_s` for the first."""
        for call, result in self._calls.ended(timeout_s):
            if isinstance(result, RayError):
                self._failed(call, result)
            else:
                self._ended(call, result)

    def _ended(self, call: Call, result: Any) -> None:
        self._answered(call, result)
        match call.kind:
            case "rollout":
                self._rollout_reported(call.index, result)
            case "start" | "join":
                self._rollout_pool.came(call.index)
            case "successor":
                self._rollout_pool.successor_came(call.index)
            case "learner":
                self._learner_reported(call.index, result)
            case "begin" if not self._calls.busy("begin"):
                self._recorder.rewind(self._progress.learner_steps)
                self._tick_learners()
            case "snapshot":
                self._evaluating.taken(call.index, result)
            case "evaluator":
                self._evaluated(result)
            case "inference":
                self._recorder.inference(result)
                self._acts(Worker(WorkerKind.INFERENCE, call.index), result.acts_with)
            case "reanalyse":
                self._recorder.rollout(result)
                self._acts(Worker(WorkerKind.REANALYSE, call.index), result.acts_with)
                self._liveness.tick_reanalyser(call.index)
            case "shard":
                self._recorder.shard(result)
            case "server":
                self._recorder.server(result.process_stats)
                if result.version < 0 and not self._calls.busy("begin"):
                    self._program.learners[0].publish.remote()

    def _answered(self, call: Call, result: Any) -> None:
        """Notes that a worker is there, perhaps again."""
        pid = result.process_stats.pid if call.kind in ("shard", "reanalyse") else None
        if call.worker is not None and self._liveness.answered(call.worker, pid):
            self._count_failure(call.worker, WorkerError("its process was killed"))

    def _rollout_reported(self, index: int, report: RolloutReport) -> None:
        self._progress.collected(report.env_steps, self._spec.env_spec.frames_per_step, report.games)
        self._recorder.rollout(report)
        if self._rollout_pool.go_on(index):
            self._acts(Worker.rollout(index), report.acts_with)
        self._tick_learners()

    def _learner_reported(self, rank: int, report: LearnerReport) -> None:
        advanced = self._learner_group.reported(rank, report)
        if rank == 0:
            due = self._progress.take_due() if advanced else Due()
            if due.evaluation:
                self._evaluating.take()
            self._due_checkpoints.take(due)
        self._tick_learners()

    def _tick_learners(self) -> None:
        """Lets the learners work if they are there, and idle.

        They do not while they move with a checkpoint that is being written, or while somebody's weights are too old:
        then the next report of those who act does.
        """
        if self._preemption.holds_learners or self.stop_reason:
            return
        if not self._due_checkpoints.is_owed:
            self._learner_group.tick()
        elif self._learner_group.is_idle:
            self._recorder.waits(LEARNERS, "the checkpoint before to be written: this step must have one, too")

    def _acts(self, worker: Worker, echo: Echo) -> None:
        """Takes in with which weights a worker acts; one that acts with wrong ones is replaced."""
        watch = self._watch_weights
        watch.acts(worker, echo)
        for wrong, text in watch.wrong().items():
            self._recorder.wrong_weights(f"{wrong.title} {text}")
            if wrong.kind.restarted_by == "supervisor":
                self._restart(wrong, WorkerError(text))
            else:
                ray.kill(dict(self._program.workers())[wrong], no_restart=False)
                watch.forget(wrong)
        self._recorder.version_lag(watch.lag)

    def _evaluated(self, evaluation: Evaluation) -> None:
        try:
            self._evaluating.ended(evaluation)
        except WorkerError as wrong:
            self._recorder.wrong_weights(f"evaluator {wrong}")
            self._restart(_EVALUATOR, wrong)

    def _checkpoint_ended(self, *, committed: bool) -> None:
        """Lets those go on who move with a checkpoint."""
        if self._preemption.checkpoint_ended(committed=committed):
            self._begin_learners()
        self._tick_learners()

    def _failed(self, call: Call, error: RayError) -> None:
        """Replaces a worker that is gone; ends the run where that cannot help."""
        cause = error.cause if isinstance(error, RayTaskError) else None
        if call.worker is not None and call.worker.kind.restarted_by == "Ray":
            self._missed(call.worker, error)
        elif call.kind in ("learner", "begin") and isinstance(cause, RlsysError):
            self._abort(cause)
        elif call.kind == "successor":
            self._program.stop_successor(call.index)
        elif call.kind in _OF_ROLLOUT and call.index >= self._rollout_pool.size:
            self._rollout_pool.retire(call.index)
        elif call.kind in _OF_ROLLOUT:
            self._restart(Worker.rollout(call.index), cause or error)
        elif call.kind == "snapshot":
            self._evaluating.taken(call.index, None)
        elif call.kind == "evaluator":
            if self._evaluating.failed(error):
                self._restart(_EVALUATOR, cause or error)
        else:
            self._learner_group.lost()
            self._restart(LEARNERS, cause or error)

    def _missed(self, worker: Worker, error: RayError) -> None:
        """Counts a worker that Ray restarts as failed, once each time; ends the run if it cannot be restarted."""
        self._watch_weights.forget(worker)
        away_s = self._liveness.missed(worker, brief(error))
        if away_s == 0.0 or isinstance(error, RayTaskError):  # an answer, from one that is there
            self._count_failure(worker, error)
        elif isinstance(error, ActorDiedError) and away_s > SILENCE_S:  # before that it may be moving
            self._abort(WorkerError(f"{worker.title} cannot be restarted: {brief(error)}. See the workers' logs."))

    def _count_failure(self, worker: Worker, error: BaseException) -> None:
        try:
            self._restarts.failed(worker, brief(error))
        except WorkerError as spent:
            self._abort(spent)

    def _restart(self, worker: Worker, error: BaseException) -> None:
        """Books a restart, within the budget."""
        if self._restarts.is_booked(worker) or (self.stop_reason and worker != _EVALUATOR):
            return
        self._count_failure(worker, error)
        self._restarts.book(worker)
        self._watch_weights.forget(worker)
        self._recorder.restarted(f"{worker.title} is restarted: {brief(error)}")
        if worker.kind is WorkerKind.ROLLOUT:
            self._rollout_pool.forget(worker.index)
        elif worker == _EVALUATOR:
            self._calls.forget("evaluator")
            self._program.stop_evaluator()
        else:
            self._calls.forget("learner", "begin")

    def _start_due(self) -> None:
        for worker in self._restarts.due():
            if worker.kind is WorkerKind.ROLLOUT:
                self._rollout_pool.join(worker.index)
            elif worker == _EVALUATOR:
                self._program.start_evaluator()
            else:
                self._begin_learners()

    def _begin_learners(self) -> None:
        """Starts the learners from the last checkpoint; they go on when they are there."""
        step = self._checkpoints.latest()
        self._progress.rewind(step or 0)
        self._due_checkpoints.rewind(step or 0)
        self._evaluating.rewind(step or 0)
        self._learner_group.begin(step)

    def _heed_notices(self) -> None:
        """Starts successors of those whose machine is about to be taken away."""
        for worker in self._preemption.look():
            if worker.kind is WorkerKind.ROLLOUT:
                self._rollout_pool.start_successor(worker.index)
            elif not self._calls.busy("evaluator"):
                self._program.start_evaluator()

    def _watch(self) -> None:
        """Says who has been silent for a minute, restarts rollout workers that hang, pings those that Ray restarts."""
        self._watch_head()
        timeout_s = self._spec.runtime.rollout_timeout_s
        for call in self._calls:
            is_built = call.kind == "rollout"
            patience_s = timeout_s if is_built else max(timeout_s, _START_PATIENCE_S)
            is_late = call.kind in _OF_ROLLOUT and call.age_s > patience_s
            if is_late and not self._liveness.needs(Worker.rollout(call.index)):
                option = "no report for {:g} s (runtime.rollout_timeout_s)" if is_built else "not built within {:g} s"
                what = WorkerError(f"{option.format(patience_s)}: its environments hang")
                self._restart(Worker.rollout(call.index), what)
        self._liveness.look()
        self._liveness.ping()

    def _watch_head(self) -> None:
        """Has a checkpoint written when the cluster's head is away, and ends the run before Ray ends this process."""
        try:
            if self._liveness.head_has_gone():
                self._due_checkpoints.hurry()
        except WorkerError as lost:
            self._abort(lost)

    def _drain(self) -> None:
        """Lets all ticks end; after a minute a straggler is left behind."""
        self._rollout_pool.stop()
        deadline = time.monotonic() + SILENCE_S
        while self._calls.busy("rollout", "learner", "start") and time.monotonic() < deadline:
            self._serve(timeout_s=0.25)
        self._recorder.nobody_waits()

    def _end_evaluations(self, control_server: ControlServer | None) -> None:
        """Waits for the evaluations on their way; where the run was interrupted, not for long."""
        if self._evaluating.steps:
            self._recorder.message(f"{self.stop_reason}; the run ends when its last evaluation is there")
        while self._evaluating.steps:
            if self._interrupted_at is not None and time.monotonic() - self._interrupted_at > INTERRUPTED_S:
                break
            self.work()
            if control_server is not None:
                control_server.serve(self)
        self._evaluating.leave()
        self._checkpointing.finish(SILENCE_S)

    def _abort(self, error: RlsysError) -> NoReturn:
        """Ends the run with an error, after a checkpoint that is being written from before it."""
        self._checkpointing.finish(SILENCE_S)
        raise error
