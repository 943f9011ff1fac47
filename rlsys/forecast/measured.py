"""The parts of a run, each as a process that does its part's work and says what that cost.

They talk through pipes as workers talk through Ray: acting ──segments──▶ storing ──batches──▶ learning.
"""

import abc
import itertools
import pickle
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from rlsys.api import (
    Decision,
    LearnerContext,
    NothingToDraw,
    Policy,
    QueueSpec,
    Segments,
    SequenceQuery,
    TableSpec,
    TurnTooSmall,
    Unrolls,
)
from rlsys.errors import RlsysError, WorkerError
from rlsys.forecast.costs import Acting, Footprint, Learning, Storing
from rlsys.process import use_threads
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.table import Table
from rlsys.runs.spec import RunSpec
from rlsys.runtime.workers.rollout import RolloutWorker
from rlsys.types import Array, Batch, Item, Segment, Sequences, Source, State, UnrollBlock, Weights
from rlsys.weights import Packed, pack, unpack

PATIENCE_S = 180.0
_SMALL_TABLE = 50_000
"""Items of the table that is measured; how many a full one holds does not change what a call costs."""
_WARM_UP = 3
_NUM_BATCHES = 8
_SCHEDULER = Path("/proc/thread-self/schedstat")
"""Linux: nanoseconds on a core, and waiting for one."""


def act(spec: RunSpec, parent: Connection, index: int, shard: Connection | None) -> Acting:
    """Plays until the parent says that it is enough; the first of several sends what it completes to the shard."""
    use_threads(spec.runtime.rollout_threads)
    policy = _Timed(spec.algorithm.make_policy(spec.policy_context(index, 0)))
    worker = RolloutWorker(spec, index, policy=policy)
    packed: Packed = parent.recv()
    worker.set_weights(unpack(packed))
    began = time.process_time()
    worker.set_weights(unpack(packed))
    set_weights_s = time.process_time() - began
    sizes: list[tuple[int, int]] = []
    is_queue = isinstance(spec.store, QueueSpec)
    clocks = total = np.zeros(3)
    for count in itertools.count(-_WARM_UP):
        if count == 0:
            worker.report()
            policy.spent_s, total = 0.0, np.zeros(3)
        if count > 0 and parent.poll():
            break
        clocks = _clocks()
        completed = worker.step()
        total = total + _clocks() - clocks
        if len(sizes) < _NUM_BATCHES:
            # Environments that began together complete segments together; once games have ended they no longer do.
            calls = [completed] if is_queue and completed else [[item] for item in completed]
            sizes += [(len(pickle.dumps(call, 5)), sum(item.num_items for item in call)) for call in calls]
        if completed and shard is not None:
            shard.send(list(completed))
    steps, report = count, worker.report()
    wall_s, cpu_s, late_s = total.tolist()
    rest_s = (cpu_s - policy.spent_s) / steps
    write_s = report.spent.get("write", 0.0)
    written = write_s / max(1e-9, report.spent.get("env", 0.0) + write_s)
    call_bytes, call_items = np.mean(sizes, axis=0) if sizes else (0.0, 1.0)
    return Acting(
        env_s=rest_s * (1.0 - written),
        act_s=policy.spent_s / steps,
        write_s=rest_s * written,
        sleep_s=max(0.0, wall_s - cpu_s - late_s) / steps,
        set_weights_s=set_weights_s,
        items_per_env_step=1.0 / spec.cut.length if is_queue else 1.0,
        items_per_insert=float(call_items),
        insert_bytes=float(call_bytes),
        footprint=Footprint.of_this_process(),
    )


def _clocks() -> Array:
    """Returns seconds: of the wall, of this process's CPU, and in which it could have computed but had no core."""
    try:
        late_s = int(_SCHEDULER.read_text(encoding="utf-8").split()[1]) / 1e9
    except OSError:
        late_s = 0.0
    return np.array([time.perf_counter(), time.process_time(), late_s])


def store(spec: RunSpec, parent: Connection, actor: Connection, learner: Connection) -> Storing:
    """Stores what the actor sends and gives the learner batches as soon as there is anything to draw."""
    store = _Queue(spec) if isinstance(spec.store, QueueSpec) else _Table(spec)
    queries: deque[tuple[str, tuple[Any, ...]]] = deque()
    while True:
        for connection in wait([parent, actor, learner]):
            if connection is parent:
                parent.recv()
                return store.report()
            if connection is actor:
                store.insert(actor.recv())
            else:
                queries.append(learner.recv())
        while queries and store.holds_any and (answer := store.answer(*queries[0])) is not None:
            queries.popleft()
            learner.send(answer)


