"""Every learner rank keeps what is its own: a run of two that is killed and resumed equals one that was not."""

import time
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsys import registry
from rlsys.api import SequenceQuery, Unrolls
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.checkpoints.part import write_part
from rlsys.config import load
from rlsys.process import use_threads
from rlsys.ranks.distributed import Ranks, meet_here
from rlsys.runs.resolve import resolve
from rlsys.runs.spec import RunSpec
from rlsys.runtime.workers.learner_process import learner_part
from rlsys.runtime.workers.learning import LearnerWorker
from rlsys.types import Array, ArraySpec, Batch, Sequences

_PATIENCE_S = 300.0


class NumberedReplay:
    """Gives out batches that are drawn from its index and their number alone.

    Attributes:
      number: of the next batch.
      told: a checksum of all priorities.
    """

    deadline = 0.0
    turn = -1

    def __init__(self, spec: RunSpec, index: int) -> None:
        """Begins with batch 0."""
        self._spec = spec
        self._index = index
        self.number = 0
        self.told = 0

    def sample(self, size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Returns the next one: of unrolls of `size` environments, or of so many windows."""
        cut = self._spec.cut
        is_whole = isinstance(cut, Unrolls)
        return self._batch(size, cut.length if is_whole else length, is_whole=is_whole, rows=rows)

    def collected(self, unrolls: int, length: int) -> Batch:
        """Returns the next one, of unrolls of this rank's environments."""
        size = unrolls * self._spec.num_environments // self._spec.runtime.learners
        return replace(self._batch(size, length, is_whole=True), turn=self.number)

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Returns the next one, of windows without an end."""
        batch = self._batch(query.batch_size, query.length, is_whole=True)
        of_frames = (slice(None), slice(None), -1) if self._spec.env_spec.num_stack > 1 else ()
        return Sequences(
            observation=batch.observation[of_frames],
            action=batch.action,
            reward=batch.reward,
            terminated=batch.terminated,
            truncated=batch.truncated,
            extras=batch.extras,
            mask=np.ones(batch.reward.shape, np.bool_),
            row=batch.position,
            key=batch.key,
            probability=batch.probability,
            num_items=batch.num_items,
            weights_version=batch.weights_version,
        )

    def _batch(self, size: int, num_rows: int, *, is_whole: bool, rows: Mapping[str, int] | None = None) -> Batch:
        env, cut, number = self._spec.env_spec, self._spec.cut, self.number
        self.number += 1
        rng = np.random.default_rng([self._index, number])

        def shape(name: str) -> tuple[int, int]:
            longest = num_rows + (is_whole and name == "observation")
            return size, longest if rows is None else rows.get(name, longest)

        def drawn(spec: ArraySpec, *axes: int) -> Array:
            largest = 255 if spec.dtype == "uint8" else env.num_actions if spec.dtype == "int64" else 1
            return (rng.random((*axes, *spec.shape)) * largest).astype(spec.dtype)

        return Batch(
            observation=drawn(replace(env.observation, shape=env.policy_observation.shape), *shape("observation")),
            action=drawn(env.action, *shape("action")),
            reward=rng.integers(-1, 2, shape("reward")).astype(np.float32),
            terminated=rng.random(shape("terminated")) < 0.02,
            truncated=np.zeros(shape("truncated"), bool),
            extras={name: drawn(spec, *shape(name)) for name, spec in cut.extras.items()},
            num_rows=np.full(size, num_rows),
            key=np.arange(size) + number * size,
            probability=np.full(size, 0.5 / size),
            num_items=size,
            weights_version=np.zeros(size, np.int64),
            state={name: drawn(spec, size) for name, spec in (cut.state if isinstance(cut, Unrolls) else {}).items()},
            environment=np.arange(size) + self._index * size,
            position=np.full(size, number),
        )

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Notes them."""
        self.told = zlib.crc32(keys.tobytes() + priorities.tobytes(), self.told)

    def save(self) -> dict[str, int]:
        """Returns how far it is."""
        return {"number": self.number, "told": self.told}

    def load(self, saved: Mapping[str, int]) -> None:
        """Goes on from `save`."""
        self.number, self.told = saved["number"], saved["told"]


def learn(
    to_parent: Connection,
    experiment: str,
    settings: list[str],
    rank: int,
    meeting: str,
    folder: Path,
    place: str,
    until: int,
    step: int | None,
) -> None:
    """Lets one rank learn up to an update, from a checkpoint or from the start, save, and go on until it is killed."""
    use_threads(1)
    loaded = load(experiment, overrides=settings)
    spec = resolve(loaded, registry.get_algorithm(loaded.experiment.algorithm, "a test"), num_cpus=2, num_gpus=0)
    replay = NumberedReplay(spec, rank)
    ranks = Ranks(rank, 2, meeting)
    worker = LearnerWorker(spec, replay, lambda packed: None, ranks, is_resumed=step is not None)
    if step is not None:
        parts = Checkpoints(folder, keep=5).open(step)
        saved = parts.read(learner_part(rank))
        replay.load(saved["replay"])
        worker.load(saved["worker"], parts.read("world") if "world" in parts.parts else None)

    def reach(learner_step: int) -> None:
        while worker.learner_step < learner_step and worker.steps_left != 0:
            worker.train(time.monotonic() + 5.0, learner_step)

    reach(until)
    learner, world = worker.save()
    records = write_part(place, learner_part(rank), {"worker": learner, "replay": replay.save()})
    to_parent.send(records + (write_part(place, "world", world) if rank == 0 and world is not None else []))
    reach(until + 1)
    to_parent.send("has learned more, which nobody will know of")
    reach(until + 1_000_000)


def learn_together(experiment: str, settings: list[str], folder: Path, until: int, step: int | None = None) -> None:
    """Lets two ranks learn in processes that are killed when they have learned more than their checkpoint holds."""
    meeting = meet_here()
    processes = get_context("forkserver")
    processes.set_forkserver_preload(["rlsys.runtime.workers.learner_process", "rlsys.nets.trainable"])
    with ExitStack() as cleanup, Checkpoints(folder, keep=5).begin(until) as draft:
        reports = []
        for rank in range(2):
            ours, theirs = processes.Pipe(duplex=False)
            job = (theirs, experiment, settings, rank, meeting, folder, draft.place, until, step)
            process = processes.Process(target=learn, args=job, daemon=True)
            process.start()
            theirs.close()
            cleanup.callback(process.join)
            cleanup.callback(process.kill)
            reports.append(ours)
        for ours in reports:
            assert ours.poll(_PATIENCE_S)
            draft.add(ours.recv())
        draft.commit({})
        for ours in reports:
            assert ours.poll(_PATIENCE_S)
            ours.recv()


@pytest.mark.parametrize(
    ("experiment", "overrides", "half", "whole"),
    [
        ("simple-catch", ["simple.epochs=2", "simple.num_real_env_frames=256"], 7, 12),
        ("impala-cartpole", ["impala.network=elstm", "impala.gradient=rtrl"], 3, 6),
        ("ppo-pendulum", [], 2, 4),
        ("muzero-cartpole", [], 3, 6),
    ],
)
def test_two_ranks_that_are_killed_and_resumed_equal_two_that_were_not(
    experiment: str, overrides: list[str], half: int, whole: int, tmp_path: Path
) -> None:
    settings = ["debug=true", "runtime.learners=2", "runtime.replay_shards=2", "runtime.rollout_workers=2", *overrides]
    learn_together(experiment, settings, tmp_path / "whole", whole)
    learn_together(experiment, settings, tmp_path / "parts", half)
    learn_together(experiment, settings, tmp_path / "parts", whole, half)
    learners: list[dict[str, Any]] = []
    for name in ("learner", "learner-1"):
        one, other = (Checkpoints(tmp_path / run, keep=5).open(whole).read(name) for run in ("whole", "parts"))
        for part in (one, other):  # who goes on publishes anew
            part["worker"].pop("version")
        np.testing.assert_equal(other, one)
        learners.append(one["worker"]["learner"])
    first, second = learners
    own = {"history", "own_rng", "rng", "torch_rng"} & first.keys()
    if "own_rng" in own:
        own.remove("rng")  # draws the minibatches that all ranks share
    for name in own:
        with pytest.raises(AssertionError):
            np.testing.assert_equal(first[name], second[name])
    np.testing.assert_equal(first.get("parameters"), second.get("parameters"))
