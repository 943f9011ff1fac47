"""A training in one process: an algorithm on its example, collecting and learning in the order of the runtime.

It has no supervisor, no limiter and no checkpoints; what the runtime does with an algorithm is all here: an actor
decides, environments step, a writer cuts, a table or a queue takes, a learner steps, the actor is given its weights.

Shape legend: E environments of a rank.
"""

import copy
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from rlsys.actor import Actor
from rlsys.api import Algorithm, Decision, LearnerContext, PolicyContext, ReplayNotReady, Saved, SegmentSpec, TableSpec
from rlsys.config import EnvConfig, read_env
from rlsys.envs.step import StepResult
from rlsys.envs.vector import BatchedEnv
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.table import Table
from rlsys.replay.unrolls import UnrollWriter
from rlsys.replay.writer import SegmentWriter
from rlsys.testing.processes import Process, RankGroup
from rlsys.testing.replay import TableReplay
from rlsys.testing.requirement import require
from rlsys.types import Array, EnvSpec, State, Weights

_ENVIRONMENTS = 3
"""Of each rank, where the algorithm does not say how many there are in all."""
_MOST_DECISIONS = 20_000
"""After so many a learner has what it waits for, or it waits for ever."""


class Rank:
    """One learner rank, and the one worker that collects for it.

    Attributes:
      env: its environments.
      segments, table_spec: as the runtime resolves them.
      policy, learner: the two halves; made from `policy_context` and `learner_context`.
      actor: the policy, and what it remembers.
      replay: what was collected.
      decisions: made so far, over all environments.
      actions: a checksum of all actions that were executed.
      learner_step: updates so far.
    """

    def __init__(
        self, algorithm: Algorithm, section: Any, env_config: EnvConfig, group: RankGroup, rank: int, num_ranks: int
    ) -> None:
        """Builds everything; the first weights act."""
        total = getattr(section, algorithm.environments) if algorithm.environments else _ENVIRONMENTS * num_ranks
        require(total % num_ranks == 0, f"the example's {total} environments can be shared by {num_ranks} ranks")
        self._size = total // num_ranks
        self.env = BatchedEnv(env_config, [100 * rank + index for index in range(self._size)])
        algorithm.check(section, self.env.spec, total, num_ranks)
        self.segments = algorithm.segments(section, self.env.spec).shared_out(total)
        self.table_spec = _table_spec(algorithm.table(section, self.env.spec), self.segments, total)
        self.policy_context = PolicyContext(section, self.env.spec, 1 + rank, rank * self._size, self._size)
        self.learner_context = LearnerContext(
            config=section,
            env=self.env.spec,
            seed=2,
            rank=rank,
            num_ranks=num_ranks,
            batch_size=self.table_spec.batch_size // num_ranks,
            unroll_length=self.segments.length,
            average=lambda tensors: group.average(rank, tensors),
        )
        self._process = Process(1_000 + rank)
        with self._process:
            self.policy = algorithm.make_policy(self.policy_context)
        self.actor = Actor(self.policy, self._size)
        self.learner = algorithm.make_learner(self.learner_context)
        stored = self.segments.stored_env(self.env.spec)
        make_writer = UnrollWriter if self.segments.unroll else SegmentWriter
        self._writer: UnrollWriter | SegmentWriter = make_writer(self.segments, stored, rank, 0, self._size)
        self.replay = TableReplay(_make_table(self.table_spec, stored, self.segments, rank), self._min_size)
        self.decisions = 0
        self.actions = 0
        self.learner_step = 0
        self._completed = np.zeros(self._size, np.int64)
        self._version = -1
        self._asked_turn = 0
        self._collected_turn = -1

    def publish(self) -> None:
        """Acts with the learner's weights from here on, which lie in memory that cannot be written."""
        self._version += 1
        self._asked_turn = self._turn()
        weights = Weights(self._version, self.learner_step, read_only(self.learner.weights()), self._asked_turn)
        self.policy.set_weights(weights)

    def update(self) -> Mapping[str, float]:
        """Collects for as long as it may and must, and learns once."""
        for _ in range(_MOST_DECISIONS):
            is_turn_over = bool(self.segments.on_policy) and self._collected_turn == self._asked_turn
            if not is_turn_over:
                self.collect()
            try:
                metrics = self.learner.step(self.replay)
            except ReplayNotReady as waiting:
                require(
                    not is_turn_over,
                    f"a learner samples what it has asked for; it waits ({waiting}), and turns() is {self._turn()} as "
                    "before",
                )
                continue
            self.learner_step += 1
            if not self.segments.on_policy or self._turn() != self._asked_turn:
                self.publish()
            return metrics
        require(False, f"a learner can sample some day; after {self.decisions:,} decisions it cannot yet")
        raise AssertionError

    def collect(self) -> None:
        """Makes one decision in every environment, and stores what that completes."""
        before = self.actor.state
        with self._process:
            decision = self.actor.decide(self.env.observation, explore=True)
            observation = self.env.observation.copy()
            result = self.env.step(decision.action)
            after = self.actor.observe(result.action, result.reward, result.first)
            completed = self._write(observation, decision, result, before, after)
        for block in completed:
            self.replay.table.insert(block)
            if self.segments.on_policy:
                np.add.at(self._completed, block.environment % self._size, 1)
        if self.segments.on_policy and (self._completed >= self.segments.on_policy).all():
            self._completed -= self.segments.on_policy
            self._collected_turn = self._asked_turn
        self.decisions += self._size
        self.actions = zlib.crc32(result.action.tobytes(), self.actions)

    @property
    def _min_size(self) -> int:
        return 1 if self.segments.unroll else self.table_spec.min_size_to_sample

    def _turn(self) -> int:
        turns = self.learner.turns()
        return self.learner_step if turns is None else turns

    def _write(
        self, observation: Array, decision: Decision, result: StepResult, before: State, after: State
    ) -> list[Any]:
        step: dict[str, Any] = {
            "observation": observation,
            "action": result.action,
            "reward": result.reward,
            "terminated": result.terminated,
            "truncated": result.truncated,
            "extras": {name: decision.extras[name] for name in self.segments.extras},
            "weights_version": self._version,
            "next_observation": result.observation,
        }
        if isinstance(self._writer, UnrollWriter):
            if self.segments.encoded is not None:
                step |= {"observation": decision.encoded, "next_observation": self.policy.encode(result.observation)}
            return list(self._writer.append_batch(**step, state=before))
        extras = self._bootstrap_extras(result, after)
        return list(self._writer.append_batch(**step, priority=decision.priority, bootstrap_extras=extras))

    def _bootstrap_extras(self, result: StepResult, state: State) -> dict[str, Array] | None:
        """Asks the policy about the last observations of truncated episodes, where the algorithm wants that."""
        rows = np.flatnonzero(result.truncated & ~result.terminated)
        if not self.segments.bootstrap_extras or not rows.size:
            return None
        part = {name: value[rows] for name, value in state.items()}
        extras = self.policy.act(result.observation[rows], part, explore=False).extras
        filled = {}
        for name in self.segments.extras:
            filled[name] = np.zeros((self._size, *extras[name].shape[1:]), extras[name].dtype)
            filled[name][rows] = extras[name]
        return filled