class _Store(abc.ABC):
    """Times what a shard does. The first calls compile something, so the median counts."""

    def __init__(self, spec: RunSpec) -> None:
        self._insert_s: list[float] = []
        self._sample_s: list[float] = []
        self._batch: tuple[int, int] = (0, 0)
        self.holds_any = False

    def insert(self, items: list[Item]) -> None:
        """Stores what one call brings."""
        for item in items:
            began = time.process_time()
            self._put(item)
            self._insert_s.append((time.process_time() - began) / item.num_items)
        self.holds_any = True

    def answer(self, name: str, arguments: tuple[Any, ...]) -> Batch | Sequences | None:
        """Draws what a method of `rlsys.api.Replay` is asked for; None where that has not come yet."""
        try:
            batch, spent_s = self._draw(name, arguments)
        except (NothingToDraw, TurnTooSmall):
            return None
        self._sample_s.append(spent_s)
        self._batch = (batch.reward.size if name == "sequences" else len(batch.reward), len(pickle.dumps(batch, 5)))
        return batch

    def report(self) -> Storing:
        """Returns what was measured."""
        return Storing(
            insert_s=float(np.median(self._insert_s)),
            sample_s=float(np.median(self._sample_s)),
            item_bytes=self._item_bytes(),
            batch_items=self._batch[0],
            batch_bytes=float(self._batch[1]),
            footprint=Footprint.of_this_process(),
        )

    @abc.abstractmethod
    def _put(self, item: Item) -> None:
        """Stores an item."""

    @abc.abstractmethod
    def _draw(self, name: str, arguments: tuple[Any, ...]) -> tuple[Batch | Sequences, float]:
        """Returns a batch and the CPU seconds that a shard spends on one."""

    @abc.abstractmethod
    def _item_bytes(self) -> float:
        """Returns the bytes of a stored item."""


class _Table(_Store):
    """A small table of the run's rows; whatever it holds makes a batch of any size."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__(spec)
        assert isinstance(spec.store, TableSpec), "segments go into tables"
        assert isinstance(spec.cut, Segments), "segments go into tables"
        small = replace(spec.store, max_size=min(spec.store.max_size, _SMALL_TABLE), initial_size=0, max_bytes=0)
        self._has_priorities = small.sampler == "prioritized"
        self._table = Table(small, spec.stored_env, spec.cut, seed=spec.seeds("replay", 0)[0])
        self._environments = range(spec.environments_per_worker)

    def _put(self, item: Item) -> None:
        assert isinstance(item, Segment)
        self._table.insert(item)

    def _draw(self, name: str, arguments: tuple[Any, ...]) -> tuple[Batch | Sequences, float]:
        began = time.process_time()
        if name == "collected":
            batch = self._table.collected(0, arguments[0], arguments[1], self._environments)
        else:
            batch = getattr(self._table, name)(*arguments)
            if self._has_priorities:
                self._table.update_priorities(batch.key, np.ones(len(batch.key)))
        return batch, time.process_time() - began

    def _item_bytes(self) -> float:
        return self._table.num_bytes / self._table.num_items


class _Queue(_Store):
    """A queue; blocks come again under other names until there is a batch."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__(spec)
        assert isinstance(spec.store, QueueSpec), "unrolls go into queues"
        assert isinstance(spec.cut, Unrolls), "unrolls go into queues"
        self._queue = UnrollQueue(spec.store, spec.stored_env, spec.cut)
        self._blocks: deque[UnrollBlock] = deque(maxlen=2 * _NUM_BATCHES)
        self._names = itertools.count()

    def _put(self, item: Item) -> None:
        assert isinstance(item, UnrollBlock)
        self._blocks.append(item)
        if not self._queue.waits_for_room(item):
            self._queue.insert(replace(item, source=Source(0, 0, next(self._names))))

    def _draw(self, name: str, arguments: tuple[Any, ...]) -> tuple[Batch, float]:
        batch_size = arguments[0]
        while self._queue.num_items < batch_size:
            self._queue.insert(replace(self._blocks[0], source=Source(0, 0, next(self._names))))
            self._blocks.rotate(-1)
        began = time.process_time()
        return self._queue.sample(batch_size), time.process_time() - began

    def _item_bytes(self) -> float:
        return float(np.mean([len(pickle.dumps(block, 5)) / block.num_items for block in self._blocks]))


