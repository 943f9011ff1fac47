"""Writing a checkpoint of a program that works on: every worker its own part, and then one manifest for all."""

import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import ray
from ray.exceptions import RayError, RayTaskError

from rlsys.api import Saved
from rlsys.checkpoints.checkpoint import Checkpoints, Draft
from rlsys.errors import CheckpointError, RlsysError
from rlsys.runs.progress import Progress
from rlsys.runtime.cluster.placement import Handle
from rlsys.runtime.driver.pending_calls import brief
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.driver.waiting import SILENCE_S

Outcome = Literal["committed", "given up"]

_PAUSE_S = 0.05


@dataclass
class _Writing:
    """A checkpoint on its way.

    Attributes:
      draft: what is being written.
      progress, recorder: the run's own parts.
      metrics: what it will be committed with.
      hosts: name of a part -> who writes it.
      calls: call on its way -> name of the part.
      committing: the last step, once all parts are there.
      since: monotonic seconds.
    """

    draft: Draft
    progress: Saved
    recorder: Saved
    metrics: Mapping[str, Any]
    hosts: Mapping[str, Handle]
    calls: dict[ray.ObjectRef, str] = field(default_factory=dict)
    committing: Future[float] | None = None
    since: float = field(default_factory=time.monotonic)

    def commit(self, checkpoints: Checkpoints) -> float:
        """Writes what is this process's own; returns the best score of all checkpoints that are there then."""
        self.draft.write("progress", self.progress)
        self.draft.write("recorder", self.recorder)
        self.draft.commit(self.metrics)
        return checkpoints.best_score()

    def waits_for(self) -> str:
        """Says whose part is missing."""
        return ", ".join(self.calls.values()) or "its manifest"


