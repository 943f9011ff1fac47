"""How far a run has come: its counters, what is due, and when it is done."""

import math
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, Field

from rlsys.api import Saved
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.config import RunConfig
from rlsys.envs.vector import GameResult
from rlsys.files.json_tree import check_tree
from rlsys.loss_names import losses_in
from rlsys.runs.status import Status

_WINDOW = 100
"""Games over which returns are averaged."""


@dataclass(frozen=True)
class Due:
    """What belongs at a learner step: an evaluation, a checkpoint, and whether the checkpoint stays for good."""

    evaluation: bool = False
    checkpoint: bool = False
    extra: bool = False


Count = Annotated[int, Field(ge=0)]


class _Counts(BaseModel):
    """What is saved of `Progress`."""

    replay_form: dict[str, Any]
    env_steps: Count
    frames: Count
    learner_steps: Count
    episodes: Count
    elapsed_s: float
    sessions: Count
    returns: list[float]
    lengths: list[float]
    evaluation_step: Count
    evaluation_return: float
    unevaluated: list[Count]
    seen_env_steps: Count
    steps_left: Count | None


@dataclass
class Progress:
    """Counters of a run, over all its sessions.

    Attributes:
      run: budgets and periods.
      replay_form: `RunSpec.replay_form`, which checkpoints note.
      env_steps: decisions; frames: simulator frames; learner_steps: updates; episodes: whole games.
      elapsed_s: wall time of earlier sessions; sessions: how many there were.
      returns, lengths: of the last games, raw and whole.
      evaluation_step, evaluation_return: of the last evaluation.
      unevaluated: learner steps that are due to be evaluated and have no result yet.
      best_return: highest score of a checkpoint that is there; whoever marks scores keeps it up to date.
      seen_env_steps: decisions when it was last asked what is due.
      steps_left: updates after which the learner has nothing left to do; None: it never has.
      checkpoint_at: monotonic time of the last checkpoint that was due.
      session_started: monotonic time at which this session began.
    """

    run: RunConfig
    replay_form: Mapping[str, Any] = field(default_factory=dict)
    env_steps: int = 0
    frames: int = 0
    learner_steps: int = 0
    episodes: int = 0
    elapsed_s: float = 0.0
    sessions: int = 0
    returns: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    lengths: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    evaluation_step: int = 0
    evaluation_return: float = math.nan
    unevaluated: set[int] = field(default_factory=set)
    best_return: float = -math.inf
    seen_env_steps: int = 0
    steps_left: int | None = None
    checkpoint_at: float = field(default_factory=time.monotonic)
    session_started: float = field(default_factory=time.monotonic)

    @property
    def session_s(self) -> float:
        """Wall time of this session in seconds."""
        return time.monotonic() - self.session_started

    @property
    def total_s(self) -> float:
        """Wall time of all sessions in seconds."""
        return self.elapsed_s + self.session_s

    @property
    def mean_return(self) -> float:
        """Mean return of the last games; NaN before the first."""
        return sum(self.returns) / len(self.returns) if self.returns else math.nan

    @property
    def mean_length(self) -> float:
        """Mean length of the last games in decisions; NaN before the first."""
        return sum(self.lengths) / len(self.lengths) if self.lengths else math.nan

    @property
    def is_evaluated(self) -> bool:
        """Whether the run is evaluated while it trains."""
        return bool(self.run.evaluate_every_learner_steps or self.run.evaluate_every_env_steps)

    def begin(self) -> None:
        """Starts the session's clock: `minutes` is time to train, not to start processes."""
        self.session_started = time.monotonic()

    def collected(self, env_steps: int, frames_per_step: float, games: Iterable[GameResult]) -> None:
        """Counts what rollout workers did."""
        self.env_steps += env_steps
        self.frames += round(env_steps * frames_per_step)
        for game in games:
            self.episodes += 1
            self.returns.append(game.episode_return)
            self.lengths.append(game.length_env_steps)

    def evaluated(self, learner_step: int, mean_return: float) -> None:
        """Notes an evaluation."""
        self.unevaluated.discard(learner_step)
        self.evaluation_step = learner_step
        self.evaluation_return = mean_return

    def rewind(self, learner_step: int) -> None:
        """Goes back to a checkpoint: what was due after it will be due again."""
        self.learner_steps = learner_step
        if self.evaluation_step > learner_step:
            self.evaluation_step, self.evaluation_return = 0, math.nan
        self.unevaluated = {step for step in self.unevaluated if step <= learner_step}

    def next_stop(self) -> int:
        """Returns the learner step up to which updates may go on before something is due."""
        periods = (self.run.checkpoint_every_learner_steps, self.run.evaluate_every_learner_steps)
        stops = [(self.learner_steps // every + 1) * every for every in periods if every]
        return min([*stops, self.run.training_steps])

    def take_due(self) -> Due:
        """Returns what belongs at this learner step, each thing once; each evaluated step has a checkpoint."""
        run, before, now = self.run, self.seen_env_steps, self.env_steps
        self.seen_env_steps = now
        every = run.evaluate_every_env_steps
        evaluation = self._at(run.evaluate_every_learner_steps) or bool(every and now // every > before // every)
        extra = any(before < threshold <= now for threshold in run.save_extra_checkpoint)
        checkpoint = evaluation or extra or self._at(run.checkpoint_every_learner_steps) or self._is_late()
        if checkpoint:
            self.checkpoint_at = time.monotonic()
        if evaluation:
            self.unevaluated.add(self.learner_steps)
        return Due(evaluation, checkpoint, extra)

    def take_last(self) -> bool:
        """Returns whether the run's last weights are still to be evaluated, which the end of a run asks once."""
        if not self.is_evaluated or self.learner_steps in (0, self.evaluation_step, *self.unevaluated):
            return False
        self.unevaluated.add(self.learner_steps)
        return True

    def finished(self) -> str:
        """Returns why the run is complete, or the empty string."""
        return self._end()[0]

    def to_go_on(self) -> str:
        """Says what to do for a complete run to go on; empty if it is not complete."""
        return self._end()[1]

    def resumed(self, checkpoints: Checkpoints) -> None:
        """Takes in the scores of the checkpoints, which may have come after the counters were saved."""
        for step in sorted({*self.unevaluated, self.learner_steps}):
            if (score := checkpoints.score(step)) is not None:
                self.evaluated(step, score)
        self.best_return = checkpoints.best_score()

    def _end(self) -> tuple[str, str]:
        """Returns why the run is complete and what to do for it to go on; empty if it is not."""
        run = self.run
        if self.steps_left == 0:
            return "the learner has gone through all its phases", "Launch a new run with more of them"
        if self.learner_steps >= run.training_steps:
            return f"{run.training_steps:,} learner steps are done", "Resume it with a higher run.training_steps=…"
        if run.env_steps is not None and self.env_steps >= run.env_steps:
            return f"{run.env_steps:,} environment steps are done", "Resume it with a higher run.env_steps=…"
        if run.minutes is not None and self.session_s >= 60 * run.minutes:
            return f"{run.minutes:g} minutes have passed", "Resume it with a higher run.minutes=…"
        if run.target_return is not None and self.evaluation_return >= run.target_return:
            return f"the evaluation return reached {run.target_return:g}", "Resume it with a higher run.target_return=…"
        return "", ""

    def time_left_s(self, updates_per_s: float) -> float | None:
        """Returns the seconds until learner steps or minutes are spent, at so many updates per second; or None."""
        left = []
        if self.run.minutes is not None:
            left.append(60 * self.run.minutes - self.session_s)
        if updates_per_s > 0:
            steps = self.run.training_steps - self.learner_steps
            left.append((steps if self.steps_left is None else min(steps, self.steps_left)) / updates_per_s)
        return max(0.0, min(left)) if left else None

    def row(self, *, seconds: float, env_steps: int, updates: int, frames_per_step: float) -> dict[str, float]:
        """Returns the metrics of the last `seconds`, in which so much was done: rates, and how far the run is."""
        row = {
            "episodes/count": float(self.episodes),
            "throughput/env_steps_per_s": env_steps / seconds,
            "throughput/frames_per_s": env_steps * frames_per_step / seconds,
            "throughput/updates_per_s": updates / seconds,
            "throughput/frames": float(self.frames),
        }
        if self.returns:
            row["episodes/return"] = self.mean_return
            row["episodes/length"] = self.mean_length
        return row

    def status(self, row: Mapping[str, float], returns: Sequence[float]) -> Status:
        """Returns how the run stands, as far as its counters and a row of metrics tell."""
        return Status(
            elapsed_s=self.total_s,
            time_left_s=self.time_left_s(row["throughput/updates_per_s"]),
            env_steps=self.env_steps,
            frames=self.frames,
            learner_steps=self.learner_steps,
            episodes=self.episodes,
            env_steps_per_s=row["throughput/env_steps_per_s"],
            frames_per_s=row["throughput/frames_per_s"],
            updates_per_s=row["throughput/updates_per_s"],
            mean_return=self.mean_return,
            returns=tuple(returns),
            evaluation_return=self.evaluation_return,
            best_return=self.best_return,
            losses=losses_in(row),
            version_lag=row.get("workers/version_lag", math.nan),
        )

    def save(self) -> Saved:
        """Returns the counters."""
        return {
            "replay_form": dict(self.replay_form),
            "env_steps": self.env_steps,
            "frames": self.frames,
            "learner_steps": self.learner_steps,
            "episodes": self.episodes,
            "elapsed_s": self.total_s,
            "sessions": self.sessions + 1,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "evaluation_step": self.evaluation_step,
            "evaluation_return": self.evaluation_return,
            "unevaluated": sorted(self.unevaluated),
            "seen_env_steps": self.seen_env_steps,
            "steps_left": self.steps_left,
        }

    def load(self, saved: Saved) -> None:
        """Goes on from `save`."""
        counts = check_tree(dict(saved), _Counts)
        for name, value in counts:
            setattr(self, name, value)
        self.unevaluated = set(counts.unevaluated)
        self.returns = deque(counts.returns, maxlen=_WINDOW)
        self.lengths = deque(counts.lengths, maxlen=_WINDOW)

    def _is_late(self) -> bool:
        every_s = self.run.checkpoint_every_s
        return bool(every_s) and time.monotonic() - self.checkpoint_at >= every_s

    def _at(self, every: int) -> bool:
        return bool(every) and self.learner_steps > 0 and self.learner_steps % every == 0
