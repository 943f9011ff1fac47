"""What a run will do on given machines: memory, traffic, rates, and which part binds.

With x decisions a second, each part has a share of its capacity to give:

    rollout workers      x ≤ workers · environments / (seconds of a lockstep step, asleep ones included)
    learner              x · updates per decision · seconds of an update ≤ 1
    shards, server, supervisor, inference workers: x · CPU seconds of their calls ≤ 1 each
    cores of a machine   Σ x · CPU seconds of all who share it ≤ cores

The smallest of these bounds is the rate, and its part binds. The samples per insert tie updates to decisions; a queue
gives each unroll once, which is 1 per insert. Who is ahead waits. A table that holds none ties nothing: workers
and learner then share the cores as the operating system divides them, one each.

Costs are those of `calibration`; what Ray's calls cost is what `python benchmarks/scaling.py calls` measured on a
2-core Xeon (docs/scaling.md has the figures).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlsys.api import QueueSpec
from rlsys.errors import ConfigError
from rlsys.forecast.costs import Costs, Footprint
from rlsys.runs.spec import RunSpec
from rlsys.runs.workers import WorkerKind
from rlsys.runtime.cluster.capacity import most_items
from rlsys.runtime.cluster.machine_types import MachineType, homes

_MIB = 2**20
_CALL_S, _ANSWER_S, _SERVE_S = 600e-6, 700e-6, 1200e-6
"""CPU seconds of one call: for who makes it, for the parameter server, and for a shard."""
_COPY_S = 0.6e-9
"""CPU seconds per byte that passes through shared memory, on either side."""
_TICK_S = 600e-6
"""CPU seconds of the supervisor for one report of a worker."""
_RAY_CORES, _IDLE_CORES = 0.05, 0.005
"""Cores that Ray's own processes take on each machine, and its threads in each rollout worker."""
_BUSY = 0.85
"""What is left of a core that several processes share, after switching between them and with colder caches: runs on two
full cores took 9 to 50 % more CPU for a decision than its parts did when they were measured (docs/scaling.md)."""
_SERVER_BYTES, _DRIVER_BYTES = 63 * _MIB, 260 * _MIB
_RAY_BYTES = 420 * _MIB
"""Ray's own processes on a machine, the workers that it keeps ready included, its dashboard not."""
_INLINE_BYTES = 100_000
"""Ray sends less than that within a call; more goes through shared memory."""


@dataclass(frozen=True)
class Memory:
    """Memory of the processes of one kind: how many there are, and the proportional set size of each."""

    kind: str
    count: int
    each_bytes: float


@dataclass(frozen=True)
class Bound:
    """A part, and the decisions per second at which it would be busy all the time."""

    part: str
    env_steps_per_s: float


@dataclass(frozen=True)
class Prediction:
    """What a run will do.

    Attributes:
      memory: of each kind of process.
      replay_bytes: of all stored rows when the table is full, or the budget spent.
      item_bytes: of one item.
      object_store_bytes: of segments, batches and weights on their way.
      traffic: "segments", "batches", "weights" -> bytes per second.
      segment_bytes, batch_bytes, weights_bytes: of one of each.
      cpu_s: part -> CPU seconds of one decision.
      bounds: of all parts, the tightest first: that one binds.
      env_steps_per_s, updates_per_s: the rates; updates are NaN where the learner's device is not here.
      learner_device: where the learner was measured.
      budget_s: seconds until the run's budget is spent.
    """

    memory: tuple[Memory, ...]
    replay_bytes: float
    item_bytes: float
    object_store_bytes: float
    traffic: Mapping[str, float]
    segment_bytes: float
    batch_bytes: float
    weights_bytes: float
    cpu_s: Mapping[str, float]
    bounds: tuple[Bound, ...]
    env_steps_per_s: float
    updates_per_s: float
    learner_device: str
    budget_s: float

    @property
    def binding(self) -> str:
        """The part that binds."""
        return self.bounds[0].part


