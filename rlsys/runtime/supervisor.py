"""The supervisor: keeps every worker busy a tick at a time, notices failures, writes checkpoints, ends the run."""

import re
import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NoReturn

import ray
from ray.exceptions import RayError, RayTaskError

from rlsys.errors import ConfigError, RlsysError, WorkerError
from rlsys.runtime.checkpoint import Checkpoints, Draft
from rlsys.runtime.control import Desk
from rlsys.runtime.evaluator import Evaluation
from rlsys.runtime.learning import LearnerReport
from rlsys.runtime.plan import Plan, check
from rlsys.runtime.program import Program
from rlsys.runtime.progress import Due, Progress
from rlsys.runtime.recorder import Recorder
from rlsys.runtime.waiting import SILENCE_S, get
from rlsys.runtime.weight_watch import WeightWatch
from rlsys.runtime.weights import Echo

Kind = Literal["rollout", "learner", "evaluator", "save", "start", "ping", "inference"]

_INCARNATIONS_PER_SESSION = 1_000_000
"""Replay remembers who sent what: a worker of a resumed run must not look like one of the session before."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_BUDGET_WINDOW_S = 600.0
_START_PATIENCE_S = 300.0


@dataclass(frozen=True)
class _Call:
    """One call on its way: of which kind, to which worker, since when (monotonic seconds)."""

    kind: Kind
    index: int
    since: float


@dataclass
class _Slot:
    """The place of one worker: its incarnation, its recent restarts, and when to start it again."""

    incarnation: int = 0
    restarts: deque[float] = field(default_factory=deque)
    start_at: float | None = None


class Supervisor:
    """Runs a program until its budget is spent, a stop is asked for, or something fails for good."""

    def __init__(
        self, plan: Plan, program: Program, progress: Progress, recorder: Recorder, checkpoints: Checkpoints
    ) -> None:
        self._plan = plan
        self._program = program
        self._progress = progress
        self._recorder = recorder
        self._checkpoints = checkpoints
        self._calls: dict[ray.ObjectRef, _Call] = {}
        first = progress.sessions * _INCARNATIONS_PER_SESSION
        self._slots = {("rollout", index): _Slot(first) for index in range(plan.num_rollout_workers)}
        self._slots[("learner", 0)] = _Slot()
        self._slots[("evaluator", 0)] = _Slot()
        self._learners_out = 0
        self._learners_held = False
        self._watch_weights = WeightWatch(plan.runtime.max_version_lag)
        self._draft: Draft | None = None
        self._published: ray.ObjectRef | None = None
        self._silent: set[tuple[str, int]] = set()
        self._next_ping = 0.0
        self.stop_reason = ""

    def start(self, step: int | None) -> None:
        """Starts all workers, from a checkpoint if a step is given, and waits until the learners have published.

        Raises:
          WorkerError: a worker cannot be built.
        """
        folder = str(self._plan.folder / "checkpoints")
        if step is not None:
            self._get([shard.restore.remote(folder, step) for shard in self._program.shards], "restore the replay")
        self._get(self._program.start_learners(step), "start the learners")
        for index in range(self._plan.num_rollout_workers):
            host = self._program.start_rollout(index, self._slots[("rollout", index)].incarnation)
            if step is not None:
                self._track("start", index, host.restore.remote(folder, step))
            self._tick_rollout(index)
        if self._plan.run.evaluate_every_learner_steps or self._plan.run.evaluate_every_env_steps:
            self._program.start_evaluator()
        self._tick_learners()

    def run(self, desk: Desk | None = None) -> str:
        """Works until the run is complete; returns why it ended.

        `stop` ends it from a signal handler, and requests at the desk are served meanwhile.
        """
        while not self.stop_reason:
            self.work()
            if desk is not None:
                desk.serve(self)
            self.stop_reason = self.stop_reason or self._progress.finished()
        self._drain()
        self._write_last_checkpoint()
        return self.stop_reason

    def work(self) -> None:
        """Handles what has happened since the last call, waiting up to a quarter of a second for it."""
        self._serve(timeout_s=0.25)
        self._start_due()
        self._watch()
        self._recorder.tick()

    def restarts(self, kind: str, index: int) -> int:
        """Returns how often a worker was restarted within the last ten minutes."""
        return len(self._slots[(kind, index)].restarts)

    def stop(self, reason: str) -> None:
        """Asks the run to end with a checkpoint."""
        self.stop_reason = self.stop_reason or reason

    def scale(self, rollouts: int) -> str:
        """Goes on with another number of rollout workers; those that are too many end after their present tick.

        Raises:
          ConfigError: the run cannot work with so many.
        """
        before = self._plan.num_rollout_workers
        if rollouts < 1:
            raise ConfigError(f"rollouts = {rollouts}; a run needs at least 1. 'rlsys stop' ends it.")
        runtime = self._plan.runtime.model_copy(update={"rollout_workers": rollouts})
        plan = replace(self._plan, runtime=runtime)
        check(plan)
        self._plan = self._program.plan = plan
        for index in range(before, rollouts):
            self._join(index)
        for index in range(rollouts, before):
            self._slots[("rollout", index)].start_at = None
            if not any(call.kind == "rollout" and call.index == index for call in self._calls.values()):
                self._retire(index)
        text = f"{rollouts} rollout workers instead of {before}"
        self._recorder.message(text)
        return text

    def _join(self, index: int) -> None:
        """Starts a rollout worker; one that was there before comes back under a new incarnation."""
        key = ("rollout", index)
        if key in self._slots:
            self._slots[key].incarnation += 1
        else:
            self._slots[key] = _Slot(self._progress.sessions * _INCARNATIONS_PER_SESSION)
        self._forget_calls(index)
        self._program.start_rollout(index, self._slots[key].incarnation)
        self._tick_rollout(index)

    def _retire(self, index: int) -> None:
        """Ends a rollout worker that is one too many."""
        self._forget_calls(index)
        self._program.stop_rollout(index)
        self._watch_weights.forget(f"rollout {index}")
        self._recorder.waits(f"rollout {index}", "")

    def _forget_calls(self, rollout: int) -> None:
        """Forgets what a rollout worker works at: it is gone, or about to be."""
        for reference, call in list(self._calls.items()):
            if call.kind in ("rollout", "start") and call.index == rollout:
                del self._calls[reference]

    def _serve(self, timeout_s: float) -> None:
        """Handles all calls that have ended, waiting up to `timeout_s` for the first."""
        if not self._calls:
            time.sleep(timeout_s)
            return
        ready, _ = ray.wait(list(self._calls), num_returns=1, timeout=timeout_s)
        if ready:
            ready, _ = ray.wait(list(self._calls), num_returns=len(self._calls), timeout=0)
        for reference in ready:
            call = self._calls.pop(reference, None)
            if call is None:
                continue
            try:
                result = ray.get(reference)
            except RayError as error:
                self._failed(call, error)
            else:
                self._ended(call, result)

    def _ended(self, call: _Call, result: Any) -> None:
        self._silent.discard((call.kind, call.index))
        stopping = bool(self.stop_reason)
        if call.kind == "rollout":
            self._progress.collected(result.env_steps, self._plan.env_spec.frames_per_step, result.games)
            self._recorder.rollout(result)
            if call.index >= self._plan.num_rollout_workers:
                self._retire(call.index)
                return
            if not stopping:
                self._tick_rollout(call.index)
            self._acts("rollout", call.index, result.acts_with)
            if self._learners_held and not stopping:
                self._tick_learners()
        elif call.kind == "learner":
            self._learner_reported(call.index, result)
        elif call.kind == "evaluator":
            self._evaluated(result)
        elif call.kind == "inference":
            self._recorder.inference(result)
            self._acts("inference", call.index, result.acts_with)
        elif call.kind == "save" and self._draft is not None:
            self._draft.add(result)
            if not any(other.kind == "save" for other in self._calls.values()):
                self._commit()

    def _learner_reported(self, rank: int, report: LearnerReport) -> None:
        self._learners_out -= 1
        if rank == 0:
            advanced = report.learner_step > self._progress.learner_steps
            self._progress.learner_steps = report.learner_step
            self._recorder.learner(report)
            self._watch_weights.published(report.published)
            due = self._progress.take_due() if advanced else Due()
            if due.evaluation:
                self._checkpoints.expect_score(report.learner_step)
                self._published = self._program.learners[0].publish.remote()
            if due.checkpoint:
                self._begin_checkpoint(extra=due.extra)
        if self._learners_out == 0 and not self.stop_reason:
            self._tick_learners()
        if self._published is not None and not self._busy("evaluator"):
            self._evaluate()

    def _tick_rollout(self, index: int) -> None:
        host = self._program.rollouts[index]
        self._track("rollout", index, host.collect.remote(self._plan.runtime.tick_s))

    def _tick_learners(self) -> None:
        """Lets the learners work, unless somebody's weights are too old: then the next report of those who act does."""
        until, last_version = self._progress.next_stop(), self._watch_weights.last_version()
        self._learners_held = last_version is not None and self._watch_weights.newest >= last_version
        if self._learners_held:
            self._recorder.waits("learner", f"{self._watch_weights.slowest()} to act with newer weights")
            return
        for rank, host in enumerate(self._program.learners):
            self._track("learner", rank, host.train.remote(self._plan.runtime.tick_s, until, last_version))
        self._learners_out = len(self._program.learners)

    def _acts(self, kind: Kind, index: int, echo: Echo) -> None:
        """Takes in with which weights a worker acts; one that acts with wrong ones is replaced."""
        watch = self._watch_weights
        watch.acts(f"{kind} {index}", echo)
        for worker, text in watch.wrong().items():
            self._recorder.wrong_weights(f"{worker} {text}")
            found, _, number = worker.partition(" ")
            if found == "rollout":
                self._restart((found, int(number)), WorkerError(text))
            elif found == "inference":
                ray.kill(self._program.inference[int(number)], no_restart=False)
                watch.forget(worker)
        self._recorder.version_lag(watch.lag)

    def _evaluate(self) -> None:
        """Evaluates the weights that were published for it; the argument makes the call wait until they were."""
        published, self._published = self._published, None
        if self._program.evaluator is not None:
            self._track("evaluator", 0, self._program.evaluator.evaluate.remote(published))

    def _evaluated(self, evaluation: Evaluation | None) -> None:
        if evaluation is None:
            return
        self._acts("evaluator", 0, evaluation.acted_with)
        self._watch_weights.forget("evaluator 0")
        mean = evaluation.statistics.mean
        if self._progress.evaluated(evaluation.learner_step, mean):
            self._checkpoints.mark_best(evaluation.learner_step, mean)
        self._recorder.evaluation(evaluation)

    def _begin_checkpoint(self, *, extra: bool = False) -> None:
        """Asks every worker to write its part; commits when all have. An extra one stays for good."""
        if self._draft is not None:
            self._recorder.message("checkpoint skipped: the one before is still being written")
            return
        self._draft = self._checkpoints.begin(self._progress.learner_steps, extra=extra)
        self._draft.write("progress", self._progress.save())
        folder = str(self._draft.folder)
        self._track("save", -1, self._program.learners[0].save_to.remote(folder))
        for index, shard in enumerate(self._program.shards):
            self._track("save", -2 - index, shard.save_to.remote(folder))
        for index, host in self._program.rollouts.items():
            if self._slots[("rollout", index)].start_at is None:
                self._track("save", index, host.save_to.remote(folder))

    def _commit(self) -> None:
        assert self._draft is not None
        draft, self._draft = self._draft, None
        draft.commit({"learner_steps": self._progress.learner_steps, "env_steps": self._progress.env_steps})
        self._recorder.checkpoint(draft.learner_step)

    def _failed(self, call: _Call, error: RayError) -> None:
        """Replaces a worker that is gone; ends the run where that cannot help."""
        cause = error.cause if isinstance(error, RayTaskError) else None
        if call.kind == "save":
            self._abandon_draft(call, cause or error)
        elif call.kind == "ping":
            self._recorder.message(f"replay shard {call.index} is away ({_brief(error)}); it is restarted")
        elif call.kind == "inference":
            self._watch_weights.forget(f"inference {call.index}")
            self._recorder.message(f"inference worker {call.index} is away ({_brief(error)}); it is restarted")
        elif call.kind == "learner" and isinstance(cause, RlsysError):
            self._abort(cause)
        elif call.kind in ("rollout", "start") and call.index >= self._plan.num_rollout_workers:
            self._retire(call.index)
        elif call.kind in ("rollout", "start"):
            self._restart(("rollout", call.index), cause or error)
        elif call.kind == "evaluator":
            self._restart(("evaluator", 0), cause or error)
        else:
            self._learners_out = 0
            self._restart(("learner", 0), cause or error)

    def _restart(self, key: tuple[str, int], error: BaseException) -> None:
        """Books a restart with exponential delay, within the budget."""
        slot = self._slots[key]
        if slot.start_at is not None or self.stop_reason:
            return
        now = time.monotonic()
        while slot.restarts and now - slot.restarts[0] > _BUDGET_WINDOW_S:
            slot.restarts.popleft()
        if len(slot.restarts) >= self._plan.runtime.worker_restarts:
            self._abort(
                WorkerError(
                    f"{key[0]} {key[1]} failed {len(slot.restarts) + 1} times within ten minutes "
                    f"(runtime.worker_restarts = {self._plan.runtime.worker_restarts}); last: {_brief(error)}. "
                    "See the worker's log in Ray's session folder, or run with --inline to debug."
                )
            )
        delay = 0.0 if not slot.restarts else min(30.0, 2.0 ** (len(slot.restarts) - 1))
        slot.restarts.append(now)
        slot.incarnation += 1
        self._watch_weights.forget(f"{key[0]} {key[1]}")
        slot.start_at = now + delay
        self._recorder.restarted(f"{key[0]} {key[1]} is restarted: {_brief(error)}")
        if key[0] == "rollout":
            self._forget_calls(key[1])
            return
        for reference, call in list(self._calls.items()):
            if call.kind == key[0]:
                del self._calls[reference]

    def _start_due(self) -> None:
        for (kind, index), slot in self._slots.items():
            if slot.start_at is None or time.monotonic() < slot.start_at:
                continue
            slot.start_at = None
            if kind == "rollout":
                self._program.start_rollout(index, slot.incarnation)
                self._tick_rollout(index)
            elif kind == "evaluator":
                self._program.start_evaluator()
            else:
                step = self._checkpoints.latest()
                self._progress.learner_steps = step or 0
                self._get(self._program.start_learners(step), "restart the learners")
                self._recorder.rewind(self._progress.learner_steps)
                self._tick_learners()

    def _watch(self) -> None:
        """Says who has been silent for a minute, restarts rollout workers that hang, pings those that Ray restarts."""
        now, patience_s = time.monotonic(), self._plan.runtime.rollout_timeout_s
        for call in list(self._calls.values()):
            key = (call.kind, call.index)
            if call.kind in ("rollout", "start") and now - call.since > patience_s:
                what = f"no report for {patience_s:g} s (runtime.rollout_timeout_s): its environments hang"
                self._restart(("rollout", call.index), WorkerError(what))
            if call.kind in ("rollout", "learner") and now - call.since > SILENCE_S and key not in self._silent:
                self._silent.add(key)
                self._recorder.message(f"{call.kind} {call.index} has not reported for {SILENCE_S:.0f} s")
        if now >= self._next_ping:
            self._next_ping = now + 5.0
            asked = {(call.kind, call.index) for call in self._calls.values()}
            for index, shard in enumerate(self._program.shards):
                if ("ping", index) not in asked:
                    self._track("ping", index, shard.pid.remote())
            for index, host in enumerate(self._program.inference):
                if ("inference", index) not in asked:
                    self._track("inference", index, host.report.remote())

    def _drain(self) -> None:
        """Lets all ticks end; after a minute a straggler is left behind."""
        deadline = time.monotonic() + SILENCE_S
        while self._ticking() and time.monotonic() < deadline:
            self._serve(timeout_s=0.25)

    def _ticking(self) -> bool:
        return any(call.kind in ("rollout", "learner", "save", "start") for call in self._calls.values())

    def _write_last_checkpoint(self) -> None:
        if self._progress.learner_steps == self._checkpoints.latest():
            return
        self._begin_checkpoint()
        self._drain()

    def _abandon_draft(self, call: _Call, error: BaseException) -> None:
        """Gives the draft up unless only a rollout worker's part is missing."""
        if self._draft is None:
            return
        if call.index >= 0 and not isinstance(error, RlsysError):
            if not any(other.kind == "save" for other in self._calls.values()):
                self._commit()
            return
        self._draft.discard()
        self._draft = None
        self._recorder.message(f"checkpoint given up: {_brief(error)}; the one before is kept")

    def _abort(self, error: RlsysError) -> NoReturn:
        """Ends the run with an error, after a checkpoint that is being written from before it."""
        saves = [reference for reference, call in self._calls.items() if call.kind == "save"]
        if self._draft is not None:
            done, late = ray.wait(saves, num_returns=len(saves), timeout=SILENCE_S) if saves else ([], [])
            try:
                for records in ray.get(done):
                    self._draft.add(records)
            except RayError:
                late = saves
            if late:
                self._draft.discard()
            else:
                self._commit()
        raise error

    def _busy(self, kind: Kind) -> bool:
        return any(call.kind == kind for call in self._calls.values())

    def _track(self, kind: Kind, index: int, reference: ray.ObjectRef) -> None:
        self._calls[reference] = _Call(kind, index, time.monotonic())

    def _get(self, references: list[ray.ObjectRef], what: str) -> list[Any]:
        try:
            return get(references, what, self._recorder.message, _START_PATIENCE_S)
        except RayTaskError as error:
            if isinstance(error.cause, RlsysError):
                raise error.cause from None
            raise
        except RayError as error:
            raise WorkerError(
                f"cannot {what}: {_brief(error)}. See Ray's session folder for the workers' logs."
            ) from None


def _brief(error: BaseException) -> str:
    """Returns an error's type and its last line, which in a traceback says what happened."""
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:200]}" if lines else type(error).__name__