def learn(spec: RunSpec, parent: Connection, shard: Connection, seconds: float) -> Learning:
    """Publishes the first weights to the parent, and updates from the shard's batches for so long."""
    use_threads(spec.learner_threads)
    import torch

    device = spec.runtime.learner_device if torch.cuda.is_available() else "cpu"
    ranks, seed = spec.runtime.learners, spec.seeds("learner")[0]
    size = spec.store.batch_size // ranks
    context = LearnerContext(spec.section, spec.env_spec, seed, device=device, num_ranks=ranks, batch_size=size)
    learner = spec.algorithm.make_learner(context)
    parent.send(pack(learner.weights(), 0, 0))
    replay = _Batches(shard)
    for _ in range(_NUM_BATCHES):
        learner.step(replay)
    walls: list[float] = []
    cpu, until = time.process_time(), time.perf_counter() + seconds
    while len(walls) < _WARM_UP or time.perf_counter() < until:
        began = time.perf_counter()
        learner.step(replay)
        walls.append(time.perf_counter() - began)
    step_s, cpu_s = float(np.median(walls)), (time.process_time() - cpu) / len(walls)
    began = time.process_time()
    packed = pack(learner.weights(), 0, 0)
    return Learning(
        step_s=step_s if device == "cuda" else min(step_s, cpu_s),  # on a CPU it waits for nothing but a core
        step_cpu_s=cpu_s,
        device=device,
        pack_s=time.process_time() - began,
        weights_bytes=float(packed.buffer.nbytes),
        footprint=Footprint.of_this_process(),
    )


class _Batches:
    """What a measured learner samples from: the first batches of each kind come from the shard, and then come again."""

    def __init__(self, shard: Connection) -> None:
        self._shard = shard
        self._batches: dict[str, deque[Any]] = {}

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Returns a batch; waits for it at first."""
        batch: Batch = self._asked("sample", batch_size, length, rows)
        return batch

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Returns windows of episodes, likewise."""
        windows: Sequences = self._asked("sequences", query)
        return windows

    def collected(self, unrolls: int, length: int) -> Batch:
        """Returns what a turn brought, likewise."""
        batch: Batch = self._asked("collected", unrolls, length)
        return batch

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Leaves them alone: the shard has timed its own."""

    def _asked(self, name: str, *arguments: Any) -> Any:
        batches = self._batches.setdefault(f"{name} {arguments}", deque())
        if len(batches) < _NUM_BATCHES:
            self._shard.send((name, arguments))
            batches.append(received(self._shard, "a batch"))
        batches.rotate(-1)
        return batches[-1]


class _Timed(Policy):
    """A policy whose decisions are timed."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.spent_s = 0.0

    def initial_state(self, batch_size: int) -> State:
        """See `Policy`."""
        return self._policy.initial_state(batch_size)

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """See `Policy`."""
        began = time.process_time()
        decision = self._policy.act(observation, state, explore=explore)
        self.spent_s += time.process_time() - began
        return decision

    def encode(self, observation: Array) -> Array:
        """See `Policy`."""
        began = time.process_time()
        encoded = self._policy.encode(observation)
        self.spent_s += time.process_time() - began
        return encoded

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """See `Policy`."""
        return self._policy.after_step(state, action, reward)

    def set_weights(self, weights: Weights) -> None:
        """See `Policy`."""
        self._policy.set_weights(weights)

    def weights(self) -> Mapping[str, Array]:
        """See `Policy`."""
        return self._policy.weights()


def received(connection: Connection, what: str) -> Any:
    """Returns what comes through a connection.

    Raises:
      RlsysError: an error came, or nothing within three minutes.
    """
    if not connection.poll(PATIENCE_S):
        raise WorkerError(f"{what} did not come within {PATIENCE_S:.0f} s. Run with --inline to see what is slow.")
    try:
        message = connection.recv()
    except EOFError:
        raise WorkerError(f"{what} did not come: its process is gone. Run with --inline to see why.") from None
    if isinstance(message, RlsysError):
        raise message
    return message
