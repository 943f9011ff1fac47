"""What runs inside a learner's process; see `processes` for all others."""

import os
import time

import ray
from ray.exceptions import RayError

from rlsys.api import QueueSpec, Saved
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.checkpoints.part import Part, PartsOnTheirWay
from rlsys.checkpoints.storage import FileRecord
from rlsys.metrics.process_stats import ProcessMeter
from rlsys.process import use_threads
from rlsys.ranks.agreed_replay import Agreement
from rlsys.runs.spec import RunSpec
from rlsys.runtime.cluster.placement import Handle
from rlsys.runtime.workers.learning import LearnerReport, LearnerWorker
from rlsys.runtime.workers.remote_queue import RemoteQueue
from rlsys.runtime.workers.remote_replay import RemoteReplay
from rlsys.runtime.workers.remote_weights import RemotePublisher
from rlsys.weights import Echo, Packed

_SERVER_PATIENCE_S = 60.0
_SERVER_PAUSE_S = 0.5


class LearnerProcess:
    """One learner rank with its view of all shards."""

    def __init__(self, spec: RunSpec, rank: int, shards: list[Handle], server: Handle) -> None:
        use_threads(spec.learner_threads)
        self._spec = spec
        self._rank = rank
        self._name = learner_part(rank)
        self._server = server
        self._publisher = RemotePublisher(server)
        self._ranks: Agreement | None = None
        self._worker: LearnerWorker | None = None
        self._replay = _make_replay(spec, rank, shards)
        self._meter = ProcessMeter()
        self._parts = PartsOnTheirWay()

    def meeting(self) -> str:
        """Returns where the ranks can meet, which is with this one."""
        from rlsys.ranks.distributed import meet_at, meet_here

        if self._spec.runtime.address is None:
            return meet_here()
        return meet_at(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]

    def start(self, meeting: str, checkpoints: str, step: int | None, after_version: int) -> int | None:
        """Builds the learner, from a checkpoint if a step is given, and publishes its weights; returns its steps left.

        Versions go on from those that were published before, so that no two weights share one: from the newest that the
        server has, and from `after_version`, which others know even where the server was lost, too.
        """
        from rlsys.ranks.distributed import Ranks  # with torch, which nobody else here needs

        self._ranks = Ranks(self._rank, self._spec.runtime.learners, meeting)
        is_resumed = step is not None
        self._worker = LearnerWorker(self._spec, self._replay, self._publisher, self._ranks, is_resumed=is_resumed)
        if step is not None:
            opened = Checkpoints(checkpoints, keep=1).open(step, parts=[self._name, "world"])
            with opened.loading(self._name) as saved:
                self._worker.load(saved["worker"], opened.read("world") if "world" in opened.parts else None)
                if not self._spec.refills(step):
                    self._replay.load(saved["replay"])
        self._worker.version = max(self._worker.version, after_version, self._published_version())
        self._worker.publish()
        return self._worker.steps_left

    def _published_version(self) -> int:
        """Asks the server, which may be about to come back on another machine."""
        deadline = time.monotonic() + _SERVER_PATIENCE_S
        while True:
            try:
                return int(ray.get(self._server.version.remote(), timeout=_SERVER_PATIENCE_S))
            except RayError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_SERVER_PAUSE_S)

    def train(self, seconds: float, until_step: int, last_version: int | None) -> LearnerReport:
        """Works for about `seconds`, up to a step, or until it has published a version, and reports."""
        worker = self._built()
        worker.train(time.monotonic() + seconds, until_step, last_version)
        report = worker.report()
        report.replay = self._replay.stats()
        report.process_stats = self._meter.take()
        return report

    def publish(self) -> None:
        """Publishes the current weights now; who pulls after that gets them."""
        self._built().publish()
        self._publisher.flush()

    def snapshot(self) -> tuple[Echo, Packed]:
        """Returns the current weights, and before them by what they are known: who evaluates them must echo that."""
        packed = self._built().packed()
        return Echo(packed.version, packed.digest), packed

    def save_to(self, place: str, step: int, committed: int | None) -> None:
        """Begins to write this rank's part of a checkpoint; see `saved`. It goes on to learn as soon as that is copied.

        What all ranks have alike, the world model and the weights that act, is written by the first.
        """
        worker = self._built()
        with worker.saving():
            learner, world = worker.save()
            parts: dict[str, Saved] = {self._name: {"worker": learner, "replay": self._replay.save()}}
            if self._rank == 0:
                parts["weights"] = worker.save_weights()
            if self._rank == 0 and world is not None:
                parts["world"] = world
            copied = [Part.of(name, saved, copy=True) for name, saved in parts.items()]
        self._parts.write(place, *copied)

    def saved(self) -> list[FileRecord] | None:
        """Returns what `save_to` has written, None as long as it writes."""
        return self._parts.records()

    def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()

    def _built(self) -> LearnerWorker:
        assert self._worker is not None, "start() comes first"
        return self._worker


def learner_part(rank: int) -> str:
    """Returns what a rank's part of a checkpoint is called."""
    return f"learner-{rank}" if rank else "learner"


def _make_replay(spec: RunSpec, rank: int, shards: list[Handle]) -> RemoteReplay | RemoteQueue:
    num_ranks = spec.runtime.learners
    if isinstance(spec.store, QueueSpec):
        return RemoteQueue(shards[rank::num_ranks])
    return RemoteReplay(
        shards,
        spec.store,
        rank=rank,
        num_ranks=num_ranks,
        in_flight=spec.runtime.batches_in_flight,
        seed=spec.seeds("sample", rank)[0],
        takes_turns_with=spec.num_rollout_workers if spec.turns is not None else 0,
    )
