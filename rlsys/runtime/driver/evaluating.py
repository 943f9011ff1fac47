"""Evaluating a program that works on: the weights of exactly the step that is due, one step at a time.

At most one more waits, besides what an earlier session left. Where evaluations take longer than the interval between
two, the newest step that is due takes the place of the one that waits, and the user is told. Whatever is evaluated
keeps its checkpoint until its score is there, and is evaluated again if the evaluator is lost meanwhile; a run that
ends sooner leaves it to its next session.
"""

from dataclasses import dataclass

import ray
from ray.exceptions import ObjectLostError, RayError, RayTaskError

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.errors import CheckpointError, WorkerError
from rlsys.evaluation.evaluator import Evaluation
from rlsys.runs.progress import Progress
from rlsys.runtime.driver.checkpointing import Checkpointing
from rlsys.runtime.driver.pending_calls import PendingCalls
from rlsys.runtime.driver.program import Program
from rlsys.runtime.driver.recorder import Recorder
from rlsys.weights import Echo

_NAMED = 5
"""Steps that a message names before it says how many more there are."""


@dataclass
class _Evaluated:
    """A step that is evaluated, or waits for it.

    Attributes:
      learner_step, env_steps: how far the run was.
      weights: the learner's at that step; None: those of its checkpoint.
      given: what the evaluator must echo, once the weights have been taken; None before, and for a checkpoint's.
      made_up: whether an earlier session left it; nothing newer takes its place.
    """

    learner_step: int
    env_steps: int
    weights: ray.ObjectRef | None = None
    given: Echo | None = None
    made_up: bool = False

    @property
    def is_there(self) -> bool:
        """Whether there is something to evaluate yet."""
        return self.weights is None or self.given is not None


class Evaluating:
    """Hands weights to the evaluator, and what comes of them to progress, metrics and checkpoints."""

    def __init__(
        self,
        program: Program,
        calls: PendingCalls,
        progress: Progress,
        recorder: Recorder,
        checkpoints: Checkpoints,
        checkpointing: Checkpointing,
    ) -> None:
        self._program = program
        self._calls = calls
        self._progress = progress
        self._recorder = recorder
        self._checkpoints = checkpoints
        self._checkpointing = checkpointing
        self._now: _Evaluated | None = None
        self._waiting: list[_Evaluated] = []
        self._left_out: list[int] = []

    @property
    def steps(self) -> tuple[int, ...]:
        """Learner steps that are being evaluated, or wait for it."""
        now = [] if self._now is None else [self._now]
        return tuple(one.learner_step for one in [*now, *self._waiting])

    def make_up(self) -> None:
        """Evaluates what an earlier session left, from its checkpoints."""
        for step in sorted(self._progress.unevaluated):
            try:
                env_steps = self._checkpoints.open(step, parts=()).env_steps
            except CheckpointError:
                self._progress.unevaluated.discard(step)
                continue
            self._checkpoints.expect_score(step)
            self._waiting.append(_Evaluated(step, env_steps, made_up=True))

    def take(self) -> None:
        """Takes the learner's weights as they are now, which must be idle, to be evaluated as soon as that can be."""
        step = self._progress.learner_steps
        if self._waiting and not self._waiting[-1].made_up:
            doomed = self._waiting.pop()
            self._forget(doomed)
            self._left_out.append(doomed.learner_step)
        self._checkpoints.expect_score(step)
        taken, weights = self._program.learners[0].snapshot.options(num_returns=2).remote()
        self._waiting.append(_Evaluated(step, self._progress.env_steps, weights))
        self._calls.track("snapshot", step, taken)

    def taken(self, step: int, echo: Echo | None) -> None:
        """Notes that the weights of a step are there, or, without an echo, that the learner was lost before."""
        for one in self._waiting:
            if one.learner_step == step and one.weights is not None:
                one.given = echo
                one.weights = one.weights if echo is not None else None

    def work(self) -> None:
        """Gives the evaluator, which is there and idle, what is to be evaluated next."""
        if self._now is None and self._waiting and self._waiting[0].is_there:
            self._now = self._waiting.pop(0)
        now, evaluator = self._now, self._program.evaluator
        if now is None or evaluator is None or self._calls.busy("evaluator"):
            return
        if now.weights is not None:
            call = evaluator.evaluate.remote(now.weights)
        elif self._checkpointing.is_writing:  # it may be this one
            return
        else:
            call = evaluator.evaluate_checkpoint.remote(self._checkpoints.location, now.learner_step)
        self._calls.track("evaluator", 0, call)

    def ended(self, evaluation: Evaluation) -> None:
        """Takes in what came of an evaluation.

        Raises:
          WorkerError: it is of other weights than those that were given; it counts for nothing.
        """
        now, step = self._now, evaluation.learner_step
        assert now is not None
        if now.given is not None:
            known, found = now.given.digest, evaluation.acted_with.digest
            if step != now.learner_step or (None not in (known, found) and known != found):
                raise WorkerError(
                    f"acts with wrong weights: it was given those of step {now.learner_step} with digest "
                    f"{known or 0:08x}, it has those of step {step} with {found or 0:08x}"
                )
        self._now = None
        self._progress.evaluated(step, evaluation.statistics.mean)
        self._checkpointing.mark_best(step, evaluation.statistics.mean)
        self._recorder.evaluation(evaluation, now.env_steps)
        self._tell()

    def failed(self, error: RayError) -> bool:
        """Takes in that an evaluation has failed; returns whether the evaluator is to blame, and plays it again."""
        now = self._now
        assert now is not None
        cause = error.cause if isinstance(error, RayTaskError) else None
        if now.weights is not None and isinstance(error, ObjectLostError):
            now.weights = now.given = None
            return False
        if now.weights is None and isinstance(cause, CheckpointError):
            self._now = None
            self._forget(now)
            self._recorder.message(f"step {now.learner_step:,} is not evaluated: {cause}")
            return False
        return True

    def rewind(self, learner_step: int) -> None:
        """Forgets what is later than the checkpoint that the learner goes on from: it will be due again."""
        if self._now is not None and self._now.learner_step > learner_step:
            self._calls.forget("evaluator")
            self._now = None
        self._waiting = [one for one in self._waiting if one.learner_step <= learner_step]

    def leave(self) -> None:
        """Leaves everything to the session that goes on with the run, and says so."""
        if self.steps:
            self._recorder.message(
                f"left to the session that goes on with the run: the evaluation of {_named(self.steps)}"
            )
        self._now, self._waiting = None, []
        self._tell()

    def _forget(self, one: _Evaluated) -> None:
        """Has a step's checkpoint kept no longer for its score."""
        self._progress.unevaluated.discard(one.learner_step)
        self._checkpoints.expect_no_score(one.learner_step)

    def _tell(self) -> None:
        """Says which steps were left out since the last time."""
        if self._left_out:
            self._recorder.message(
                f"evaluations left out, as one takes longer than the interval between two: {_named(self._left_out)}. "
                "Raise run.evaluate_every_learner_steps or evaluate_every_env_steps, or lower run.evaluation_episodes."
            )
            self._left_out = []


def _named(steps: tuple[int, ...] | list[int]) -> str:
    more = f" and {len(steps) - _NAMED:,} more" if len(steps) > _NAMED else ""
    return f"step{'s' if len(steps) > 1 else ''} {', '.join(f'{step:,}' for step in steps[:_NAMED])}{more}"
