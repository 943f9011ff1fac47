"""What runs inside each process but a learner's: a worker, bound to its remote replay and weights.

These are plain classes with constructor arguments of a few kilobytes, so that a process can be started again at any
time; `program` turns them into Ray actors.
"""

import asyncio
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NoReturn

import ray
from ray.exceptions import RayError

from rlsys.api import Decision
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.checkpoints.part import Part, PartsOnTheirWay
from rlsys.checkpoints.storage import FileRecord
from rlsys.evaluation.evaluator import Evaluation, evaluate
from rlsys.exports.pretrained import weights_in
from rlsys.metrics.process_stats import ProcessMeter
from rlsys.process import use_threads
from rlsys.runs.dataset import segments_of
from rlsys.runs.spec import RunSpec
from rlsys.runtime.cluster.placement import Handle
from rlsys.runtime.workers.inference import InferenceReport, InferenceWorker, Request, next_batch
from rlsys.runtime.workers.outlets import make_outlet
from rlsys.runtime.workers.remote_policy import RemotePolicy
from rlsys.runtime.workers.remote_rows import RemoteRows
from rlsys.runtime.workers.remote_weights import RemoteWeights
from rlsys.runtime.workers.rollout import RefreshWorker, RolloutReport, RolloutWorker
from rlsys.runtime.workers.shard import QueueShard, ReplayShard
from rlsys.types import Array, Weights
from rlsys.weights import Packed, unpack

_FIRST_WEIGHTS_PAUSE_S = 0.05
_ROWS_PATIENCE_S = 0.5


class RolloutProcess:
    """A rollout worker with its outlet to the shards."""

    def __init__(
        self,
        spec: RunSpec,
        index: int,
        incarnation: int,
        shards: list[Handle],
        server: Handle,
        inference: Handle | None = None,
    ) -> None:
        use_threads(spec.runtime.rollout_threads)
        self._name = f"rollout-{index}"
        self._refill = spec.refill
        policy: RemotePolicy | None = None
        if inference is not None:
            policy = RemotePolicy(spec.algorithm.make_policy(spec.policy_context(index, incarnation)), inference)
        self._worker = RolloutWorker(spec, index, incarnation, policy)
        self._outlet = make_outlet(spec, index, shards)
        self._rows = RemoteRows(shards, _ROWS_PATIENCE_S if spec.refreshed_share == 1.0 else 0.0)
        self._weights = policy or RemoteWeights(server)
        self._meter = ProcessMeter()
        self._parts = PartsOnTheirWay()

    def collect(self, seconds: float) -> RolloutReport:
        """Works for about `seconds` and reports."""
        report = self._worker.collect(seconds, self._outlet, self._weights, self._rows)
        report.process_stats = self._meter.take()
        return report

    def save_to(self, place: str, step: int, committed: int | None) -> None:
        """Begins to write the worker's part of a checkpoint; see `saved`."""
        self._parts.write(place, Part.of(self._name, self._worker.save(), copy=True))

    def saved(self) -> list[FileRecord] | None:
        """Returns what `save_to` has written, None as long as it writes."""
        return self._parts.records()

    def restore(self, checkpoints: str, step: int) -> None:
        """Goes on from the worker's part of a checkpoint, if it has one there that fits."""
        if self._refill is not None and self._refill.begins_episodes:
            return
        opened = Checkpoints(checkpoints, keep=1).open(step, parts=[self._name])
        if self._name in opened.parts:
            with opened.loading(self._name) as saved:
                self._worker.load(saved)

    def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()

    def close(self) -> None:
        """Closes the environments."""
        self._worker.close()


class ReanalyseProcess:
    """A reanalyse worker with its view of all shards. Started again by Ray, it pulls the newest weights first."""

    def __init__(self, spec: RunSpec, index: int, shards: list[Handle], server: Handle) -> None:
        use_threads(spec.runtime.rollout_threads)
        self._worker = RefreshWorker(spec, index)
        self._rows = RemoteRows(shards, _ROWS_PATIENCE_S)
        self._weights = RemoteWeights(server)
        self._meter = ProcessMeter()

    def collect(self, seconds: float) -> RolloutReport:
        """Works for about `seconds` and reports."""
        return replace(self._worker.collect(seconds, self._rows, self._weights), process_stats=self._meter.take())

    def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()