def predict(spec: RunSpec, costs: Costs, machines: Sequence[MachineType]) -> Prediction:
    """Combines what the parts cost into what the run will do on these machines.

    Raises:
      ConfigError: the memory of the machines is too small for it.
    """
    memory = _memory(spec, costs)
    _check_fits(spec, memory, machines)
    bounds = _Bounds(spec, costs, machines)
    tightest = tuple(sorted(bounds.all(), key=lambda bound: bound.env_steps_per_s))
    rate = tightest[0].env_steps_per_s
    updates = bounds.updates_per_s(rate)
    publications = updates / spec.updates_per_publication
    item_rate = rate * costs.acting.items_per_env_step
    items = most_items(spec)
    traffic = {
        "segments": item_rate / costs.acting.items_per_insert * costs.acting.insert_bytes,
        "batches": updates * spec.runtime.learners * costs.storing.batch_bytes,
        "weights": publications * costs.learning.weights_bytes * sum(found.count for found in machines),
    }
    return Prediction(
        memory=memory,
        replay_bytes=items * costs.storing.item_bytes,
        item_bytes=costs.storing.item_bytes,
        object_store_bytes=_object_store_bytes(spec, costs),
        traffic=traffic,
        segment_bytes=costs.acting.insert_bytes,
        batch_bytes=costs.storing.batch_bytes,
        weights_bytes=costs.learning.weights_bytes,
        cpu_s=bounds.cpu_s,
        bounds=tightest,
        env_steps_per_s=rate,
        updates_per_s=updates,
        learner_device=costs.learning.device,
        budget_s=_budget_s(spec, rate, updates),
    )


