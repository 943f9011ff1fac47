"""The supervisor: keeps every worker busy a tick at a time, notices failures, writes checkpoints, ends the run."""

import time
from typing import Any, NoReturn

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.errors import CheckpointError, RlsysError, WorkerError
from rlsys.evaluation.evaluator import Evaluation
from rlsys.runs.control_server import ControlServer, ending
from rlsys.runs.progress import Due, Progress
from rlsys.runs.spec import RunSpec
from rlsys.runtime.cluster.machine_types import Worker
from rlsys.runtime.cluster.placement import WorkerKey
from rlsys.runtime.driver.checkpointing import Checkpointing
from rlsys.runtime.driver.evaluating import Evaluating
from rlsys.runtime.driver.liveness import Liveness, name_of
from rlsys.runtime.driver.pending_calls import Call, Kind, PendingCalls, brief
from rlsys.runtime.driver.preemption import Preemption
from rlsys.runtime.driver.program import Program
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.driver.restarts import Restarts
from rlsys.runtime.driver.rollout_pool import RolloutPool
from rlsys.runtime.driver.waiting import SILENCE_S, get
from rlsys.runtime.driver.weight_watch import WeightWatch
from rlsys.runtime.workers.learning import LearnerReport
from rlsys.runtime.workers.processes import learner_part
from rlsys.runtime.workers.rollout import RolloutReport
from rlsys.signals import INTERRUPTED, INTERRUPTED_S
from rlsys.weights import Echo