class Checkpointing:
    """Writes one checkpoint at a time. Nobody waits for it: `work` looks what has come of it.

    A worker copies its state between two ticks and writes it in a thread while it works on; a shard writes while it
    serves; the manifest is written by a thread of this process. If a part cannot be written the checkpoint is given up,
    and the one before is kept; only rollout workers that are gone, or hang, are done without. What is best among the
    checkpoints that are there is kept in the run's progress.
    """

    def __init__(self, checkpoints: Checkpoints, progress: Progress, recorder: Recorder) -> None:
        self._checkpoints = checkpoints
        self._progress = progress
        self._recorder = recorder
        self._thread = ThreadPoolExecutor(max_workers=1)  # it alone changes what has been committed
        self._committed = checkpoints.latest()
        self._writing: _Writing | None = None
        self._has_skipped = False
        self._put_off: int | None = None
        self._scores: dict[int, float] = {}
        self._marking: deque[Future[float]] = deque()

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is on its way."""
        return self._writing is not None

    def put_off(self, learner_step: int) -> None:
        """Notes that the checkpoint of this step begins when the one on its way has ended: its score waits for that."""
        self._put_off = learner_step

    def begin(
        self,
        learner_step: int,
        progress: Saved,
        metrics: Mapping[str, Any],
        hosts: Mapping[str, Handle],
        *,
        extra: bool = False,
    ) -> bool:
        """Asks every worker to write its part; returns False where that cannot be.

        Args:
          learner_step: updates done.
          progress: the run's own part.
          metrics: to be remembered in the manifest.
          hosts: name of a part -> who writes it.
          extra: whether the checkpoint stays for good.
        """
        if self._writing is not None:
            if not self._has_skipped:
                self._recorder.message("checkpoints are skipped: one is still being written")
            self._has_skipped = True
            return False
        self._has_skipped = False
        self._put_off = None
        self._recorder.check()
        try:
            draft = self._checkpoints.begin(learner_step, extra=extra)
        except CheckpointError as error:
            self._recorder.message(f"checkpoint given up: {error}")
            return False
        self._writing = writing = _Writing(draft, progress, self._recorder.save(), metrics, hosts)
        for name, host in hosts.items():
            writing.calls[host.save_to.remote(draft.place, learner_step, self._committed)] = name
        return True

    def mark_best(self, learner_step: int, score: float) -> None:
        """Notes the score of a checkpoint, once that has been committed."""
        self._scores[learner_step] = score

    def rewind(self, learner_step: int) -> None:
        """Counts what is later than this checkpoint, which the learner goes on from, no more."""
        self._put_off = None
        self._scores = {step: score for step, score in self._scores.items() if step <= learner_step}
        self._checkpoints.go_back(learner_step)
        self._progress.best_return = self._checkpoints.best_score()

    def work(self) -> Outcome | None:
        """Looks what has been written, and commits when that is all; returns how it ended, once it has."""
        self._mark()
        writing = self._writing
        if writing is None:
            return None
        if writing.committing is None:
            return self._take_in(writing)
        return self._look(writing.draft, writing.committing) if writing.committing.done() else None

    def finish(self, patience_s: float) -> None:
        """Waits for the checkpoint on its way; says for whom after a minute, and gives it up after `patience_s`."""
        started = said = time.monotonic()
        while self._writing is not None or self._scores or self._marking:
            self.work()
            time.sleep(_PAUSE_S)
            now, writing = time.monotonic(), self._writing
            waits_for = "scores" if writing is None else writing.waits_for()
            if now - said > SILENCE_S:
                said = now
                self._recorder.message(f"the checkpoint waits for {waits_for}")
            if now - started > patience_s:
                if writing is not None and writing.committing is None:
                    self._give_up(writing, f"{waits_for} did not write within {patience_s:.0f} s")
                return

    def _take_in(self, writing: _Writing) -> Outcome | None:
        """Takes in the parts that have been written; commits after the last."""
        is_late = time.monotonic() - writing.since > SILENCE_S
        calls = list(writing.calls)
        ready = set(ray.wait(calls, num_returns=len(calls), timeout=0)[0]) if calls else set()
        for reference in calls:
            is_rollout = writing.calls[reference].startswith("rollout-")
            if reference not in ready and not (is_late and is_rollout):
                continue
            name = writing.calls.pop(reference)
            try:
                records = ray.get(reference) if reference in ready else []
            except RayError as error:
                cause = error.cause if isinstance(error, RayTaskError) else None
                if is_rollout and not isinstance(cause, RlsysError):
                    continue
                return self._give_up(
                    writing, str(cause) if isinstance(cause, RlsysError) else f"{name}: {brief(error)}"
                )
            if records is None:
                writing.calls[writing.hosts[name].saved.remote()] = name
            else:
                writing.draft.add(records)
        if not writing.calls:
            self._recorder.check()
            writing.committing = self._thread.submit(writing.commit, self._checkpoints)
        return None

    def _give_up(self, writing: _Writing, reason: str) -> Outcome:
        writing.draft.discard()
        self._writing = None
        self._recorder.message(f"checkpoint given up: {reason}; the one before is kept")
        return "given up"

    def _look(self, draft: Draft, committing: Future[float]) -> Outcome:
        self._writing = None
        try:
            self._progress.best_return = committing.result()
        except CheckpointError as error:
            self._recorder.message(f"checkpoint given up: {error}")
            return "given up"
        self._committed = draft.learner_step
        self._recorder.checkpoint(draft.learner_step)
        return "committed"

    def _mark(self) -> None:
        """Notes scores of checkpoints that are not being written any more, and looks whether that worked."""
        for step in list(self._scores):
            if step != self._put_off and (self._writing is None or self._writing.draft.learner_step != step):
                self._marking.append(self._thread.submit(self._note, step, self._scores.pop(step)))
        while self._marking and self._marking[0].done():
            try:
                self._progress.best_return = self._marking.popleft().result()
            except CheckpointError as error:
                self._recorder.message(f"the best checkpoint could not be marked: {error}")

    def _note(self, step: int, score: float) -> float:
        """Notes a score; returns the best of all checkpoints that are there."""
        self._checkpoints.mark_best(step, score)
        return self._checkpoints.best_score()