class InferenceProcess:
    """An inference worker with its queue of requests. Started again by Ray, it pulls the newest weights first."""

    def __init__(self, spec: RunSpec, index: int, server: Handle) -> None:
        use_threads(spec.runtime.rollout_threads)
        self._runtime = spec.runtime
        self._worker = InferenceWorker(spec, index)
        self._server = server
        self._waiting: deque[tuple[Request, asyncio.Future[Decision]]] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1)  # the policy is used by one thread at a time
        self._serving: asyncio.Task[NoReturn] | None = None
        self._pulling: asyncio.Task[Weights | None] | None = None
        self._decisions_since_pull = 0

    async def act(self, request: Request) -> Decision:
        """Answers one request, with others that arrive meanwhile.

        Waits for: the first weights, and the batch before. Is unblocked by the learner's first publication.
        """
        serving = self._start()
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        self._arrived.set()
        await asyncio.wait((answer, serving), return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else await serving  # which ends by an error only

    async def encode(self, observation: Array) -> Array:
        """See `Policy.encode`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._worker.encode, observation)

    async def version(self) -> int:
        """Returns the version of the weights that decide; -1 before the first."""
        self._start()
        return self._worker.version

    async def report(self) -> InferenceReport:
        """Returns what happened since the last report."""
        return self._worker.report()

    async def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()

    def _start(self) -> asyncio.Task[NoReturn]:
        if self._serving is None:
            self._serving = asyncio.create_task(self._serve())
        return self._serving

    async def _serve(self) -> NoReturn:
        """Takes over newer weights between batches, and answers what is waiting, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self._look_for_weights()
            if self._worker.version < 0:
                await asyncio.sleep(_FIRST_WEIGHTS_PAUSE_S)
                continue
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            count = next_batch((request for request, _ in self._waiting), self._runtime.inference_batch_size)
            batch = [self._waiting.popleft() for _ in range(count)]
            try:
                requests = [request for request, _ in batch]
                decisions = await loop.run_in_executor(self._thread, self._worker.decide, requests)
            except Exception as error:  # noqa: BLE001 - whatever it was, whoever asked must hear of it
                for _, answer in batch:
                    answer.set_exception(error)
                continue
            self._decisions_since_pull += sum(len(request.observation) for request in requests)
            for (_, answer), decision in zip(batch, decisions, strict=True):
                if not answer.cancelled():
                    answer.set_result(decision)

    async def _look_for_weights(self) -> None:
        """Takes over weights that have arrived, and asks for newer ones when that is due; does not wait for them."""
        if self._pulling is not None and self._pulling.done():
            weights, self._pulling = self._pulling.result(), None
            if weights is not None:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._worker.set_weights, weights)
        due = self._worker.version < 0 or self._decisions_since_pull >= self._runtime.weight_sync_frequency
        if due and self._pulling is None:
            self._decisions_since_pull = 0
            self._pulling = asyncio.create_task(self._pull(self._worker.version))

    async def _pull(self, have_version: int) -> Weights | None:
        try:
            publication = await self._server.pull.remote(have_version)
            if publication is None:
                return None
            weights = publication.weights[0]
            return unpack(weights if isinstance(weights, Packed) else await weights)
        except RayError:  # server or owner are away: later
            return None


class ShardProcess(ReplayShard):
    """A replay shard that, started again by Ray, takes over its part of the last checkpoint."""

    def __init__(self, spec: RunSpec, index: int) -> None:
        super().__init__(spec, index)
        if ray.get_runtime_context().was_current_actor_reconstructed:
            checkpoints = Checkpoints(spec.checkpoints, keep=1)
            latest = checkpoints.latest()
            if latest is not None and not spec.refills(latest):
                self.load(checkpoints.open("latest", parts=[self.name]))
            else:
                self._limited.begin_with(segments_of(spec, index))

    async def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()


class QueueProcess(QueueShard):
    """A shard of a queue. Started again by Ray it is empty: what it held was learned from, or is made anew."""

    async def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()


class EvaluatorProcess:
    """Plays whole games with frozen weights, on the same seeds each time."""

    def __init__(self, spec: RunSpec) -> None:
        use_threads(spec.runtime.rollout_threads)
        self._spec = spec
        self._meter = ProcessMeter()

    def evaluate(self, packed: Packed) -> Evaluation:
        """Evaluates the weights of a learner."""
        return self._evaluate(unpack(packed))

    def evaluate_checkpoint(self, checkpoints: str, step: int) -> Evaluation:
        """Evaluates the weights of a checkpoint.

        Raises:
          CheckpointError: there is no such checkpoint, or it is damaged.
        """
        opened = Checkpoints(checkpoints, keep=1).open(step, parts=["weights"])
        return self._evaluate(weights_in(opened))

    def pid(self) -> int:
        """Returns the process id."""
        return os.getpid()

    def _evaluate(self, weights: Weights) -> Evaluation:
        return replace(evaluate(self._spec, weights), process_stats=self._meter.take())
