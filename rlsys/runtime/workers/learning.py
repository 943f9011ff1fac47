"""The learner worker: draws batches, updates, publishes weights."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from rlsys.api import LearnerContext, QueueSpec, Replay, ReplayNotReady, Saved, SequenceQuery, TurnTooSmall
from rlsys.exports.pretrained import begin_from, read_weights, read_world
from rlsys.files.json_tree import check_tree
from rlsys.metrics.process_stats import ProcessStats
from rlsys.metrics.timing import Stopwatch
from rlsys.ranks.agreed_replay import AgreedReplay, Agreement, Alone, PatientReplay
from rlsys.runs.spec import RunSpec
from rlsys.types import Array, Batch, Sequences, Shown
from rlsys.weights import Packed, Publications, pack

_Drawn = TypeVar("_Drawn", Batch, Sequences)


_STARVED_S = 30.0
"""After so long without a batch of a turn it is asked for again: a part may have been lost with a shard."""


@dataclass
class LearnerReport:
    """What a learner did since its last report.

    Attributes:
      learner_step: updates done in all.
      steps: updates done since the last report.
      metrics: values of each metric, of those of the updates that had it.
      lags: of each item learned from, by how many versions it was older than the newest.
      ages: likewise the updates since the weights that made it, or its targets where these were refreshed.
      spent: seconds waiting for a batch (wait_replay), copying batches to the device (copy), updating (update), sending
        priorities (priorities) and weights (publish); the rest is other.
      process_stats: of its process, where it has one of its own.
      version: newest published version.
      published: version -> digest of what was published since the last report; of rank 0 only.
      waits_for: what it waited for when the time was up; empty if it worked.
      replay: figures of the replay as this learner sees it.
      histograms: arrays whose distributions are shown, with `run.debug_histograms`.
      shown: what there is to see of a world model, with `run.video`.
      steps_left: updates after which the learner has nothing left to do; None: there is no end.
    """

    learner_step: int
    steps: int = 0
    metrics: Mapping[str, Sequence[float]] = field(default_factory=dict)
    lags: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    ages: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    spent: dict[str, float] = field(default_factory=dict)
    process_stats: ProcessStats | None = None
    version: int = -1
    published: dict[int, int] = field(default_factory=dict)
    waits_for: str = ""
    replay: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Array] = field(default_factory=dict)
    shown: dict[str, Shown] = field(default_factory=dict)
    steps_left: int | None = None


class LearnerWorker:
    """Holds one rank's learner. Rank 0 publishes the weights."""

    def __init__(
        self,
        spec: RunSpec,
        replay: PatientReplay,
        publish: Callable[[Packed], None],
        ranks: Agreement | None = None,
        *,
        is_resumed: bool = False,
    ) -> None:
        self._ranks = ranks or Alone()
        self._reports_histograms = spec.run.debug_histograms and self._ranks.rank == 0
        self._reports_films = spec.run.video and self._ranks.rank == 0
        self._every = spec.updates_per_publication
        self._takes_turns = spec.turns is not None
        self._can_starve = self._takes_turns and isinstance(spec.store, QueueSpec)
        device = spec.runtime.learner_device
        self._watch = Stopwatch()
        context = LearnerContext(
            config=spec.section,
            env=spec.env_spec,
            seed=spec.seeds("learner")[0],
            device=device,
            rank=self._ranks.rank,
            num_ranks=self._ranks.num_ranks,
            batch_size=spec.store.batch_size // self._ranks.num_ranks,
            unroll_length=spec.cut.length,
            average=self._ranks.average,
            read_weights=read_weights,
            read_world=read_world,
            is_resumed=is_resumed,
            timed=self._watch.part,
        )
        self._learner = spec.algorithm.make_learner(context)
        if spec.run.init_from is not None and not is_resumed:
            begin_from(self._learner, spec.run.init_from)
        self._patient = replay if self._ranks.num_ranks == 1 else AgreedReplay(replay, self._ranks)
        self._replay = _Watched(self._patient, self._watch)
        self._publish = publish
        self.learner_step = 0
        self.version = -1
        self._turn = 0
        self._repeated_turns = 0
        self._fed_at = time.monotonic()
        self._values: dict[str, list[float]] = {}
        self._lags: list[Array] = []
        self._ages: list[Array] = []
        self._publications = Publications()
        self._report = LearnerReport(0)

    def step(self) -> Mapping[str, float]:
        """Does one update; publishes when that is due. Raises ReplayNotReady where replay has nothing yet."""
        self._patient.turn = self._turn
        try:
            with self._watch.part("update"):
                metrics = self._learner.step(self._replay)
        except TurnTooSmall:
            self._repeat_turn()
            raise
        self._report.steps += 1
        self.learner_step += 1
        self._fed_at = time.monotonic()
        for name, value in metrics.items():
            self._values.setdefault(name, []).append(value)
        for versions in self._replay.take_versions():
            self._lags.append(self.version - versions)
            self._ages.append(self.learner_step - self._publications.steps_of(versions))
        is_due = self._asked_turn() != self._turn if self._takes_turns else self.learner_step % self._every == 0
        if is_due:
            self.publish()
        return metrics

    def train(self, deadline: float, until_step: int, last_version: int | None = None) -> None:
        """Updates until `deadline` (monotonic seconds), until so many updates are done, or a version is published.

        Waits for: replay (minimum size, ratio, a batch on its way). Is unblocked by: inserts of the rollout workers.
        """
        self._report.waits_for = ""
        self._patient.deadline = deadline
        alone = self._ranks.num_ranks == 1
        try:
            while self.learner_step < until_step and (not alone or time.monotonic() < deadline):
                if (last_version is not None and self.version >= last_version) or self.steps_left == 0:
                    break
                self.step()
        except ReplayNotReady as waiting:
            if self._report.steps == 0:
                self._report.waits_for = f"replay: {waiting}"
            if self._can_starve and time.monotonic() - self._fed_at > _STARVED_S:
                self._repeat_turn()

    @property
    def steps_left(self) -> int | None:
        """Updates after which the learner has nothing left to do; None: there is no end."""
        return self._learner.steps_left()

    def report(self) -> LearnerReport:
        """Returns what happened since the last report and starts a new one."""
        report = self._report
        report.learner_step = self.learner_step
        report.version = self.version
        report.spent = self._watch.take()
        report.metrics = self._values
        report.steps_left = self.steps_left
        if self._lags:
            report.lags, report.ages = np.concatenate(self._lags), np.concatenate(self._ages)
        if self._reports_histograms and report.steps:
            report.histograms = dict(self._learner.histograms())
        if self._reports_films:
            report.shown = dict(self._learner.shown())
        self._values, self._lags, self._ages = {}, [], []
        self._report = LearnerReport(self.learner_step)
        return report

    def publish(self) -> None:
        """Publishes the weights as a new version (rank 0 only; the others just count)."""
        self.version += 1
        self._turn = self._asked_turn()
        self._publications.add(self.version, self.learner_step)
        if self._ranks.rank == 0:
            with self._watch.part("publish"):
                packed = self.packed()
                self._report.published[self.version] = packed.digest
                self._publish(packed)

    def packed(self) -> Packed:
        """Returns the current weights under the current version."""
        return pack(self._learner.weights(), self.version, self.learner_step, self._asked_turn())

    def saving(self) -> AbstractContextManager[None]:
        """Returns a context whose time counts as spent on a checkpoint."""
        return self._watch.part("save")

    def save(self) -> tuple[Saved, Saved | None]:
        """Returns the learner and its counters, and its world model, if it has one, which is a part of its own."""
        learner = dict(self._learner.save())
        world = learner.pop("world", None)
        counters = {"learner_step": self.learner_step, "version": self.version, "repeated_turns": self._repeated_turns}
        return {"learner": learner, "publications": self._publications.save(), **counters}, world

    def save_weights(self) -> Saved:
        """Returns what acting needs, for evaluation and play."""
        arrays = dict(self._learner.weights())
        return {"version": self.version, "learner_step": self.learner_step, "arrays": arrays}

    def load(self, saved: Saved, world: Saved | None) -> None:
        """Goes on from `save`."""
        self._learner.load(saved["learner"] if world is None else {**saved["learner"], "world": world})
        self._repeated_turns = check_tree(saved["repeated_turns"], int)
        self.learner_step = check_tree(saved["learner_step"], int)
        self.version = check_tree(saved["version"], int)
        self._publications.load(saved.get("publications", np.array([[self.version, self.learner_step]])))
        self._turn = self._asked_turn()

    def _repeat_turn(self) -> None:
        """Asks for another turn before the next step."""
        self._fed_at = time.monotonic()
        self._repeated_turns += 1
        self.publish()

    def _asked_turn(self) -> int:
        """Returns the newest turn that the learner asked for; one that is asked for again counts as another."""
        turns = self._learner.turns()
        return (self.learner_step if turns is None else turns) + self._repeated_turns


class _Watched:
    """Replay that measures how long its reader waits, and notes with which weights the items were made."""

    def __init__(self, replay: Replay, watch: Stopwatch) -> None:
        self._replay = replay
        self._watch = watch
        self._versions: list[Array] = []

    def take_versions(self) -> list[Array]:
        """Returns the versions of all batches since the last call."""
        versions, self._versions = self._versions, []
        return versions

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Draws a batch."""
        return self._watched(lambda: self._replay.sample(batch_size, length, rows))

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Draws windows of episodes."""
        return self._watched(lambda: self._replay.sequences(query))

    def collected(self, unrolls: int, length: int) -> Batch:
        """Returns what a turn brought."""
        return self._watched(lambda: self._replay.collected(unrolls, length))

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Passes them on."""
        with self._watch.part("priorities"):
            self._replay.update_priorities(keys, priorities)

    def _watched(self, draw: Callable[[], _Drawn]) -> _Drawn:
        with self._watch.part("wait_replay"):
            drawn = draw()
        self._versions.append(drawn.weights_version)
        return drawn
