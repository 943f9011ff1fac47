"""A small SimPLe learner on Catch, and a table of made-up turns."""

from typing import Any

import numpy as np

from rlsys.algorithms.simple import ALGORITHM, SimpleConfig
from rlsys.algorithms.simple.learner import SimpleLearner
from rlsys.algorithms.simple.phases import unrolls_of_turn
from rlsys.algorithms.simple.requirements import cut, store
from rlsys.api import LearnerContext, SequenceQuery
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.replay.table import Table
from rlsys.types import Array, Batch, Segment, Sequences, Source

CATCH = env_spec(EnvConfig(id="catch", stack_states=4, clip_rewards=True))
SMALL = SimpleConfig(**{**ALGORITHM.debug, "epochs": 2, "num_real_env_frames": 128})


class Collected:
    """Replay in whose table a turn lies whenever one is asked for, each of other games, which never end."""

    def __init__(self, config: SimpleConfig = SMALL) -> None:
        self.turns = 0
        self._config = config
        self._cut = cut(config, CATCH)
        self._table = Table(store(config, CATCH), CATCH, self._cut, seed=3)

    def copy(self) -> "Collected":
        """Another with the same rows, and the same draws to come."""
        other = Collected(self._config)
        other.turns = self.turns
        other._table.load(self._table.save())
        return other

    def collected(self, unrolls: int, length: int) -> Batch:
        assert (unrolls, length) == unrolls_of_turn(self._config)
        self.turns += 1
        environments = range(self._config.real_batch_size)
        for environment in environments:
            self._play(environment, unrolls * length)
        return self._table.collected(self.turns, unrolls, length, environments)

    def sequences(self, query: SequenceQuery) -> Sequences:
        return self._table.sequences(query)

    def sample(self, batch_size: int, length: int, rows: Any = None) -> Batch:
        raise AssertionError("single rows are not asked for")

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        raise AssertionError("there are no priorities")

    def _play(self, environment: int, num_rows: int) -> None:
        rng = np.random.default_rng([self.turns, environment])
        frame = rng.integers(0, 256, (num_rows + 1, *CATCH.observation.shape), dtype=np.uint8)
        for first in range(0, num_rows, self._cut.length):
            length = min(self._cut.length, num_rows - first)
            segment = Segment(
                observation=frame[first : first + length + 1],
                action=rng.integers(0, 3, length),
                reward=rng.integers(-1, 2, length).astype(np.float32),
                terminated=np.zeros(length, bool),
                truncated=np.zeros(length, bool),
                extras={name: np.full(length + 1, -1.0, np.float32) for name in ("log_probability", "value")},
                first_item=0,
                num_items=length,
                priority=None,
                weights_version=0,
                source=Source(environment, 0, num_rows * self.turns + first),
                environment=environment,
                episode=self.turns,
                row=first,
                turn=self.turns,
            )
            self._table.insert(segment)


def make_learner(config: SimpleConfig = SMALL, **context: Any) -> SimpleLearner:
    return SimpleLearner(LearnerContext(config, CATCH, seed=0, **context))


def run_to_the_end(learner: SimpleLearner, replay: Collected) -> list[dict[str, float]]:
    metrics = []
    while learner.steps_left():
        metrics.append(dict(learner.step(replay)))
        assert len(metrics) < 100
    return metrics