class _Bounds:
    """The bounds of all parts."""

    def __init__(self, spec: RunSpec, costs: Costs, machines: Sequence[MachineType]) -> None:
        self._spec = spec
        self._costs = costs
        self._machines = machines
        acting, runtime = costs.acting, spec.runtime
        batch_items = costs.storing.batch_items * runtime.learners
        ratio = spec.store.samples_per_insert
        self.updates_per_env_step = (ratio or 0.0) * acting.items_per_env_step / batch_items
        self._knows_learner = costs.learning.device == runtime.learner_device
        size = spec.environments_per_worker
        inserts = acting.items_per_env_step / acting.items_per_insert
        insert_bytes = inserts * acting.insert_bytes * _COPY_S
        pulls = 1.0 / runtime.weight_sync_frequency
        self._decides_elsewhere = spec.num_inference_workers > 0
        request_s = (_CALL_S if self._decides_elsewhere else acting.act_s) / size
        self._rollout_s = {
            "environments": acting.env_s / size,
            "acting": acting.write_s / size
            + request_s
            + inserts * _CALL_S
            + insert_bytes
            + pulls * (_CALL_S + acting.set_weights_s),
        }
        refreshing = spec.store.refreshing if spec.refreshed_share < 1.0 else None
        refresh_s = refreshing.rows_per_decision * acting.act_s / size if refreshing else 0.0
        self._reanalyse_s = refresh_s if spec.runtime.reanalyse_workers else 0.0
        self._rollout_s |= {"refreshing": refresh_s - self._reanalyse_s} if refresh_s > self._reanalyse_s else {}
        calls = 2 if spec.store.sampler == "prioritized" else 1  # priorities come back in a call of their own
        batch_s = calls * _SERVE_S + costs.storing.sample_s + costs.storing.batch_bytes * _COPY_S
        self._shard_s = (
            inserts * _SERVE_S
            + insert_bytes
            + acting.items_per_env_step * costs.storing.insert_s
            + self.updates_per_env_step * runtime.learners * batch_s
        )
        learning = costs.learning
        publication_s = (learning.pack_s + _CALL_S + learning.weights_bytes * _COPY_S) / spec.updates_per_publication
        self._beside_s = publication_s + calls * _CALL_S + costs.storing.batch_bytes * _COPY_S
        self._learner_s = self.updates_per_env_step * runtime.learners * (learning.step_cpu_s + self._beside_s)
        self._server_s = pulls * _ANSWER_S + self.updates_per_env_step / spec.updates_per_publication * _ANSWER_S
        self._inference_s = (acting.act_s + _SERVE_S) / size if self._decides_elsewhere else 0.0

    @property
    def cpu_s(self) -> dict[str, float]:
        """Part -> CPU seconds of one decision; of a learner, where it was measured on the device that it will have."""
        learning = {"learning": self._learner_s} if self._knows_learner else {}
        elsewhere = {"inference": self._inference_s, "reanalysing": self._reanalyse_s}
        return {**self._rollout_s, "replay": self._shard_s, **elsewhere, **learning}

    def all(self) -> list[Bound]:
        """Returns every bound; of a learner on a device that is not here there is none."""
        spec, acting = self._spec, self._costs.acting
        runtime, size = spec.runtime, spec.environments_per_worker
        own_s = sum(self._rollout_s.values()) * size
        waits_s = acting.sleep_s + (_CALL_S + _SERVE_S + acting.act_s if self._decides_elsewhere else 0.0)
        bounds = [
            Bound(self._part_of_rollouts(), spec.num_rollout_workers * size / (own_s + waits_s)),
            Bound("a shard", runtime.replay_shards / self._shard_s),
            Bound("the parameter server", 1.0 / self._server_s),
        ]
        if self._reanalyse_s and runtime.reanalyse_device == "cpu":
            bounds.append(Bound("reanalyse workers", runtime.reanalyse_workers / self._reanalyse_s))
        if self._decides_elsewhere and runtime.inference_device == "cpu":
            bounds.append(Bound("inference", spec.num_inference_workers / self._inference_s))
        if self.updates_per_env_step and self._knows_learner:
            update_s = self._costs.learning.step_s + self._beside_s
            bounds.append(Bound("the learner", 1.0 / (self.updates_per_env_step * update_s)))
        return bounds + self._of_cores()

    def updates_per_s(self, rate: float) -> float:
        """Returns the updates at so many decisions a second; without a ratio, what a core of its own gives."""
        if self.updates_per_env_step:
            return rate * self.updates_per_env_step
        runtime = self._spec.runtime
        cores = sum(found.cores * found.count for found in homes(self._machines, WorkerKind.LEARNER))
        rivals = runtime.learners + (self._spec.num_rollout_workers if len(self._machines) == 1 else 0)
        return min(1.0, cores / rivals) / (self._costs.learning.step_s + self._beside_s)

    def _part_of_rollouts(self) -> str:
        sleep_s = self._costs.acting.sleep_s / self._spec.environments_per_worker
        spent = {**self._rollout_s, "environments": self._rollout_s["environments"] + sleep_s}
        largest = max(spent, key=lambda part: spent[part])
        return "the environments" if largest == "environments" else largest

    def _of_cores(self) -> list[Bound]:
        """Returns, for each kind of machine with known cores, the rate at which its processes take all of them."""
        bounds = []
        for kind in self._machines:
            shares = self._shares(kind)
            needed_s = sum(shares.values())
            if not kind.cores or not needed_s:
                continue
            idle = self._workers_on(kind) * _IDLE_CORES + self._ticks_on(kind) * _TICK_S
            cores = (kind.cores - _RAY_CORES) * kind.count * _BUSY - idle
            largest = max(shares, key=lambda part: shares[part])
            name = f"the {kind.cores * kind.count} cores of {kind.name}, most of all for {largest}"
            bounds.append(Bound(name, max(0.0, cores) / needed_s))
        return bounds

    def _shares(self, kind: MachineType) -> dict[str, float]:
        """Returns part -> CPU seconds per decision of all decisions that machines of this kind spend."""
        on_cpu = self._spec.runtime.learner_device == "cpu"
        parts: list[tuple[WorkerKind, str, float]] = [
            *((WorkerKind.ROLLOUT, part, seconds) for part, seconds in self._rollout_s.items()),
            (WorkerKind.SHARD, "replay", self._shard_s),
            (WorkerKind.LEARNER, "learning", self._learner_s if on_cpu else 0.0),
            (WorkerKind.INFERENCE, "inference", self._inference_s),
            (WorkerKind.REANALYSE, "reanalysing", self._reanalyse_s),
            (WorkerKind.SERVER, "weights", self._server_s),
        ]
        shares = {}
        for worker, part, seconds in parts:
            there = homes(self._machines, worker)
            if kind in there:
                total = sum(found.cores * found.count for found in there)
                shares[part] = seconds * kind.cores * kind.count / max(1, total)
        return shares

    def _workers_on(self, kind: MachineType) -> float:
        """Returns how many of the rollout workers machines of this kind have."""
        there = homes(self._machines, WorkerKind.ROLLOUT)
        if kind not in there:
            return 0.0
        total = sum(found.cores * found.count for found in there)
        return self._spec.num_rollout_workers * kind.cores * kind.count / max(1, total)

    def _ticks_on(self, kind: MachineType) -> float:
        """Returns the reports per second that the supervisor handles there: it runs on the head, or anywhere."""
        heads = [found for found in self._machines if found.role == "head"] or list(self._machines)
        here = kind is heads[0]
        return (self._spec.num_rollout_workers + 1) / self._spec.runtime.tick_s if here else 0.0


