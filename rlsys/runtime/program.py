"""The topology: which processes there are and who talks to whom. The only file that makes Ray actors.

    RolloutWorker × N ──segments──▶ ReplayShard × S ──batches──▶ LearnerWorker × L ──weights──▶ ParameterServer
         ▲ ▲                            ▲────────── priorities ─────────┘                          │
         │ └ InferenceWorker × M (where rollout workers do not decide themselves) ◀────────────────┤
         └──────────────────────────── newer weights, by reference ◀───────────────────────────────┤
    Evaluator ◀─────────────────────── the weights of an evaluated step ◀──────────────────────────┘
    Supervisor (in the driver): calls every worker for one tick at a time, and learns of all failures that way

    RolloutWorker     waits for the first weights, and for a shard to take its segments (≤ segments_in_flight calls; of
                      a queue one call, while as many unrolls as it has environments may wait for the next).
                      is unblocked by the learner's first publication, and by samples that restore the ratio.
    InferenceWorker   waits for the first weights, and for requests; a request waits for the batch before it.
                      is unblocked by the learner's first publication, and by rollout workers.
    ReplayShard       waits for nothing; an insert waits inside it while replay is ahead of the learner.
                      is unblocked by any reader's call, which says how much was sampled. A queue's inserts wait
                      while it is full, and its readers while it holds less than a batch.
    LearnerWorker     waits for the minimum size, the ratio, and a batch on its way (≤ batches_in_flight calls).
                      is unblocked by inserts.
    ParameterServer   waits for nothing.
    Evaluator         waits for nothing; it plays with the newest published weights when it is called.

Rollout workers, learners and the evaluator are replaced by the supervisor under a restart budget. Shards, inference
workers and the parameter server are restarted by Ray under the same handle, so that nobody has to look for them: a
shard takes over the last checkpoint's rows by itself (one of a queue begins empty), an inference worker pulls weights,
the server is filled by the next publication.
"""

from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group

from rlsys.runtime.hosts import EvaluatorHost, InferenceHost, LearnerHost, QueueHost, RolloutHost, ShardHost
from rlsys.runtime.parameter_server import ParameterServer
from rlsys.runtime.placement import Placement, in_group
from rlsys.runtime.plan import Plan
from rlsys.runtime.remote import Handle


class Program:
    """All processes of one run."""

    def __init__(self, plan: Plan) -> None:
        """Starts the server, the shards and the inference workers, each where `Placement` wants it."""
        self.plan = plan
        self._placement = place = Placement.of_cluster()
        runtime = plan.runtime
        restarts = runtime.worker_restarts
        self.server: Handle = _actor(ParameterServer, num_cpus=0, max_restarts=-1, **place.options("server")).remote()
        kind = QueueHost if plan.segments.unroll else ShardHost
        table_bytes = plan.table.max_bytes // runtime.replay_shards
        shard = _actor(
            kind,
            num_cpus=0,
            max_restarts=restarts,
            max_concurrency=1000,
            **place.options("shard", table_bytes=table_bytes),
        )
        self.shards: list[Handle] = [shard.remote(plan, index) for index in range(runtime.replay_shards)]
        gpus: dict[str, Any] = {"num_gpus": runtime.inference_gpus} if runtime.inference_device == "cuda" else {}
        inference = _actor(
            InferenceHost,
            num_cpus=0,
            max_restarts=restarts,
            max_concurrency=1000,
            **gpus,
            **place.options("inference"),
        )
        self.inference: list[Handle] = [
            inference.remote(plan, index, self.server) for index in range(plan.num_inference_workers)
        ]
        self.learners: list[Handle] = []
        self._learner_group: PlacementGroup | None = None
        self.rollouts: dict[int, Handle] = {}
        self.evaluator: Handle | None = None

    def start_learners(self, step: int | None) -> list[ray.ObjectRef]:
        """Starts all learner ranks, from a checkpoint if a step is given; the references give their learner steps."""
        plan, count = self.plan, self.plan.runtime.learners
        self._kill(self.learners)
        num_gpus = plan.runtime.learner_gpus if plan.runtime.learner_device == "cuda" else 0.0
        options = [{"num_cpus": 0, "num_gpus": num_gpus, **self._placement.options("learner")}]
        if count > 1:
            self._learner_group = self._learner_group or self._placement.group_learners(count, num_gpus)
            options = [in_group(self._learner_group, rank, num_gpus) for rank in range(count)]
        self.learners = [
            _actor(LearnerHost, **options[rank]).remote(plan, rank, self.shards, self.server) for rank in range(count)
        ]
        meeting = self.learners[0].meeting.remote() if count > 1 else ""
        return [host.start.remote(meeting, str(plan.folder / "checkpoints"), step) for host in self.learners]

    def start_rollout(self, index: int, incarnation: int) -> Handle:
        """Starts (again) one rollout worker."""
        inference = self.inference[index % len(self.inference)] if self.inference else None
        options = self._placement.options("rollout")
        host = _actor(RolloutHost, num_cpus=self.plan.runtime.rollout_cpus, **options).remote(
            self.plan, index, incarnation, self.shards, self.server, inference
        )
        self.stop_rollout(index)
        self.rollouts[index] = host
        return host

    def stop_rollout(self, index: int) -> None:
        """Ends one rollout worker, if it is there."""
        if index in self.rollouts:
            self._kill([self.rollouts.pop(index)])

    def start_evaluator(self) -> Handle:
        """Starts (again) the evaluator."""
        if self.evaluator is not None:
            self._kill([self.evaluator])
        options = self._placement.options("evaluator")
        self.evaluator = _actor(EvaluatorHost, num_cpus=0, **options).remote(self.plan, self.server)
        return self.evaluator

    def close(self) -> None:
        """Ends all processes."""
        evaluator = [self.evaluator] if self.evaluator is not None else []
        self._kill([*self.rollouts.values(), *self.inference, *self.learners, *evaluator, *self.shards, self.server])
        if self._learner_group is not None:
            remove_placement_group(self._learner_group)

    @staticmethod
    def _kill(handles: list[Handle]) -> None:
        for handle in handles:
            ray.kill(handle)


def _actor(cls: type, **options: Any) -> Any:
    return ray.remote(cls).options(max_task_retries=0, enable_task_events=False, **options)