class Training:
    """Learner ranks in lockstep.

    Attributes:
      algorithm, section: what trains, with which settings.
      group: of the ranks; whoever lets learners step goes through it.
      env_config: where.
      ranks: each with its worker.
    """

    def __init__(
        self, algorithm: Algorithm, section: Any = None, env_config: EnvConfig | None = None, *, num_ranks: int = 1
    ) -> None:
        """Begins a training.

        Args:
          algorithm: the record.
          section: its settings; None for its defaults with `Algorithm.debug`.
          env_config: the environment; None for `Algorithm.example_env`.
          num_ranks: data-parallel learners.
        """
        self.algorithm = algorithm
        self.section = algorithm.config_type(**algorithm.debug) if section is None else section
        self.env_config = read_env(algorithm.example_env) if env_config is None else env_config
        self.group = RankGroup(num_ranks, seed=0)
        self.ranks = self.group.run(
            lambda rank: Rank(algorithm, self.section, self.env_config, self.group, rank, num_ranks)
        )

    def publish(self) -> None:
        """Lets all act with their learner's weights: once, before the first update."""
        for rank in self.ranks:
            rank.publish()

    def update(self) -> list[Mapping[str, float]]:
        """Does one update of all ranks, and what collecting that takes; returns each one's metrics."""
        for rank in self.ranks:
            rank.replay.batches.clear()
            rank.replay.priorities.clear()
        return self.group.run(lambda rank: self.ranks[rank].update())

    def save(self) -> list[Saved]:
        """Returns copies of what the learners save."""
        return self.group.run(lambda rank: copy.deepcopy(self.ranks[rank].learner.save()))

    def close(self) -> None:
        """Closes the environments."""
        for rank in self.ranks:
            rank.env.close()


def read_only(weights: Mapping[str, Array]) -> dict[str, Array]:
    """Returns weights as the runtime hands them out: in memory that cannot be written."""
    arrays = {name: array.copy() for name, array in weights.items()}
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def _table_spec(spec: TableSpec, segments: SegmentSpec, num_environments: int) -> TableSpec:
    if not segments.on_policy:
        return spec
    turn = segments.on_policy * num_environments
    return replace(spec, max_size=turn, batch_size=turn)


def _make_table(spec: TableSpec, env: EnvSpec, segments: SegmentSpec, rank: int) -> Table | UnrollQueue:
    return UnrollQueue(spec, env, segments) if segments.unroll else Table(spec, env, segments, seed=rank)
