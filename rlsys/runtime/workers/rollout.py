"""The rollout worker: steps its environments in lockstep, acts once for all of them and ships segments to replay."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from rlsys.actor import Actor
from rlsys.api import Decision, Policy, Saved
from rlsys.envs.vector import BatchedEnv, GameResult, StepResult
from rlsys.metrics.process_stats import ProcessStats
from rlsys.metrics.timing import Stopwatch
from rlsys.replay.unrolls import UnrollWriter
from rlsys.replay.writer import SegmentWriter
from rlsys.runs.spec import RunSpec
from rlsys.runtime.workers.turn import Turn
from rlsys.types import Array, Segment, State, Unrolls, Weights
from rlsys.weights import NOTHING, Echo, echo

_PAUSE_S, _SHORT_PAUSE_S = 0.05, 0.002


class Outlet(Protocol):
    """Where finished segments go; bounded, so that a full replay holds its workers back."""

    def ready(self, timeout_s: float) -> bool:
        """Waits until more may be offered; False if that took too long."""

    def offer(self, items: Sequence[Segment | Unrolls]) -> None:
        """Takes over segments, or blocks of unrolls."""

    def flush(self) -> None:
        """Sends, as far as nothing is on the way, what waits for more to come; says so again until all is sent."""

    def waits_for(self) -> str:
        """Says what `ready` waits for."""


class WeightsSource(Protocol):
    """Where newer weights come from."""

    @property
    def is_asking(self) -> bool:
        """True while an answer to `newer` is on its way: ask again."""

    def newer(self, have_version: int) -> Weights | None:
        """Returns weights newer than `have_version`; None where there are none, or not yet."""


@dataclass
class RolloutReport:
    """What a rollout worker did since its last report.

    Attributes:
      worker: its index.
      env_steps: decisions, over all its environments.
      games: whole games finished.
      means: "rollout/<extra>" -> mean of each scalar that the policy remembers.
      spent: seconds in simulators (env), in the policy (act), cutting and sending segments (write), and waiting for
        room in replay (wait_replay) and for weights (wait_weights); the rest is other.
      process_stats: of its process, where it has one of its own.
      acts_with: the weights that act now.
      waits_for: what it waited for when the time was up; empty if it worked.
    """

    worker: int
    env_steps: int = 0
    games: list[GameResult] = field(default_factory=list)
    means: dict[str, float] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    process_stats: ProcessStats | None = None
    acts_with: Echo = NOTHING
    waits_for: str = ""


class RolloutWorker:
    """Holds E environments, a policy and what is not yet shipped of each episode.

    `step` is one decision in every environment and is deterministic given the worker's state; `collect` repeats it
    against an outlet and a source of weights.
    """

    def __init__(self, spec: RunSpec, index: int, incarnation: int = 0, policy: Policy | None = None) -> None:
        """Builds environments and, unless one is given that decides elsewhere, a policy."""
        self._spec = spec
        self._size = spec.environments_per_worker
        self._env = BatchedEnv(spec.env, spec.seeds("environment", index, incarnation, count=self._size))
        self._policy = policy or spec.algorithm.make_policy(spec.policy_context(index, incarnation))
        self._actor = Actor(self._policy, self._size)
        make_writer = UnrollWriter if spec.segments.unroll else SegmentWriter
        self._writer: UnrollWriter | SegmentWriter = make_writer(
            spec.segments, spec.stored_env, index, incarnation, self._size
        )
        self._version = -1
        self._steps_since_sync = 0
        self._asked_turn = -1
        self._turn = Turn(spec.segments.on_policy, self._size)
        self._sums: dict[str, float] = {}
        self._report = RolloutReport(index)
        self._watch = Stopwatch()

    @property
    def version(self) -> int:
        """Version of the weights that act; -1 before the first."""
        return self._version

    def set_weights(self, weights: Weights) -> None:
        """Acts with these weights from the next step on."""
        self._policy.set_weights(weights)
        self._version = weights.version
        self._asked_turn = weights.turn

    @property
    def awaits_weights(self) -> bool:
        """True once it has collected its share of a turn, until it is given the weights of another one."""
        return self._turn.is_over(self._asked_turn)

    def step(self) -> Sequence[Segment | Unrolls]:
        """Makes one decision in every environment and returns the segments, or blocks of unrolls, that it completed."""
        with self._watch.part("act"):
            before = self._actor.state
            decision = self._actor.decide(self._env.observation, explore=True)
        if decision.weights_version is not None:
            self._version = decision.weights_version
        with self._watch.part("env"):
            observation = self._env.observation.copy()
            result = self._env.step(decision.action)
        with self._watch.part("write"):
            after = self._actor.observe(result.action, result.reward, result.first)
            completed = self._write(observation, decision, result, before, after)
            for name, value in decision.extras.items():
                if value.ndim == 1 and value.dtype.names is None:
                    self._sums[name] = self._sums.get(name, 0.0) + float(value.sum())
            self._turn.collected(completed, self._asked_turn)
        self._report.env_steps += self._size
        self._steps_since_sync += self._size
        self._report.games += result.games
        return completed

    def _write(
        self, observation: Array, decision: Decision, result: StepResult, before: State, after: State
    ) -> Sequence[Segment | Unrolls]:
        """Cuts what one step brought; the policy's state is that before the decision, and after the step."""
        if isinstance(self._writer, UnrollWriter):
            next_observation = result.observation
            if decision.encoded is not None:
                observation = decision.encoded
                rows = self._writer.rows_that_look_ahead(result.truncated)
                next_observation = np.zeros_like(observation)
                if len(rows):
                    next_observation[rows] = self._policy.encode(result.observation[rows])
            return self._writer.append_batch(
                observation=observation,
                action=result.action,
                reward=result.reward,
                terminated=result.terminated,
                truncated=result.truncated,
                extras=decision.extras,
                state=before,
                weights_version=self._version,
                next_observation=next_observation,
            )
        return self._writer.append_batch(
            observation=observation,
            action=result.action,
            reward=result.reward,
            terminated=result.terminated,
            truncated=result.truncated,
            extras=decision.extras,
            priority=decision.priority,
            weights_version=self._version,
            next_observation=result.observation,
            bootstrap_extras=self._bootstrap_extras(result, after),
        )

    def collect(self, seconds: float, outlet: Outlet, source: WeightsSource) -> RolloutReport:
        """Steps for about `seconds`, or waits for what is missing, and reports.

        Waits for: the first weights; after its share of a batch, where collecting and learning take turns, weights that
        learned from it; replay that takes what was offered.
        Is unblocked by: the learner's publication; replay once its ratio allows inserts.
        """
        deadline = time.monotonic() + seconds
        watch = self._watch
        while (left := deadline - time.monotonic()) > 0:
            with watch.part("wait_weights"):
                self._report.waits_for = self._sync(source)
                if self._report.waits_for:
                    outlet.flush()
                    time.sleep(min(_SHORT_PAUSE_S if self.awaits_weights else _PAUSE_S, left))
                    continue
            with watch.part("wait_replay"):
                if not outlet.ready(min(left, _PAUSE_S) if source.is_asking else left):
                    self._report.waits_for = outlet.waits_for()
                    # Who waits goes on with newer weights.
                    self._steps_since_sync = self._spec.runtime.weight_sync_frequency
                    continue
            if completed := self.step():
                with watch.part("write"):
                    outlet.offer(completed)
        report = self.report()
        report.acts_with = echo(self._version, self._policy.weights())
        return report

    def report(self) -> RolloutReport:
        """Returns what happened since the last report and starts a new one."""
        report = self._report
        report.means = {f"rollout/{name}": total / report.env_steps for name, total in self._sums.items()}
        report.spent = self._watch.take()
        self._sums = {}
        self._report = RolloutReport(report.worker, waits_for=report.waits_for)
        return report

    def save(self) -> Saved:
        """Returns environments, policy and unfinished segments."""
        return {
            "env": self._env.save(),
            "policy": self._policy.save(),
            "state": dict(self._actor.state),
            "writer": self._writer.save(),
            "steps_since_sync": self._steps_since_sync,
            "turn": self._turn.save(),
        }

    def load(self, saved: Saved) -> None:
        """Goes on from `save`, once it is given weights.

        Where simulators cannot be restored, or the worker had another number of them, or a policy with another memory,
        new episodes begin and unfinished ones are lost.
        """
        if not self._fits(saved):
            return
        self._policy.load(saved["policy"])
        self._steps_since_sync = saved["steps_since_sync"]
        self._turn.load(saved["turn"])
        if self._env.load(saved["env"]).all():
            self._writer.load(saved["writer"])
            self._actor.state = {name: np.array(value) for name, value in saved["state"].items()}

    def _fits(self, saved: Saved) -> bool:
        state = {name: np.shape(value) for name, value in saved["state"].items()}
        return saved["env"]["num_environments"] == self._size and state == {
            name: np.shape(value) for name, value in self._actor.state.items()
        }

    def close(self) -> None:
        """Closes the environments."""
        self._env.close()

    def _sync(self, source: WeightsSource) -> str:
        """Asks for newer weights when that is due, and takes over those that have come.

        Returns:
          What is missing before the worker may go on.
        """
        is_due = self._version < 0 or self.awaits_weights
        if not self._turn.unrolls:
            is_due = is_due or self._steps_since_sync >= self._spec.runtime.weight_sync_frequency
        if is_due:
            self._steps_since_sync = 0
        if is_due or source.is_asking:
            weights = source.newer(self._version)
            if weights is not None:
                self.set_weights(weights)
        if self.awaits_weights:
            return "the learner to learn from its unrolls"
        return "the first weights" if self._version < 0 else ""

    def _bootstrap_extras(self, result: StepResult, state: State) -> dict[str, Array] | None:
        """Asks the policy about the last observations of truncated episodes, where the algorithm wants that."""
        if not self._spec.segments.bootstrap_extras:
            return None
        rows = (result.truncated & ~result.terminated).nonzero()[0]
        if not rows.size:
            return None
        part = {name: value[rows] for name, value in state.items()}
        decision = self._policy.act(result.observation[rows], part, explore=False)
        filled = {}
        for name, value in decision.extras.items():
            filled[name] = np.zeros((self._size, *value.shape[1:]), value.dtype)
            filled[name][rows] = value
        return filled
