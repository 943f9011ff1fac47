"""The topology: which processes there are and who talks to whom. The only file that makes Ray actors.

    RolloutWorker × N ──segments──▶ ReplayShard × S ──batches──▶ LearnerWorker × L ──weights──▶ ParameterServer
         ▲ ▲                            ▲────────── priorities ─────────┘                          │
         │ └ InferenceWorker × M (where rollout workers do not decide themselves) ◀────────────────┤
         │   ReanalyseWorker × K ◀──rows, and what was found out about them──▶ ReplayShard × S ◀───┤
         └──────────────────────────── newer weights, by reference ◀───────────────────────────────┤
    Evaluator ◀─────────────────────── the weights of an evaluated step ◀──────────────────────────┘
    Supervisor (in the driver): calls every worker for one tick at a time, and learns of all failures that way

    RolloutWorker     waits for the first weights, and for a shard to take its segments (≤ segments_in_flight calls; of
                      a queue one call, while as many unrolls as it has environments may wait for the next).
                      is unblocked by the learner's first publication, and by samples that restore the ratio. Where
                      collecting and learning take turns it waits for the update that learns from its share, too.
    InferenceWorker   waits for the first weights, and for requests; a request waits for the batch before it.
                      is unblocked by the learner's first publication, and by rollout workers.
    ReanalyseWorker   waits for the first weights, and for rows: enough were refreshed until more come.
                      is unblocked by the learner's first publication, and by inserts.
    ReplayShard       waits for nothing; an insert waits inside it while replay is ahead of the learner, or of
                      reanalyse workers. is unblocked by any reader's call, which says how much was sampled. A queue's
                      inserts wait while it is full, and its readers while it holds less than a batch.
    LearnerWorker     waits for the minimum size, the ratio, and a batch on its way (≤ batches_in_flight calls).
                      is unblocked by inserts.
    ParameterServer   waits for nothing; whoever asks for newer weights than the newest waits inside it.
                      is unblocked by the next publication, or half a minute.
    Evaluator         waits for nothing; it plays with the weights that it is given, those of the step that was due.

Rollout workers, learners and the evaluator are replaced by the supervisor under a restart budget. Shards, inference and
reanalyse workers and the parameter server are restarted by Ray under the same handle, so that nobody has to look for
them: a shard takes over the last checkpoint's rows by itself (one of a queue begins empty), inference and reanalyse
workers pull weights, the server is filled by a publication that the supervisor asks for. `preemption` moves all of
them from machines that are about to be taken away.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group

from rlsys.api import QueueSpec
from rlsys.runs.spec import RunSpec
from rlsys.runs.workers import Worker, WorkerKind
from rlsys.runtime.cluster.cluster_view import ClusterWatch
from rlsys.runtime.cluster.placement import Handle, Placement, in_group
from rlsys.runtime.workers.learner_process import LearnerProcess, learner_part
from rlsys.runtime.workers.parameter_server import ParameterServer
from rlsys.runtime.workers.processes import (
    EvaluatorProcess,
    InferenceProcess,
    QueueProcess,
    ReanalyseProcess,
    RolloutProcess,
    ShardProcess,
)

_MOST_WAITING = 100_000
"""Calls that may wait inside one actor, so that those which would unblock them get in."""


class Program:
    """All processes of one run."""

    def __init__(self, spec: RunSpec) -> None:
        """Starts the server, the shards and the inference workers, each where `Placement` wants it."""
        self.spec = spec
        self._placement = place = Placement.of_cluster()
        runtime = spec.runtime
        self.machines = ClusterWatch()
        self.server: Handle = _actor(
            ParameterServer,
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=_MOST_WAITING,
            **place.options(WorkerKind.SERVER),
        ).remote()
        kind = QueueProcess if isinstance(spec.store, QueueSpec) else ShardProcess
        table_bytes = spec.store.max_bytes // runtime.replay_shards
        shard = _actor(
            kind,
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=_MOST_WAITING,
            **place.options(WorkerKind.SHARD, table_bytes=table_bytes),
        )
        self.shards: list[Handle] = [shard.remote(spec, index) for index in range(runtime.replay_shards)]
        gpus: dict[str, Any] = {"num_gpus": runtime.inference_gpus} if runtime.inference_device == "cuda" else {}
        inference = _actor(
            InferenceProcess,
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=_MOST_WAITING,
            **gpus,
            **place.options(WorkerKind.INFERENCE),
        )
        self.inference: list[Handle] = [
            inference.remote(spec, index, self.server) for index in range(spec.num_inference_workers)
        ]
        gpus = {"num_gpus": runtime.reanalyse_gpus} if runtime.reanalyse_device == "cuda" else {}
        reanalyse = _actor(ReanalyseProcess, num_cpus=0, max_restarts=-1, **gpus, **place.options(WorkerKind.REANALYSE))
        self.reanalysers: list[Handle] = [
            reanalyse.remote(spec, index, self.shards, self.server) for index in range(runtime.reanalyse_workers)
        ]
        self.learners: list[Handle] = []
        self._learner_group: PlacementGroup | None = None
        self.rollouts: dict[int, Handle] = {}
        self.successors: dict[int, Handle] = {}
        self.evaluator: Handle | None = None

    def start_learners(self, step: int | None, after_version: int = -1) -> list[ray.ObjectRef]:
        """Starts all learner ranks, from a checkpoint if a step is given; the references give their steps left.

        Args:
          step: the checkpoint's.
          after_version: their versions come after this one, whatever the parameter server remembers.
        """
        spec, count = self.spec, self.spec.runtime.learners
        self._kill(self.learners)
        num_gpus = spec.runtime.learner_gpus if spec.runtime.learner_device == "cuda" else 0.0
        options = [{"num_cpus": 0, "num_gpus": num_gpus, **self._placement.options(WorkerKind.LEARNER)}]
        if count > 1:
            self._remove_learner_group()  # it may lie on a machine that is about to be taken away
            self._learner_group = self._placement.group_learners(count, num_gpus)
            options = [in_group(self._learner_group, rank, num_gpus) for rank in range(count)]
        self.learners = [
            _actor(LearnerProcess, **options[rank]).remote(spec, rank, self.shards, self.server)
            for rank in range(count)
        ]
        meeting = self.learners[0].meeting.remote() if count > 1 else ""
        return [host.start.remote(meeting, spec.checkpoints, step, after_version) for host in self.learners]

    def start_rollout(self, index: int, incarnation: int) -> Handle:
        """Starts (again) one rollout worker."""
        host = self._make_rollout(index, incarnation)
        self.stop_rollout(index)
        self.rollouts[index] = host
        return host

    def start_successor(self, index: int, incarnation: int) -> Handle:
        """Starts who will take a rollout worker's place; until then both are there."""
        self.successors[index] = self._make_rollout(index, incarnation)
        return self.successors[index]

    def adopt_successor(self, index: int) -> Handle:
        """Puts a rollout worker's successor into its place."""
        host = self.successors.pop(index)
        self.stop_rollout(index)
        self.rollouts[index] = host
        return host

    def stop_successor(self, index: int) -> None:
        """Ends a rollout worker's successor, if it is there."""
        if index in self.successors:
            self._kill([self.successors.pop(index)])

    def stop_rollout(self, index: int) -> None:
        """Ends one rollout worker, and its successor, as far as they are there."""
        self.stop_successor(index)
        if index in self.rollouts:
            self._kill([self.rollouts.pop(index)])

    def stop_evaluator(self) -> None:
        """Ends the evaluator, if it is there."""
        if self.evaluator is not None:
            self._kill([self.evaluator])
        self.evaluator = None

    def start_evaluator(self) -> Handle:
        """Starts (again) the evaluator."""
        self.stop_evaluator()
        options = self._placement.options(WorkerKind.EVALUATOR)
        self.evaluator = _actor(EvaluatorProcess, num_cpus=0, **options).remote(self.spec)
        return self.evaluator

    def workers(self) -> Iterator[tuple[Worker, Handle]]:
        """Yields all workers by kind and index; successors are not counted yet."""
        groups: dict[WorkerKind, Iterable[tuple[int, Handle]]] = {
            WorkerKind.SERVER: [(0, self.server)],
            WorkerKind.SHARD: enumerate(self.shards),
            WorkerKind.INFERENCE: enumerate(self.inference),
            WorkerKind.LEARNER: enumerate(self.learners),
            WorkerKind.REANALYSE: enumerate(self.reanalysers),
            WorkerKind.ROLLOUT: self.rollouts.items(),
        }
        for kind, group in groups.items():
            yield from ((Worker(kind, index), handle) for index, handle in group)
        if self.evaluator is not None:
            yield Worker(WorkerKind.EVALUATOR, 0), self.evaluator

    def writers(self, has_acted: Callable[[int], bool]) -> dict[str, Handle]:
        """Returns name of a part of a checkpoint -> who writes it; of the rollout workers, those that have acted."""
        found = {learner_part(rank): host for rank, host in enumerate(self.learners)}
        found |= {f"replay-{index}": shard for index, shard in enumerate(self.shards)}
        return found | {f"rollout-{index}": host for index, host in self.rollouts.items() if has_acted(index)}

    def needs(self, kind: WorkerKind) -> str:
        """Says what kind of machine a worker can be started on."""
        runtime, cpus, gpus = self.spec.runtime, 0.0, 0.0
        if kind is WorkerKind.ROLLOUT:
            cpus = runtime.rollout_cpus
        elif kind is WorkerKind.LEARNER and runtime.learner_device == "cuda":
            gpus = runtime.learner_gpus
        elif kind is WorkerKind.INFERENCE and runtime.inference_device == "cuda":
            gpus = runtime.inference_gpus
        elif kind is WorkerKind.REANALYSE and runtime.reanalyse_device == "cuda":
            gpus = runtime.reanalyse_gpus
        return self._placement.describe(kind, cpus=cpus, gpus=gpus)

    def has_other_machine(self, kind: WorkerKind) -> bool:
        """Returns whether a machine that stays would take such a worker."""
        labels = self._placement.options(kind).get("label_selector", {})
        return any(
            machine.leaves_at is None and labels.items() <= machine.labels.items()
            for machine in self.machines.view.machines.values()
        )

    def close(self) -> None:
        """Ends all processes."""
        self.machines.close()
        self.stop_evaluator()
        acting = [*self.rollouts.values(), *self.successors.values(), *self.inference, *self.reanalysers]
        self._kill([*acting, *self.learners, *self.shards, self.server])
        self._remove_learner_group()

    def _remove_learner_group(self) -> None:
        if self._learner_group is not None:
            remove_placement_group(self._learner_group)

    def _make_rollout(self, index: int, incarnation: int) -> Handle:
        inference = self.inference[index % len(self.inference)] if self.inference else None
        options = self._placement.options(WorkerKind.ROLLOUT)
        return _actor(RolloutProcess, num_cpus=self.spec.runtime.rollout_cpus, **options).remote(
            self.spec, index, incarnation, self.shards, self.server, inference
        )

    @staticmethod
    def _kill(handles: list[Handle]) -> None:
        for handle in handles:
            ray.kill(handle)


def _actor(cls: type, **options: Any) -> Any:
    return ray.remote(cls).options(max_task_retries=0, enable_task_events=False, **options)
