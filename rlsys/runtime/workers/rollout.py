"""The rollout worker: steps its environments in lockstep, acts once for all of them and ships segments to replay.

And the reanalyse worker, which has none: it refreshes what replay keeps of stored rows. Without such workers rollout
workers take turns with that.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rlsys.api import Policy, PolicyContext, ReplayNotReady, Saved
from rlsys.collector import Collector, Refresher, Stored
from rlsys.envs.vector import BatchedEnv, GameResult
from rlsys.metrics.process_stats import ProcessStats
from rlsys.metrics.timing import Stopwatch
from rlsys.runs.spec import RunSpec
from rlsys.runs.workers import WorkerKind
from rlsys.types import EpisodeRecord, Item, Weights
from rlsys.viewer.tap import EpisodeTap
from rlsys.weights import NOTHING, Echo, echo

_PAUSE_S, _SHORT_PAUSE_S = 0.05, 0.002


class Outlet(Protocol):
    """Where finished segments go; bounded, so that a full replay holds its workers back."""

    def ready(self, timeout_s: float) -> bool:
        """Waits until more may be offered; False if that took too long."""

    def offer(self, items: Sequence[Item]) -> None:
        """Takes over what was completed."""

    def flush(self) -> None:
        """Sends, as far as nothing is on the way, what waits for more to come; says so again until all is sent."""

    def end_turn(self, worker: int, turn: int) -> None:
        """Lets learners know, once all that was offered has arrived, that a worker has collected its share of a turn.

        Say so again until it is asked for another.
        """

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
    """What a rollout worker, or a reanalyse worker, did since its last report.

    Attributes:
      worker: its index.
      kind: of worker.
      env_steps: decisions, over all its environments.
      refreshed_rows: stored rows that it refreshed.
      games: whole games finished.
      episodes: of its first environment, some that are to be kept.
      means: "rollout/<extra>" -> mean of each scalar that the policy remembers.
      spent: seconds in simulators (env), in the policy (act, refresh), cutting and sending segments (write), and
        waiting for room in replay (wait_replay), for weights (wait_weights) and for rows to refresh (wait_rows); the
        rest is other.
      process_stats: of its process, where it has one of its own.
      acts_with: the weights that act now.
      waits_for: what it waited for when the time was up; empty if it worked.
    """

    worker: int
    kind: WorkerKind = WorkerKind.ROLLOUT
    env_steps: int = 0
    refreshed_rows: int = 0
    games: list[GameResult] = field(default_factory=list)
    episodes: list[EpisodeRecord] = field(default_factory=list)
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
        self._policy = policy or spec.algorithm.make_policy(spec.policy_context(index, incarnation))
        self._watch = Stopwatch()
        seeds = spec.seeds("environment", index, incarnation, count=self._size)
        self._collector = Collector(
            BatchedEnv(spec.env, seeds, first=index * self._size),
            self._policy,
            spec.stored_env,
            spec.cut,
            spec.turns,
            worker=index,
            incarnation=incarnation,
            num_environments=spec.num_environments,
            timed=self._watch.part,
        )
        self._refresher = Refresher(self._policy, spec.store.refreshing, self._watch.part)
        self._tap = EpisodeTap(self._collector.env) if spec.run.kept_episodes and not index else None
        self._steps_since_sync = 0
        self._sums: dict[str, float] = {}
        self._report = RolloutReport(index)

    @property
    def version(self) -> int:
        """Version of the weights that act; -1 before the first."""
        return self._collector.version

    def set_weights(self, weights: Weights) -> None:
        """Acts with these weights from the next step on."""
        self._collector.act_with(weights)

    @property
    def awaits_weights(self) -> bool:
        """True once it has collected its share of a turn, until it is given the weights of another one."""
        return self._collector.rests

    def has_collected(self, turn: int) -> bool:
        """Tells whether it has collected its share of this turn, and of none after it."""
        return self._collector.turn.is_over(turn)

    def step(self) -> Sequence[Item]:
        """Makes one decision in every environment and returns what that completed."""
        collected = self._collector.step()
        with self._watch.part("write"):
            if self._tap is not None:
                self._tap.step(collected.result)
            for name, value in collected.decision.extras.items():
                if value.ndim == 1 and value.dtype.names is None:
                    self._sums[name] = self._sums.get(name, 0.0) + float(value.sum())
        self._report.env_steps += self._size
        self._refresher.decided(self._size)
        self._steps_since_sync += self._size
        self._report.games += collected.result.games
        return collected.completed

    @property
    def owes_rows(self) -> bool:
        """Whether stored rows are to be refreshed before its next step."""
        return self._refresher.is_due

    def refresh(self, stored: Stored, timeout_s: float = 0.0) -> int:
        """Refreshes a batch of the rows that it owes; returns how many, 0 where none came in time or there are none."""
        try:
            num_rows = self._refresher.step(stored, self.version, timeout_s)
        except ReplayNotReady:
            return 0
        self._report.refreshed_rows += num_rows
        self._steps_since_sync += num_rows
        return num_rows

    def collect(self, seconds: float, outlet: Outlet, source: WeightsSource, stored: Stored) -> RolloutReport:
        """Steps for about `seconds`, or waits for what is missing, and reports.

        Waits for: the first weights; after its share of a turn, where collecting and learning take turns, weights that
        learned from it; rows that it is to refresh; replay that takes what was offered.
        Is unblocked by: the learner's publication; replay once its ratio allows inserts.
        """
        deadline = time.monotonic() + seconds
        watch = self._watch
        while (left := deadline - time.monotonic()) > 0:
            with watch.part("wait_weights"):
                self._report.waits_for = self._sync(source)
                if self._report.waits_for:
                    outlet.flush()
                    if self.awaits_weights:
                        outlet.end_turn(self._report.worker, self._collector.asked_turn)
                    time.sleep(min(_SHORT_PAUSE_S if self.awaits_weights else _PAUSE_S, left))
                    continue
            if self.owes_rows:
                if not self.refresh(stored, left) and self.owes_rows:
                    self._report.waits_for = "rows of replay to refresh"
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
        report.acts_with = echo(self.version, self._policy.weights())
        return report

    def report(self) -> RolloutReport:
        """Returns what happened since the last report and starts a new one."""
        report = self._report
        report.means = {f"rollout/{name}": total / report.env_steps for name, total in self._sums.items()}
        report.spent = self._watch.take()
        report.episodes = [] if self._tap is None else self._tap.take()
        self._sums = {}
        self._report = RolloutReport(report.worker, waits_for=report.waits_for)
        return report

    def save(self) -> Saved:
        """Returns environments, policy and unfinished segments."""
        saved = {"steps_since_sync": self._steps_since_sync, "refresher": self._refresher.save()}
        return {**self._collector.save(), **saved}

    def load(self, saved: Saved) -> None:
        """Goes on from `save`, once it is given weights.

        Where simulators cannot be restored, or the worker had another number of them, or a policy with another memory,
        new episodes begin and unfinished ones are lost.
        """
        if self._collector.load(saved):
            self._steps_since_sync = saved["steps_since_sync"]
            self._refresher.load(saved.get("refresher", {"owed": 0.0}))

    def close(self) -> None:
        """Closes the environments."""
        self._collector.env.close()

    def _sync(self, source: WeightsSource) -> str:
        """Asks for newer weights when that is due, and takes over those that have come.

        Returns:
          What is missing before the worker may go on.
        """
        is_due = self.version < 0 or self.awaits_weights
        if not self._collector.turn.is_taken:
            is_due = is_due or self._steps_since_sync >= self._spec.runtime.weight_sync_frequency
        if is_due:
            self._steps_since_sync = 0
        if is_due or source.is_asking:
            weights = source.newer(self.version)
            if weights is not None:
                self.set_weights(weights)
        if self.awaits_weights:
            return "the learner to learn from its unrolls"
        return "the first weights" if self.version < 0 else ""


class RefreshWorker:
    """A policy that refreshes stored rows, as many as replay gives out; without memory but for its random stream."""

    def __init__(self, spec: RunSpec, index: int) -> None:
        size, device = spec.runtime.reanalyse_batch_size, spec.runtime.reanalyse_device
        context = PolicyContext(
            spec.section, spec.env_spec, spec.seeds("reanalyse", index)[0], num_environments=size, device=device
        )
        self._watch = Stopwatch()
        self._policy = spec.algorithm.make_policy(context)
        self._refresher = Refresher(self._policy, spec.store.refreshing, self._watch.part)
        self._index = index
        self._version = -1

    def collect(self, seconds: float, stored: Stored, source: WeightsSource) -> RolloutReport:
        """Refreshes for about `seconds`, or waits for what is missing, and reports.

        Waits for: the first weights; rows, of which there are as many as decisions were made for.
        Is unblocked by: the learner's publication; what rollout workers insert.
        """
        deadline = time.monotonic() + seconds
        report = RolloutReport(self._index, WorkerKind.REANALYSE)
        while (left := deadline - time.monotonic()) > 0:
            with self._watch.part("wait_weights"):
                if (weights := source.newer(self._version)) is not None:
                    self._policy.set_weights(weights)
                    self._version = weights.version
                report.waits_for = "the first weights" if self._version < 0 else ""
                if report.waits_for:
                    time.sleep(min(_PAUSE_S, left))
                    continue
            try:
                report.refreshed_rows += self._refresher.step(stored, self._version, left)
            except ReplayNotReady as waiting:
                report.waits_for = f"replay: {waiting}"
        report.spent = self._watch.take()
        report.acts_with = echo(self._version, self._policy.weights())
        return report