def _memory(spec: RunSpec, costs: Costs) -> tuple[Memory, ...]:
    """Returns the memory of each kind of process on one machine, files that they share divided among them."""
    runtime = spec.runtime
    items = 0 if isinstance(spec.store, QueueSpec) else most_items(spec)
    table_bytes = items * costs.storing.item_bytes / runtime.replay_shards
    workers, learners = spec.num_rollout_workers, runtime.learners
    alike = workers + learners + spec.num_inference_workers + runtime.reanalyse_workers

    def each(footprint: Footprint, sharers: int) -> float:
        return footprint.own_bytes + footprint.shared_bytes / sharers

    acting = each(costs.acting.footprint, alike)
    kinds = [
        Memory(WorkerKind.DRIVER.noun, 1, _DRIVER_BYTES),
        Memory("Ray itself", 1, _RAY_BYTES),
        Memory(WorkerKind.ROLLOUT.noun, workers, acting),
        Memory(WorkerKind.SHARD.noun, runtime.replay_shards, each(costs.storing.footprint, alike) + table_bytes),
        Memory(WorkerKind.LEARNER.noun, learners, each(costs.learning.footprint, alike)),
        Memory(WorkerKind.SERVER.noun, 1, _SERVER_BYTES),
        Memory(WorkerKind.INFERENCE.noun, spec.num_inference_workers, acting),
        Memory(WorkerKind.REANALYSE.noun, runtime.reanalyse_workers, acting),
    ]
    if spec.run.evaluate_every_learner_steps or spec.run.evaluate_every_env_steps:
        kinds.append(Memory(WorkerKind.EVALUATOR.noun, 1, acting))
    return tuple(kind for kind in kinds if kind.count)


_PLACED = {kind.noun: kind for kind in WorkerKind if kind.role and kind is not WorkerKind.SERVER}
"""Kinds whose memory counts on the machines of their role."""


def _check_fits(spec: RunSpec, memory: Sequence[Memory], machines: Sequence[MachineType]) -> None:
    for kind in machines:
        if not kind.memory_bytes:
            continue
        shares = {
            part.kind: part.count * part.each_bytes / sum(found.count for found in homes(machines, _PLACED[part.kind]))
            for part in memory
            if part.kind in _PLACED and kind in homes(machines, _PLACED[part.kind])
        }
        needed = sum(shares.values()) + _RAY_BYTES
        if needed > kind.memory_bytes:
            largest = max(shares, key=lambda part: shares[part])
            raise ConfigError(
                f"{spec.name} needs {needed / 2**30:,.1f} GiB on {kind.name}, {shares[largest] / 2**30:,.1f} of it for "
                f"its processes of the kind '{largest}'; there are {kind.memory_bytes / 2**30:,.1f} GiB. Lower "
                "runtime.rollout_workers or what the table keeps, or take more or larger machines."
            )


def _object_store_bytes(spec: RunSpec, costs: Costs) -> float:
    """Returns the bytes of what is on its way, and of what a full queue holds."""
    runtime = spec.runtime
    segments = spec.num_rollout_workers * runtime.segments_in_flight * costs.acting.insert_bytes
    if isinstance(spec.store, QueueSpec):
        segments = spec.num_rollout_workers * costs.acting.insert_bytes + spec.replay_size * costs.storing.item_bytes
    batches = runtime.learners * runtime.batches_in_flight * costs.storing.batch_bytes
    weights = 2 * costs.learning.weights_bytes
    sizes = {segments: costs.acting.insert_bytes, batches: costs.storing.batch_bytes}
    return weights + sum(total for total, each in sizes.items() if each > _INLINE_BYTES)


def _budget_s(spec: RunSpec, rate: float, updates: float) -> float:
    """Returns the seconds until the first of the run's limits is reached."""
    run, table = spec.run, spec.store
    limits = [run.training_steps / updates + table.min_size_to_sample / rate] if updates else []
    limits += [run.env_steps / rate] if run.env_steps is not None else []
    limits += [60.0 * run.minutes] if run.minutes is not None else []
    return min(limits, default=math.inf)
