"""The same workers in one process and a fixed order: deterministic, debuggable, nothing to set up.

    repeat: every environment makes one decision
            what that completed goes into replay; stored rows are refreshed, where they are a share of all searches
            the learner updates for as long as the ratio, or the queue, allows (once, where there is neither)

A run that is stopped and resumed goes on exactly as one that was not: everything with a state is in the checkpoint.
"""

import time

from rlsys.api import QueueSpec, ReplayNotReady, Saved
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.errors import CheckpointError, ConfigError, WorkerError
from rlsys.evaluation.evaluator import EvaluationCut, evaluate
from rlsys.exports.pretrained import weights_in
from rlsys.quoting import quoted
from rlsys.replay.stores import LimitedTable, LocalReplay, make_store
from rlsys.runs.control_server import ControlServer
from rlsys.runs.dataset import segments_of
from rlsys.runs.progress import Progress
from rlsys.runs.spec import RunSpec
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.workers.learning import LearnerWorker
from rlsys.runtime.workers.rollout import RolloutWorker
from rlsys.signals import INTERRUPTED, INTERRUPTED_S
from rlsys.types import Weights
from rlsys.weights import Packed, pack, unpack


class InlineRun:
    """Runs in this process; has the supervisor's interface."""

    def __init__(self, spec: RunSpec, progress: Progress, recorder: Recorder, checkpoints: Checkpoints) -> None:
        if spec.runtime.learners != 1 or spec.runtime.replay_shards != 1:
            raise WorkerError(
                f"--inline has one learner and one shard; runtime.learners = {spec.runtime.learners}, "
                f"runtime.replay_shards = {spec.runtime.replay_shards}. Leave --inline out, or set both to 1."
            )
        self._spec = spec
        self._progress = progress
        self._recorder = recorder
        self._checkpoints = checkpoints
        store = make_store(spec.store, spec.stored_env, spec.cut, seed=spec.seeds("replay", 0)[0])
        self._replay = LocalReplay(store, spec.num_environments, None if spec.turns is None else self._has_come)
        self._workers = [RolloutWorker(spec, index, progress.sessions) for index in range(spec.num_rollout_workers)]
        is_resumed = progress.sessions > 0
        self._learner = LearnerWorker(spec, self._replay, self._take_weights, is_resumed=is_resumed)
        self._newest: Packed | None = None
        self._acting: list[Packed | None] = [None] * len(self._workers)
        self._steps_since_sync = [0] * len(self._workers)
        self._control_server: ControlServer | None = None
        self._breathed_at = time.monotonic()
        self._interrupted_at: float | None = None
        self.stop_reason = ""

    def start(self, step: int | None) -> None:
        """Publishes the first weights, or goes on from a checkpoint."""
        if step is None:
            self._begin_replay()
            self._learner.publish()
            self._sync(force=True)
            return
        opened = self._checkpoints.open(step)
        with opened.loading("inline") as saved:
            self._load(saved, opened.read("world") if "world" in opened.parts else None)
        self._progress.steps_left = self._learner.steps_left
        self._make_up()
        if self._learns_when_allowed:
            self._learn()  # the checkpoint may lie between two updates that belong to the same decision

    def run(self, control_server: ControlServer | None = None) -> str:
        """Works until the run is complete, answering requests; returns why it ended."""
        self._control_server = control_server
        while not self._is_done():
            if control_server is not None:
                control_server.serve(self)
            for index, worker in enumerate(self._workers):
                if worker.awaits_weights:
                    continue
                if self._spec.refreshed_share == 1.0:
                    worker.refresh(self._replay)
                else:
                    self._decide(worker)
                report = worker.report()
                self._steps_since_sync[index] += report.refreshed_rows
                self._progress.collected(report.env_steps, self._spec.env_spec.frames_per_step, report.games)
                self._recorder.rollout(report)
            self._sync(force=False)
            self._learn()
            self._recorder.tick()
        self._end()
        for worker in self._workers:
            worker.close()
        return self.stop_reason

    def _decide(self, worker: RolloutWorker) -> None:
        for item in worker.step():
            self._replay.store.insert(item)
        while worker.owes_rows:
            worker.refresh(self._replay)

    def stop(self, reason: str) -> None:
        """Asks the run to end with a checkpoint, and with an evaluation of its last weights if it is evaluated."""
        self.stop_reason = self.stop_reason or reason

    def interrupt(self) -> None:
        """Asks the run to end soon with a checkpoint; what that leaves unevaluated is left to the next session."""
        self._interrupted_at = time.monotonic()
        self.stop(INTERRUPTED)

    def scale(self, rollout_workers: int) -> str:
        """Refuses: one process has the workers that it began with."""
        folder = self._spec.folder
        raise ConfigError(
            f"rollout_workers = {rollout_workers} of a run with --inline; it has the workers that it began with. End "
            f"it with {quoted('stop', folder)}, and go on with "
            f"{quoted('launch', '--resume', folder, f'runtime.rollout_workers={rollout_workers}')}."
        )

    @property
    def _learns_when_allowed(self) -> bool:
        """Whether replay says when it is enough; otherwise there is one update per decision."""
        spec = self._spec
        return spec.turns is not None or isinstance(spec.store, QueueSpec) or spec.store.samples_per_insert is not None

    def _is_done(self) -> bool:
        self.stop_reason = self.stop_reason or self._progress.finished()
        return bool(self.stop_reason)

    def _learn(self) -> None:
        """Updates as long as the ratio, the queue, or a phase that needs no data allows."""
        waits_for = ""
        while not self._is_done():
            try:
                self._learner.step()
            except ReplayNotReady as waiting:
                waits_for = f"replay: {waiting}"
                break
            self._progress.learner_steps = self._learner.learner_step
            self._progress.steps_left = self._learner.steps_left
            every = self._spec.run.log_every_learner_steps
            if every and self._learner.learner_step % every == 0:
                self._record_learner("")
                self._recorder.write()
            due = self._progress.take_due()
            if due.checkpoint:
                self._record_learner("")
                self._checkpoint(extra=due.extra)
                if due.evaluation:
                    self._evaluate_now()
            if not self._learns_when_allowed:
                break
            self._breathe()
        self._record_learner(waits_for)

    def _breathe(self) -> None:
        """Reports and listens now and then while the learner goes on by itself."""
        if time.monotonic() - self._breathed_at < self._spec.runtime.tick_s:
            return
        self._breathed_at = time.monotonic()
        if self._control_server is not None:
            self._control_server.serve(self)
        if not self._spec.run.log_every_learner_steps:  # else rows come at fixed steps, whatever the clock says
            self._record_learner("")
            self._recorder.tick()

    def _record_learner(self, waits_for: str) -> None:
        report = self._learner.report()
        report.waits_for = waits_for if report.steps == 0 else ""
        report.replay = self._replay.stats()
        self._recorder.learner(report)

    def _end(self) -> None:
        """Writes the last checkpoint, and evaluates its weights.

        Raises:
          CheckpointError: it could not be written.
        """
        progress, checkpoints = self._progress, self._checkpoints
        is_due = self._interrupted_at is None and progress.take_last()
        if progress.learner_steps != checkpoints.latest():
            self._checkpoint()
        step, last = progress.learner_steps, checkpoints.latest()
        if step != last:
            raise CheckpointError(f"the last checkpoint, of step {step}, could not be written; the newest is of {last}")
        if is_due:
            self._evaluate_now()

    def _make_up(self) -> None:
        """Evaluates what an earlier session left, from its checkpoints."""
        for step in sorted(self._progress.unevaluated):
            try:
                opened = self._checkpoints.open(step, parts=["weights"])
            except CheckpointError:
                self._progress.unevaluated.discard(step)
                continue
            self._evaluate(weights_in(opened), opened.env_steps)

    def _evaluate_now(self) -> None:
        self._evaluate(unpack(self._learner.packed()), self._progress.env_steps)

    def _evaluate(self, weights: Weights, env_steps: int) -> None:
        """Evaluates weights, and notes their score where they have a checkpoint."""
        step = weights.learner_step
        self._checkpoints.expect_score(step)
        try:
            evaluation = evaluate(self._spec, weights, self._on_turn, lambda: self._interrupted_at is not None)
        except EvaluationCut:
            self._recorder.message(f"left to the session that goes on with the run: the evaluation of step {step:,}")
            return
        score = evaluation.statistics.mean
        self._progress.evaluated(step, score)
        self._recorder.evaluation(evaluation, env_steps)
        try:
            self._checkpoints.mark_best(step, score)
        except CheckpointError as error:
            self._recorder.message(f"the best checkpoint could not be marked: {error}")
        self._progress.best_return = self._checkpoints.best_score()

    def _on_turn(self) -> None:
        """Reports and listens while games are played; ends them some seconds after the run was interrupted."""
        self._breathe()
        if self._interrupted_at is not None and time.monotonic() - self._interrupted_at > INTERRUPTED_S:
            raise EvaluationCut

    def _checkpoint(self, *, extra: bool = False) -> None:
        self._recorder.check()
        progress = self._progress
        try:
            with self._checkpoints.begin(progress.learner_steps, extra=extra) as draft:
                draft.write("progress", progress.save())
                draft.write("recorder", self._recorder.save())
                draft.write("weights", self._learner.save_weights())
                saved, world = self._save()
                draft.write("inline", saved)
                if world is not None:
                    draft.write("world", world)
                draft.commit({"learner_steps": progress.learner_steps, "env_steps": progress.env_steps})
        except CheckpointError as error:
            self._recorder.message(f"checkpoint given up: {error}")
        else:
            progress.best_return = self._checkpoints.best_score()
            self._recorder.checkpoint(progress.learner_steps)

    def _begin_replay(self) -> None:
        if isinstance(self._replay.store, LimitedTable):
            self._replay.store.begin_with(segments_of(self._spec))

    def _has_come(self, turn: int) -> bool:
        return all(worker.has_collected(turn) for worker in self._workers)

    def _take_weights(self, packed: Packed) -> None:
        self._newest = packed

    def _sync(self, *, force: bool) -> None:
        """Hands the newest weights to each worker whose turn is over, or which has made its decisions with the last."""
        for index, worker in enumerate(self._workers):
            self._steps_since_sync[index] += self._spec.environments_per_worker
            due = worker.awaits_weights
            if self._spec.turns is None:
                due = self._steps_since_sync[index] >= self._spec.runtime.weight_sync_frequency
            if (force or due) and self._newest is not None and self._newest is not self._acting[index]:
                self._steps_since_sync[index] = 0
                self._acting[index] = self._newest
                worker.set_weights(unpack(self._newest))

    def _save(self) -> tuple[Saved, Saved | None]:
        learner, world = self._learner.save()
        saved = {
            "learner": learner,
            "replay": self._replay.store.save(),
            "workers": [worker.save() for worker in self._workers],
            "newest": _save_packed(self._newest),
            "acting": [_save_packed(packed) for packed in self._acting],
            "steps_since_sync": list(self._steps_since_sync),
        }
        return saved, world

    def _load(self, saved: Saved, world: Saved | None) -> None:
        self._learner.load(saved["learner"], world)
        refill = self._spec.refill
        if refill is None:
            self._replay.store.load(saved["replay"])
        else:
            self._begin_replay()
        self._newest = _load_packed(saved["newest"])
        for index, worker in enumerate(self._workers):
            acting = self._newest  # of a worker that is new
            if index < len(saved["workers"]):
                if refill is None or not refill.begins_episodes:
                    worker.load(saved["workers"][index])
                self._steps_since_sync[index] = saved["steps_since_sync"][index]
                acting = _load_packed(saved["acting"][index])
            same = self._newest if self._newest and acting and acting.version == self._newest.version else acting
            self._acting[index] = same
            if same is not None:
                worker.set_weights(unpack(same))


def _save_packed(packed: Packed | None) -> Saved | None:
    if packed is None:
        return None
    weights = unpack(packed)
    return {
        "version": weights.version,
        "learner_step": weights.learner_step,
        "arrays": dict(weights.arrays),
        "turn": weights.turn,
    }


def _load_packed(saved: Saved | None) -> Packed | None:
    return None if saved is None else pack(**saved)
