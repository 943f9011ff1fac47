"""What runs inside each process: a worker, bound to its remote replay and weights.

These are plain classes with constructor arguments of a few kilobytes, so that a process can be started again at any
time; `program` turns them into Ray actors.
"""

import os
import time
from pathlib import Path

import ray

from rlsys.runtime.checkpoint import Checkpoints, FileRecord, write_part
from rlsys.runtime.distributed import Ranks, free_address
from rlsys.runtime.evaluator import Evaluation, evaluate
from rlsys.runtime.learning import LearnerReport, LearnerWorker
from rlsys.runtime.plan import Plan
from rlsys.runtime.process import use_threads
from rlsys.runtime.remote import Handle, RemoteOutlet, RemotePublisher, RemoteReplay, RemoteWeights
from rlsys.runtime.remote_queue import RemoteQueue
from rlsys.runtime.rollout import RolloutReport, RolloutWorker
from rlsys.runtime.shard import QueueShard, ReplayShard


class RolloutHost:
    """A rollout worker with its outlet to the shards."""

    def __init__(self, plan: Plan, index: int, incarnation: int, shards: list[Handle], server: Handle) -> None:
        use_threads(plan.runtime.rollout_threads)
        self._name = f"rollout-{index}"
        self._worker = RolloutWorker(plan, index, incarnation)
        if plan.segments.unroll:
            # One shard and one call at a time: the unrolls of an environment must arrive in order.
            self._outlet = RemoteOutlet([shards[index % len(shards)]], in_flight=1)
        else:
            self._outlet = RemoteOutlet(shards, plan.runtime.segments_in_flight)
        self._weights = RemoteWeights(server)

    def collect(self, seconds: float) -> RolloutReport:
        """Works for about `seconds` and reports."""
        return self._worker.collect(seconds, self._outlet, self._weights)

    def save_to(self, folder: str) -> list[FileRecord]:
        """Writes the worker's part of a checkpoint."""
        return write_part(Path(folder), self._name, self._worker.save())

    def restore(self, checkpoints: str, step: int) -> None:
        """Goes on from the worker's part of a checkpoint, if it has one there."""
        opened = Checkpoints(Path(checkpoints), keep=1).open(step, parts=[self._name])
        if self._name in opened.parts:
            self._worker.load(opened.read(self._name))

    def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()

    def close(self) -> None:
        """Closes the environments."""
        self._worker.close()


class ShardHost(ReplayShard):
    """A replay shard that, started again by Ray, takes over its part of the last checkpoint."""

    def __init__(self, plan: Plan, index: int) -> None:
        super().__init__(plan, index)
        if ray.get_runtime_context().was_current_actor_reconstructed:
            checkpoints = Checkpoints(plan.folder / "checkpoints", keep=1)
            if checkpoints.list():
                self.load(checkpoints.open("latest", parts=[self.name]).read(self.name))

    async def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()


class QueueHost(QueueShard):
    """A shard of a queue. Started again by Ray it is empty: what it held was learned from, or is made anew."""

    async def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()


class LearnerHost:
    """One learner rank with its view of all shards."""

    def __init__(self, plan: Plan, rank: int, shards: list[Handle], server: Handle) -> None:
        use_threads(plan.learner_threads)
        self._plan = plan
        self._rank = rank
        self._server = server
        self._ranks: Ranks | None = None
        self._worker: LearnerWorker | None = None
        self._replay = _make_replay(plan, rank, shards)

    def address(self) -> str:
        """Returns where the ranks can meet, on this host."""
        return free_address()

    def start(self, address: str, checkpoints: str, step: int | None) -> int:
        """Builds the learner, from a checkpoint if a step is given, and publishes its weights; returns its step."""
        self._ranks = Ranks(self._rank, self._plan.runtime.learners, address)
        publisher = RemotePublisher(self._server)
        self._worker = LearnerWorker(self._plan, self._replay, publisher, self._ranks, is_resumed=step is not None)
        if step is not None:
            saved = Checkpoints(Path(checkpoints), keep=1).open(step, parts=["learner"]).read("learner")
            self._worker.load(saved["worker"])
            self._replay.sampled = saved["sampled"]
        self._worker.publish()
        return self._worker.learner_step

    def train(self, seconds: float, until_step: int) -> LearnerReport:
        """Works for about `seconds`, or up to a step, and reports."""
        worker = self._built()
        worker.train(time.monotonic() + seconds, until_step)
        report = worker.report()
        report.replay = self._replay.stats()
        return report

    def publish(self) -> None:
        """Publishes the current weights now (before an evaluation)."""
        self._built().publish()

    def save_to(self, folder: str) -> list[FileRecord]:
        """Writes the learner's and the weights' parts of a checkpoint; all ranks hold the same, so one rank writes."""
        worker = self._built()
        saved = {"worker": worker.save(), "sampled": self._replay.sampled}
        records = write_part(Path(folder), "learner", saved)
        return records + write_part(Path(folder), "weights", worker.save_weights())

    def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()

    def _built(self) -> LearnerWorker:
        assert self._worker is not None, "start() comes first"
        return self._worker


def _make_replay(plan: Plan, rank: int, shards: list[Handle]) -> RemoteReplay | RemoteQueue:
    num_ranks = plan.runtime.learners
    if plan.segments.unroll:
        return RemoteQueue(shards[rank::num_ranks])
    return RemoteReplay(
        shards,
        plan.table,
        rank=rank,
        num_ranks=num_ranks,
        in_flight=plan.runtime.batches_in_flight,
        seed=plan.seeds("sample", rank)[0],
    )


class EvaluatorHost:
    """Plays whole games with frozen weights, greedily and on the same seeds each time."""

    def __init__(self, plan: Plan, server: Handle) -> None:
        use_threads(plan.runtime.rollout_threads)
        self._plan = plan
        self._weights = RemoteWeights(server)

    def evaluate(self, published: None) -> Evaluation | None:
        """Evaluates the newest weights; None while there are none. `published` only orders the calls."""
        weights = self._weights.newer(-1)
        return None if weights is None else evaluate(self._plan, weights)

    def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()
