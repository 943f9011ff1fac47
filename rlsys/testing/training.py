"""A training in one process: an algorithm on its example, collecting and learning in the order of the runtime.

It has no supervisor, holds no ratio and writes no checkpoints; what the runtime does with an algorithm is all here: a
collector steps, a store takes what that completes, a learner steps, the collector is given its weights.

Shape legend: E environments of a rank.
"""

import copy
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rlsys.actor import Actor
from rlsys.api import Algorithm, LearnerContext, Policy, PolicyContext, ReplayNotReady, Saved, TableSpec, TurnTooSmall
from rlsys.collector import Collector
from rlsys.config import EnvConfig, read_env
from rlsys.envs.vector import BatchedEnv
from rlsys.replay.stores import make_store
from rlsys.testing.processes import Process, RankGroup
from rlsys.testing.replay import StoreReplay
from rlsys.testing.requirement import require
from rlsys.types import Array, Weights

_ENVIRONMENTS = 3
"""Of each rank, where the algorithm does not say how many there are in all."""
_MOST_DECISIONS = 20_000
"""After so many a learner has what it waits for, or it waits for ever."""


class Rank:
    """One learner rank, and the one worker that collects for it.

    Attributes:
      env: its environments.
      cut, store, turns: as the runtime resolves them.
      policy_context, learner_context: what the two halves are made from.
      learner: the learning half.
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
        self.cut, self.store, self.turns = algorithm.replay(section, self.env.spec, total)
        self.policy_context = PolicyContext(section, self.env.spec, 1 + rank, rank * self._size, self._size)
        self.learner_context = LearnerContext(
            config=section,
            env=self.env.spec,
            seed=2,
            rank=rank,
            num_ranks=num_ranks,
            batch_size=self.store.batch_size // num_ranks,
            unroll_length=self.cut.length,
            average=lambda tensors: group.average(rank, tensors),
        )
        self._process = Process(1_000 + rank)
        with self._process:
            policy = algorithm.make_policy(self.policy_context)
        stored = self.cut.stored_env(self.env.spec)
        self._collector = collector = Collector(
            self.env, policy, stored, self.cut, self.turns, worker=rank, incarnation=0, num_environments=total
        )
        self.learner = algorithm.make_learner(self.learner_context)
        free = replace(self.store, samples_per_insert=None) if isinstance(self.store, TableSpec) else self.store
        is_filled_in_turns = self.turns is not None and isinstance(self.store, TableSpec)
        self.replay = StoreReplay(
            make_store(free, stored, self.cut, seed=rank),
            (lambda: collector.rests) if is_filled_in_turns else None,
            range(rank * self._size, (rank + 1) * self._size),
        )
        self._repeated_turns = 0
        self.decisions = 0
        self.actions = 0
        self.learner_step = 0

    @property
    def policy(self) -> Policy:
        """The acting half."""
        return self._collector.policy

    @property
    def actor(self) -> Actor:
        """The same, and what it remembers."""
        return self._collector.actor

    def watch(self, policy: Policy) -> None:
        """Plays with another policy from here on, which remembers nothing yet."""
        self._collector.policy, self._collector.actor = policy, Actor(policy, self._size)

    def publish(self) -> None:
        """Acts with the learner's weights from here on, which lie in memory that cannot be written."""
        arrays = read_only(self.learner.weights())
        self._collector.act_with(Weights(self._collector.version + 1, self.learner_step, arrays, self._turn()))

    def update(self) -> Mapping[str, float]:
        """Collects for as long as it may and must, and learns once."""
        for _ in range(_MOST_DECISIONS):
            rests = self._collector.rests
            if not rests:
                self.collect()
            self.replay.turn = self._collector.asked_turn
            try:
                metrics = self.learner.step(self.replay)
            except TurnTooSmall:
                self._repeated_turns += 1
                self.publish()
                continue
            except ReplayNotReady as waiting:
                require(
                    not rests,
                    "a learner samples what it has asked for, of a queue LearnerContext.batch_size unrolls; it waits "
                    f"({waiting}), and turns() is {self._turn()} as before",
                )
                continue
            self.learner_step += 1
            if self.turns is None or self._turn() != self._collector.asked_turn:
                self.publish()
            return metrics
        require(False, f"a learner can sample some day; after {self.decisions:,} decisions it cannot yet")
        raise AssertionError

    def collect(self) -> None:
        """Makes one decision in every environment, and stores what that completes."""
        with self._process:
            collected = self._collector.step()
        for item in collected.completed:
            self.replay.store.insert(item)
        self.decisions += self._size
        self.actions = zlib.crc32(collected.result.action.tobytes(), self.actions)

    def _turn(self) -> int:
        turns = self.learner.turns()
        return (self.learner_step if turns is None else turns) + self._repeated_turns


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