_START_PATIENCE_S = 300.0
_HEAD_SILENCE_S = 3.0
_PING_EVERY_S = 2.0
_LAST_CHECKPOINT_S = 1_800.0
"""Longest that the end of a run waits for its last checkpoint, whose first writing may be gigabytes."""


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
        self._liveness = Liveness(program, recorder)
        self._preemption = Preemption(program, recorder.message)
        for worker, _ in program.workers():
            self._restarts.join(worker)
        self._restarts.join(("learner", 0))
        self._restarts.join(("evaluator", 0))
        self._learners_out = 0
        self._head_is_there = True
        self._in_a_hurry = False
        self._owed: Due | None = None
        self._interrupted_at: float | None = None
        self._watch_weights = WeightWatch(spec.runtime.max_version_lag)
        self._rollout_pool = RolloutPool(program, self._calls, self._restarts, self._watch_weights, progress, recorder)
        self._next_ping = 0.0
        self.stop_reason = ""

    def start(self, step: int | None) -> None:
        """Starts all workers, from a checkpoint if a step is given, and waits until the learners have published.

        Raises:
          WorkerError: a worker cannot be built.
        """
        checkpoints = self._spec.checkpoints
        if step is not None and not self._spec.refills(step):
            self._get([shard.restore.remote(checkpoints, step) for shard in self._program.shards], "restore the replay")
        steps_left, *_ = self._get(self._program.start_learners(step), "start the learners")
        self._progress.steps_left = steps_left
        self._rollout_pool.start(step)
        if self._progress.is_evaluated:
            self._program.start_evaluator()
            self._evaluating.make_up()
        self._tick_learners()

    def run(self, control_server: ControlServer | None = None) -> str:
        """Works until the run is complete; returns why it ended.

        `stop` ends it from a signal handler, and requests at the control_server are served meanwhile.
        """
        while not self.stop_reason:
            self.work()
            if control_server is not None:
                control_server.serve(self)
            self.stop_reason = self.stop_reason or self._progress.finished()
        self._drain()
        if self._interrupted_at is None and self._progress.take_last():
            self._evaluating.take()
        self._write_last_checkpoint()
        self._end_evaluations(control_server)
        return self.stop_reason

    def work(self) -> None:
        """Handles what has happened since the last call, waiting up to a quarter of a second for it."""
        self._serve(timeout_s=0.25)
        if outcome := self._checkpointing.work():
            self._checkpoint_ended(committed=outcome == "committed")
        self._write_owed()
        self._evaluating.work()
        if self._program.machines.silent_s < _HEAD_SILENCE_S:  # who starts something waits for the head
            self._start_due()
            self._heed_notices()
        self._rollout_pool.look()
        self._watch()
        self._recorder.tick()

    def restarts(self, kind: Worker, index: int) -> int:
        """Returns how often a worker failed within the last ten minutes."""
        return self._restarts.count((kind, index))

    def stop(self, reason: str) -> None:
        """Asks the run to end with a checkpoint, and with an evaluation of its last weights if it is evaluated."""
        self.stop_reason = self.stop_reason or reason

    def interrupt(self) -> None:
        """Asks the run to end soon with a checkpoint; what that leaves unevaluated is left to the next session."""
        self._interrupted_at = time.monotonic()
        self.stop(INTERRUPTED)

    def scale(self, rollouts: int) -> str:
        """Goes on with another number of rollout workers; those that are too many end after their present tick.

        Raises:
          ConfigError: the run cannot work with so many, or is about to end.
        """
        if self.stop_reason:
            raise ending(self.stop_reason, rollouts)
        return self._rollout_pool.scale(rollouts)

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
            case "start":
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
                self._acts("inference", call.index, result.acts_with)
            case "shard":
                self._recorder.shard(result)
            case "server":
                self._recorder.server(result.process_stats)
                if result.version < 0 and not self._calls.busy("begin"):
                    self._program.learners[0].publish.remote()

    def _answered(self, call: Call, result: Any) -> None:
        """Notes that a worker is there, perhaps again."""
        pid = result.process_stats.pid if call.kind == "shard" else None
        if call.worker is not None and self._liveness.answered(call.worker, pid):
            self._count_failure(call.worker, WorkerError("its process was killed"))

    def _rollout_reported(self, index: int, report: RolloutReport) -> None:
        self._progress.collected(report.env_steps, self._spec.env_spec.frames_per_step, report.games)
        self._recorder.rollout(report)
        if self._rollout_pool.go_on(index):
            self._acts("rollout", index, report.acts_with)
        self._tick_learners()

    def _learner_reported(self, rank: int, report: LearnerReport) -> None:
        self._learners_out -= 1
        if rank == 0:
            advanced = report.learner_step > self._progress.learner_steps
            self._progress.learner_steps = report.learner_step
            self._progress.steps_left = report.steps_left
        self._recorder.learner(report, rank)
        if rank == 0:
            self._watch_weights.published(report.published)
            due = self._progress.take_due() if advanced else Due()
            if due.evaluation:
                self._evaluating.take()
            is_urgent = self._in_a_hurry or self._preemption.wants_checkpoint
            if due.evaluation or due.extra:
                self._owed = due
                self._write_owed()
            elif not self._is_read() and (due.checkpoint or (is_urgent and not self._checkpointing.is_writing)):
                self._begin_checkpoint()
        self._tick_learners()

    def _tick_learners(self) -> None:
        """Lets the learners work if they are there, and idle.

        They do not while they move with a checkpoint that is being written, or while somebody's weights are too old:
        then the next report of those who act does.
        """
        is_gone = self._restarts.is_booked(("learner", 0)) or self._calls.busy("begin")
        if self._learners_out or is_gone or self._preemption.holds_learners or self.stop_reason:
            return
        if self._owed is not None:
            self._recorder.waits("learner", "the checkpoint before to be written: this step must have one, too")
            return
        until, last_version = self._progress.next_stop(), self._watch_weights.last_version()
        if last_version is not None and self._watch_weights.newest >= last_version:
            self._recorder.waits("learner", f"{self._watch_weights.slowest()} to act with newer weights")
            return
        for rank, host in enumerate(self._program.learners):
            self._calls.track("learner", rank, host.train.remote(self._spec.runtime.tick_s, until, last_version))
        self._learners_out = len(self._program.learners)

    def _acts(self, kind: Kind, index: int, echo: Echo) -> None:
        """Takes in with which weights a worker acts; one that acts with wrong ones is replaced."""
        watch = self._watch_weights
        watch.acts(f"{kind} {index}", echo)
        for worker, text in watch.wrong().items():
            self._recorder.wrong_weights(f"{worker} {text}")
            found, _, number = worker.partition(" ")
            if found == "rollout":
                self._restart(("rollout", int(number)), WorkerError(text))
            elif found == "inference":
                ray.kill(self._program.inference[int(number)], no_restart=False)
                watch.forget(worker)
        self._recorder.version_lag(watch.lag)

    def _evaluated(self, evaluation: Evaluation) -> None:
        try:
            self._evaluating.ended(evaluation)
        except WorkerError as wrong:
            self._recorder.wrong_weights(f"evaluator {wrong}")
            self._restart(("evaluator", 0), wrong)

    def _is_read(self) -> bool:
        """Whether one who begins may be reading the last checkpoint, which a newer one may replace.

        Who waits for a machine is not.
        """
        return any(call.kind == "start" and call.age_s < SILENCE_S for call in self._calls)

    def _write_owed(self) -> None:
        """Begins a checkpoint that must not be left out, as soon as that can be: learners wait for that."""
        owed = self._owed
        if owed is None:
            return
        if self._checkpointing.is_writing or self._is_read():
            self._checkpointing.put_off(self._progress.learner_steps)
            return
        self._owed = None
        self._begin_checkpoint(extra=owed.extra)
        self._tick_learners()

    def _begin_checkpoint(self, *, extra: bool = False) -> None:
        """Asks every worker that is there to write its part; an extra one stays for good."""
        progress = self._progress
        hosts = {learner_part(rank): host for rank, host in enumerate(self._program.learners)}
        hosts |= {f"replay-{index}": shard for index, shard in enumerate(self._program.shards)}
        for index, host in self._program.rollouts.items():
            if self._watch_weights.knows(f"rollout {index}"):
                hosts[f"rollout-{index}"] = host
        metrics = {"learner_steps": progress.learner_steps, "env_steps": progress.env_steps}
        if self._checkpointing.begin(progress.learner_steps, progress.save(), metrics, hosts, extra=extra):
            self._in_a_hurry = False
            self._preemption.checkpoint_begins()
        elif not self._checkpointing.is_writing:
            self._checkpoint_ended(committed=False)

    def _checkpoint_ended(self, *, committed: bool) -> None:
        """Lets those go on who move with a checkpoint."""
        if self._preemption.checkpoint_ended(committed=committed):
            self._begin_learners()
        self._tick_learners()

    def _failed(self, call: Call, error: RayError) -> None:
        """Replaces a worker that is gone; ends the run where that cannot help."""
        cause = error.cause if isinstance(error, RayTaskError) else None
        if call.kind in ("shard", "inference", "server"):
            self._missed((call.kind, call.index), error)
        elif call.kind in ("learner", "begin") and isinstance(cause, RlsysError):
            self._abort(cause)
        elif call.kind == "successor":
            self._program.stop_successor(call.index)
        elif call.kind in ("rollout", "start") and call.index >= self._rollout_pool.size:
            self._rollout_pool.retire(call.index)
        elif call.kind in ("rollout", "start"):
            self._restart(("rollout", call.index), cause or error)
        elif call.kind == "snapshot":
            self._evaluating.taken(call.index, None)
        elif call.kind == "evaluator":
            if self._evaluating.failed(error):
                self._restart(("evaluator", 0), cause or error)
        else:
            self._learners_out = 0
            self._restart(("learner", 0), cause or error)

    def _missed(self, worker: WorkerKey, error: RayError) -> None:
        """Counts a worker that Ray restarts as failed, once each time; ends the run if it cannot be restarted."""
        kind, index = worker
        self._watch_weights.forget(f"{kind} {index}")
        away_s = self._liveness.missed(worker, brief(error))
        if away_s == 0.0:
            self._count_failure(worker, error)
        elif isinstance(error, ActorDiedError) and away_s > SILENCE_S:  # before that it may be moving
            self._abort(WorkerError(f"{name_of(worker)} cannot be restarted: {brief(error)}. See the workers' logs."))

    def _count_failure(self, worker: WorkerKey, error: BaseException) -> None:
        try:
            self._restarts.failed(worker, brief(error))
        except WorkerError as spent:
            self._abort(spent)

    def _restart(self, worker: WorkerKey, error: BaseException) -> None:
        """Books a restart, within the budget."""
        kind, index = worker
        if self._restarts.is_booked(worker) or (self.stop_reason and kind != "evaluator"):
            return
        self._count_failure(worker, error)
        self._restarts.book(worker)
        self._watch_weights.forget(f"{kind} {index}")
        self._recorder.restarted(f"{kind} {index} is restarted: {brief(error)}")
        if kind == "rollout":
            self._rollout_pool.forget(index)
        elif kind == "evaluator":
            self._calls.forget("evaluator")
            self._program.stop_evaluator()
        else:
            self._calls.forget("learner", "begin")

    def _start_due(self) -> None:
        for kind, index in self._restarts.due():
            if kind == "rollout":
                self._rollout_pool.join(index)
            elif kind == "evaluator":
                self._program.start_evaluator()
            else:
                self._begin_learners()

    def _begin_learners(self) -> None:
        """Starts the learners from the last checkpoint; they go on when they are there."""
        step = self._checkpoints.latest()
        self._owed = None
        self._progress.rewind(step or 0)
        self._checkpointing.rewind(step or 0)
        self._evaluating.rewind(step or 0)
        for rank, reference in enumerate(self._program.start_learners(step, self._watch_weights.newest_possible)):
            self._calls.track("begin", rank, reference)

    def _heed_notices(self) -> None:
        """Starts successors of those whose machine is about to be taken away."""
        for kind, index in self._preemption.look():
            if kind == "rollout":
                self._rollout_pool.start_successor(index)
            elif not self._calls.busy("evaluator"):
                self._program.start_evaluator()

    def _watch(self) -> None:
        """Says who has been silent for a minute, restarts rollout workers that hang, pings those that Ray restarts."""
        self._watch_head()
        patience_s = self._spec.runtime.rollout_timeout_s
        for call in self._calls:
            is_late = call.kind in ("rollout", "start") and call.age_s > patience_s
            if is_late and not self._liveness.needs(("rollout", call.index)):
                what = f"no report for {patience_s:g} s (runtime.rollout_timeout_s): its environments hang"
                self._restart(("rollout", call.index), WorkerError(what))
        self._liveness.look(self._calls)
        if time.monotonic() >= self._next_ping:
            self._next_ping = time.monotonic() + _PING_EVERY_S
            self._ping()

    def _ping(self) -> None:
        """Asks those whom nobody else calls from here how they are."""
        for index, shard in enumerate(self._program.shards):
            if not self._calls.busy("shard", index=index):
                self._calls.track("shard", index, shard.report.remote())
        for index, host in enumerate(self._program.inference):
            if not self._calls.busy("inference", index=index):
                self._calls.track("inference", index, host.report.remote())
        if not self._calls.busy("server"):
            self._calls.track("server", 0, self._program.server.report.remote())

    def _watch_head(self) -> None:
        """Has a checkpoint written when the cluster's head is away, and ends the run before Ray ends this process."""
        was_there = self._head_is_there
        try:
            self._head_is_there = self._liveness.head_is_there()
        except WorkerError as lost:
            self._abort(lost)
        if was_there and not self._head_is_there:
            self._in_a_hurry = True

    def _drain(self) -> None:
        """Lets all ticks end; after a minute a straggler is left behind."""
        self._rollout_pool.stop()
        deadline = time.monotonic() + SILENCE_S
        while self._ticking() and time.monotonic() < deadline:
            self._serve(timeout_s=0.25)

    def _ticking(self) -> bool:
        return self._calls.busy("rollout", "learner", "start")

    def _write_last_checkpoint(self) -> None:
        self._checkpointing.finish(_LAST_CHECKPOINT_S)
        owed, self._owed = self._owed, None
        if owed is not None or self._progress.learner_steps != self._checkpoints.latest():
            self._begin_checkpoint(extra=owed is not None and owed.extra)
            self._checkpointing.finish(_LAST_CHECKPOINT_S)
        step, last = self._progress.learner_steps, self._checkpoints.latest()
        if step != last:
            raise CheckpointError(f"the last checkpoint, of step {step}, could not be written; the newest is of {last}")

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

    def _get(self, references: list[ray.ObjectRef], what: str) -> list[Any]:
        try:
            return get(references, what, self._recorder.message, _START_PATIENCE_S)
        except RayTaskError as error:
            if isinstance(error.cause, RlsysError):
                raise error.cause from None
            raise
        except RayError as error:
            raise WorkerError(
                f"cannot {what}: {brief(error)}. See Ray's session folder for the workers' logs."
            ) from None
