"""Every learner rank keeps what is its own: a run of two that is stopped and resumed equals one that was not."""

import time
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsys import registry
from rlsys.api import Unrolls
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.checkpoints.part import write_part
from rlsys.checkpoints.storage import FileRecord
from rlsys.config import load
from rlsys.process import use_threads
from rlsys.runs.resolve import resolve
from rlsys.runtime.workers.distributed import Ranks, meet_here
from rlsys.runtime.workers.learning import LearnerWorker
from rlsys.runtime.workers.processes import learner_part
from rlsys.types import Array, ArraySpec, Batch, EnvSpec


class NumberedQueue:
    """Gives out batches that are drawn from its index and their number alone."""

    deadline = 0.0
    turn = -1

    def __init__(self, env: EnvSpec, segments: Unrolls, index: int, number: int) -> None:
        """Goes on with batch `number`."""
        self._env = env
        self._segments = segments
        self._index = index
        self.number = number

    def sample(self, size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Returns the next one, of unrolls of `size` environments."""
        env, segments, number = self._env, self._segments, self.number
        self.number += 1
        rng, shape = np.random.default_rng([self._index, number]), (size, segments.length)

        def drawn(spec: ArraySpec, *axes: int) -> Array:
            largest = 255 if spec.dtype == "uint8" else 1
            return (rng.random((*axes, *spec.shape)) * largest).astype(spec.dtype)

        seen = replace(env.observation, shape=env.policy_observation.shape)
        return Batch(
            observation=drawn(seen, size, segments.length + 1),
            action=rng.integers(0, env.num_actions, shape),
            reward=rng.integers(-1, 2, shape).astype(np.float32),
            terminated=rng.random(shape) < 0.02,
            truncated=np.zeros(shape, bool),
            extras={name: -drawn(spec, *shape) for name, spec in segments.extras.items()},
            num_rows=np.full(size, segments.length),
            key=np.zeros(size, np.int64),
            probability=np.ones(size),
            num_items=size,
            weights_version=np.zeros(size, np.int64),
            state={name: drawn(spec, size) for name, spec in segments.state.items()},
            environment=np.arange(size) + self._index * size,
            position=np.full(size, number),
        )

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        raise AssertionError("a queue has no priorities")


def learn(
    experiment: str,
    settings: list[str],
    rank: int,
    meeting: str,
    folder: Path,
    place: str,
    until: int,
    step: int | None,
) -> list[FileRecord]:
    """Lets one rank learn up to an update, from a checkpoint or from the start; runs in a process of its own."""
    use_threads(1)
    loaded = load(experiment, overrides=settings)
    spec = resolve(loaded, registry.get_algorithm(loaded.experiment.algorithm, "a test"), num_cpus=2, num_gpus=0)
    parts = None if step is None else Checkpoints(folder, keep=5).open(step)
    saved = {} if parts is None else parts.read(learner_part(rank))
    queue = NumberedQueue(spec.env_spec, spec.cut, rank, saved.get("taken", 0))
    ranks = Ranks(rank, 2, meeting)
    worker = LearnerWorker(spec, queue, lambda packed: None, ranks, is_resumed=step is not None)
    if parts is not None:
        worker.load(saved["worker"], parts.read("world") if "world" in parts.parts else None)
    while worker.learner_step < until:
        worker.train(time.monotonic() + 5.0, until)
    ranks.close()
    learner, world = worker.save()
    records = write_part(place, learner_part(rank), {"worker": learner, "taken": queue.number})
    return records + (write_part(place, "world", world) if rank == 0 and world is not None else [])


def learn_together(
    pool: Executor, experiment: str, settings: list[str], folder: Path, until: int, step: int | None = None
) -> None:
    meeting = meet_here()
    with Checkpoints(folder, keep=5).begin(until) as draft:
        ranks = [
            pool.submit(learn, experiment, settings, rank, meeting, folder, draft.place, until, step)
            for rank in range(2)
        ]
        for rank in ranks:
            draft.add(rank.result(timeout=300))
        draft.commit({})


@pytest.mark.parametrize(
    ("experiment", "overrides", "half", "whole"),
    [
        ("simple-catch", ["simple.epochs=2", "simple.num_real_env_frames=256"], 7, 12),
        ("impala-cartpole", ["impala.network=elstm", "impala.gradient=rtrl"], 3, 6),
    ],
)
def test_two_ranks_that_are_stopped_and_resumed_equal_two_that_were_not(
    experiment: str, overrides: list[str], half: int, whole: int, tmp_path: Path
) -> None:
    settings = ["debug=true", "runtime.learners=2", "runtime.replay_shards=2", "runtime.rollout_workers=2", *overrides]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        learn_together(pool, experiment, settings, tmp_path / "whole", whole)
        learn_together(pool, experiment, settings, tmp_path / "parts", half)
        learn_together(pool, experiment, settings, tmp_path / "parts", whole, half)
    learners: list[dict[str, Any]] = []
    for name in ("learner", "learner-1"):
        one, other = (Checkpoints(tmp_path / run, keep=5).open(whole).read(name) for run in ("whole", "parts"))
        for part in (one, other):  # who goes on publishes anew
            part["worker"].pop("version")
        np.testing.assert_equal(other, one)
        learners.append(one["worker"]["learner"])
    first, second = learners
    for own in {"archive", "history", "rng", "torch_rng"} & first.keys():
        with pytest.raises(AssertionError):
            np.testing.assert_equal(first[own], second[own])
    np.testing.assert_equal(first.get("parameters"), second.get("parameters"))
