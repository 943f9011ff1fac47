"""The learner's end of a sharded table."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import ray
from ray.exceptions import RayError

from rlsys.api import NothingToDraw, ReplayNotReady, Saved, SequenceQuery, TableSpec, TurnTooSmall
from rlsys.errors import ReplayError
from rlsys.files.json_tree import check_tree
from rlsys.replay.limiter import RateLimiter
from rlsys.runtime.cluster.placement import Handle
from rlsys.runtime.workers.queries import ItemQuery, Query, WindowQuery, joined
from rlsys.runtime.workers.shard import ShardStatus, total_stats
from rlsys.types import Array, Batch, Sequences

_SHARD_SHIFT = 48
"""Keys of a sharded table: the shard's index in the high bits, the shard's own key in the low 48."""
_RETRY_S = 0.2
_TURN_PAUSE_S = 0.02
_PATIENCE_S = 60.0
_LOOK_AGAIN_S = 1.0
_MOST_QUERIES = 8
"""Kinds of batches that are asked for in advance."""


@dataclass
class _Draw:
    """One batch on its way: a thread asks for it, and puts it together, while the learner computes.

    Attributes:
      shards: that are asked.
      share: what fraction of the mass each of them is given.
      asked: the shards' answers to come: their parts, each with the shard's numbers.
      received: the whole batch, or None where a shard could not serve it, and the numbers.
    """

    shards: list[int]
    share: list[float]
    asked: Future[list[ray.ObjectRef]]
    received: Future[tuple[Any, list[ShardStatus]]] | None = None

    def receive(self) -> tuple[Any, list[ShardStatus]]:
        """Waits for the answers; returns what becomes `received`."""
        answers = ray.get(self.asked.result(), timeout=_PATIENCE_S)
        parts = []
        for index, share, (part, _) in zip(self.shards, self.share, answers, strict=True):
            if part is not None:
                part.key = part.key | (index << _SHARD_SHIFT)
                part.probability = part.probability * share
                parts.append(part)
        whole = joined(parts) if len(parts) == len(self.shards) else None
        return whole, [status for _, status in answers]


class RemoteReplay:
    """Draws batches from all shards as if they were one table; implements `rlsys.api.Replay` for one learner rank.

    Strata are cut over the mass of all shards together and sent to the shard they fall into, so an item's probability
    is that of one big table up to the age of the masses; the probability that is reported is the exact one of the draw.
    A thread asks for batches in advance and puts them together. Waits for: the minimum size, the ratio, a batch on
    its way; never past `deadline` (monotonic seconds).
    """

    def __init__(
        self,
        shards: Sequence[Handle],
        spec: TableSpec,
        *,
        rank: int,
        num_ranks: int,
        in_flight: int,
        seed: int,
        takes_turns_with: int = 0,
    ) -> None:
        """Takes a rank's end of the shards.

        Args:
          shards: all of them.
          spec: of the whole table.
          rank: of this learner.
          num_ranks: of all.
          in_flight: batches that are asked for in advance.
          seed: of this rank's draws.
          takes_turns_with: rollout workers, all of which must have collected a turn before it is drawn from; 0: none.
        """
        self._shards = shards
        self._num_workers = takes_turns_with
        self._limiter = RateLimiter(spec)
        self._rank = rank
        self._num_ranks = num_ranks
        self._bound = in_flight
        self._rng = np.random.default_rng(seed)
        self._statuses: list[ShardStatus] = []
        self._asked_mass: dict[WindowQuery, list[float]] = {}
        self._look_again_at = 0.0
        self._draws: dict[Query, deque[_Draw]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._updates: deque[list[ray.ObjectRef]] = deque()
        self._sampled = 0
        self._turn = -1
        self.deadline = float("inf")

    @property
    def turn(self) -> int:
        """Where there are turns: the one that samples wait for; what was asked for before is drawn anew."""
        return self._turn

    @turn.setter
    def turn(self, turn: int) -> None:
        if self._num_workers and turn != self._turn:
            for query in self._draws:
                self._forget(query)
        self._turn = turn

    def save(self) -> Saved:
        """Returns how many items this rank has asked for, and its random state; not what is on its way."""
        return {"sampled": self._sampled, "rng": self._rng.bit_generator.state}

    def load(self, saved: Saved) -> None:
        """Goes on from `save`."""
        self._sampled = check_tree(saved["sampled"], int)
        self._rng.bit_generator.state = saved["rng"]

    def stats(self) -> dict[str, float]:
        """Returns the sums over all shards of their figures, the ratio and the depth of the prefetch queue."""
        stats = total_stats(self._statuses)
        stats["inserted"] = float(self._limiter.inserted)
        stats["sampled"] = float(self._limiter.sampled)
        stats["samples_per_insert"] = self._limiter.sampled / max(1, self._limiter.inserted)
        stats["batches_in_flight"] = float(sum(len(draws) for draws in self._draws.values()))
        return stats

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Draws windows from all shards; see `rlsys.api.Replay.sample`."""
        wanted = tuple(sorted(rows.items())) if rows is not None else None
        batch = self._next(ItemQuery(batch_size, length, wanted))
        assert isinstance(batch, Batch), "items were asked for"
        return batch

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Draws windows of episodes from all shards; see `rlsys.api.Replay.sequences`."""
        windows = self._next(WindowQuery(query))
        assert isinstance(windows, Sequences), "windows were asked for"
        return windows

    def collected(self, unrolls: int, length: int) -> Batch:
        """Returns what all shards have of the newest turn; see `rlsys.api.Replay.collected`."""
        while True:
            try:
                if not self._statuses:
                    self._refresh(0.0)
                self._wait_for_turn()
                asked = (unrolls, length, self._turn, self._rank, self._num_ranks)
                answers = ray.get([shard.collected.remote(*asked) for shard in self._shards], timeout=_PATIENCE_S)
            except ray.exceptions.RayTaskError:
                raise
            except RayError:
                self._statuses = []
                if time.monotonic() >= self.deadline:
                    raise ReplayNotReady(f"what turn {self._turn:,} brings") from None
                time.sleep(_RETRY_S)
                continue
            for _, lost in answers:
                if lost:
                    raise TurnTooSmall(lost)
            batches: list[Batch] = [batch for batch, _ in answers if batch is not None]
            whole: Batch = joined(batches)
            whole.num_items = sum(batch.num_items for batch in batches)
            return whole

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sends priorities to the shards; at most four updates are on the way."""
        calls = []
        for index, rows in _split_key(keys, len(self._shards)):
            local = keys[rows] & ((1 << _SHARD_SHIFT) - 1)
            calls.append(self._shards[index].update_priorities.remote(local, priorities[rows]))
        self._updates.append(calls)
        if len(self._updates) > 4:
            for call in self._updates.popleft():
                try:
                    ray.get(call, timeout=_PATIENCE_S)
                except ray.exceptions.RayTaskError:
                    raise
                except RayError:  # the shard is being restarted; it comes back with older priorities
                    continue

    def _next(self, query: Query) -> Batch | Sequences:
        """Returns the next batch of a kind, and asks for those after it."""
        draws = self._draws_of(query)
        while True:
            try:
                if not self._statuses:
                    self._refresh(0.0)
                self._wait_for_turn()
                self._fill(query, draws)
                if not draws:
                    wait = self._look_at_turn if self._num_workers else self._wait_for_inserts
                    wait(query)
                    continue
                batch = self._receive(query, draws)
            except ray.exceptions.RayTaskError:
                raise
            except RayError:
                self._forget(query)
                batch = None
                time.sleep(_RETRY_S)
            if batch is not None:
                self._fill(query, draws)
                self._begin_to_receive(draws)
                return batch
            if time.monotonic() >= self.deadline:
                raise ReplayNotReady("a batch on its way")

    def _draws_of(self, query: Query) -> deque[_Draw]:
        """Returns what is on its way of a kind of batches; what has not been asked for for long is forgotten."""
        draws = self._draws.pop(query, deque())
        self._draws[query] = draws
        if len(self._draws) > _MOST_QUERIES:
            oldest = next(iter(self._draws))
            self._count(-oldest.num_items * len(self._draws.pop(oldest)))
            if isinstance(oldest, WindowQuery):
                self._asked_mass.pop(oldest, None)
        return draws

    def _fill(self, query: Query, draws: deque[_Draw]) -> None:
        """Asks for batches up to the bound, as far as the limiter allows."""
        while len(draws) < self._bound:
            if not self._limiter.can_sample(query.num_items * self._num_ranks) or not self._draw(query, draws):
                return

    def _mass(self, query: Query) -> Array:
        """Returns how much each shard has of what is asked for; those that had nothing are looked at again."""
        is_new = isinstance(query, WindowQuery) and query not in self._asked_mass
        if isinstance(query, WindowQuery):
            known = self._asked_mass.setdefault(query, [0.0] * len(self._shards))
        else:
            known = [status.mass for status in self._statuses]
        missing = [index for index, mass in enumerate(known) if not mass]
        if missing and (is_new or time.monotonic() >= self._look_again_at):
            self._look_again_at = time.monotonic() + _LOOK_AGAIN_S
            calls = [query.look(self._shards[index], self._rank, self._sampled) for index in missing]
            for index, status in zip(missing, ray.get(calls, timeout=_PATIENCE_S), strict=True):
                self._statuses[index] = status
                known[index] = status.mass if isinstance(query, ItemQuery) else status.asked_mass
        return np.array(known)

    def _draw(self, query: Query, draws: deque[_Draw]) -> bool:
        mass = self._mass(query)
        total = mass.sum()
        if total <= 0:
            return False
        size = query.batch_size
        self._count(query.num_items)
        bounds = np.concatenate([[0.0], np.cumsum(mass / total)])
        strata = (np.arange(size) + self._rng.random(size)) / size
        owner = np.clip(np.searchsorted(bounds, strata, side="right") - 1, 0, len(mass) - 1)
        shards: list[int] = np.unique(owner).tolist()
        share = [float(bounds[index + 1] - bounds[index]) for index in shards]
        positions = [
            np.clip((strata[owner == index] - bounds[index]) / width, 0.0, np.nextafter(1.0, 0.0))
            for index, width in zip(shards, share, strict=True)
        ]
        draws.append(_Draw(shards, share, self._thread.submit(self._ask, query, shards, positions, self._sampled)))
        return True

    def _ask(
        self, query: Query, shards: Sequence[int], positions: Sequence[Array], sampled: int
    ) -> list[ray.ObjectRef]:
        """Asks shards for their parts of a batch."""
        return [
            query.ask(self._shards[index], own, self._rank, sampled)
            for index, own in zip(shards, positions, strict=True)
        ]

    def _receive(self, query: Query, draws: deque[_Draw]) -> Batch | Sequences | None:
        """Returns the oldest batch; None if it does not arrive before the deadline, or a shard could not serve it."""
        self._begin_to_receive(draws)
        received = draws[0].received
        assert received is not None, "it was begun"
        left = max(0.0, min(_PATIENCE_S, self.deadline - time.monotonic()))
        if not wait([received], timeout=left).done:
            return None
        draw = draws.popleft()
        batch, statuses = received.result()
        for index, status in zip(draw.shards, statuses, strict=True):
            self._statuses[index] = status
            if isinstance(query, WindowQuery):
                self._asked_mass[query][index] = status.asked_mass
        self._note_inserted()
        if batch is None:
            self._count(-query.num_items)
            return None
        batch.num_items = sum(status.num_items for status in self._statuses)
        if isinstance(batch, Batch):
            batch.age = batch.age * len(self._shards)  # each shard counts its own inserts
        whole: Batch | Sequences = batch
        return whole

    def _begin_to_receive(self, draws: deque[_Draw]) -> None:
        if draws and draws[0].received is None:
            draws[0].received = self._thread.submit(draws[0].receive)

    def _wait_for_inserts(self, query: Query) -> None:
        """Waits at the shards until enough was inserted.

        Raises:
          ReplayNotReady: at the deadline.
          NothingToDraw: nothing is held out yet, which is not waited for.
        """
        if self._has_nothing(query) and query.query.part == "held_out":
            raise NothingToDraw(query.query)
        if time.monotonic() >= self.deadline:
            raise ReplayNotReady(str(query.query) if self._has_nothing(query) else self._limiter.wait_reason())
        missing = self._limiter.needed_inserts(query.num_items * self._num_ranks)
        self._refresh(max(1, -(-missing // len(self._shards))))

    def _look_at_turn(self, query: Query) -> None:
        """Asks for the numbers of all that has come of a turn.

        Raises:
          TurnTooSmall: that is not enough to draw from.
          NothingToDraw: there is enough, but nothing of what is asked for.
        """
        self._refresh(0.0)
        is_enough = self._limiter.can_sample(query.num_items * self._num_ranks)
        if not is_enough or not any(status.mass > 0 for status in self._statuses):
            raise TurnTooSmall(self._limiter.wait_reason())
        if self._has_nothing(query):
            raise NothingToDraw(query.query)

    def _has_nothing(self, query: Query) -> TypeGuard[WindowQuery]:
        return isinstance(query, WindowQuery) and not any(self._asked_mass.get(query, [1.0]))

    def _wait_for_turn(self) -> None:
        """Waits until all workers have collected; raises ReplayNotReady at the deadline."""
        while self._num_workers:
            known = [turn for status in self._statuses for turn in status.turns.values()]
            num_ready = known.count(self._turn)
            if num_ready >= self._num_workers:
                return
            if time.monotonic() >= self.deadline:
                raise ReplayNotReady(
                    f"turn {self._turn:,}, of which {num_ready} of {self._num_workers} rollout workers have collected "
                    "their share"
                )
            time.sleep(_TURN_PAUSE_S)
            self._refresh(0.0)

    def _refresh(self, missing_per_shard: float) -> None:
        """Asks all shards for their numbers, letting them wait for so many more inserts."""
        left = max(0.05, min(1.0, self.deadline - time.monotonic()))
        calls = []
        for index, shard in enumerate(self._shards):
            known = self._statuses[index].inserted_items if self._statuses else 0
            patience = left if missing_per_shard else 0.0
            calls.append(shard.status.remote(self._rank, self._sampled, known + int(missing_per_shard), patience))
        self._statuses = ray.get(calls, timeout=_PATIENCE_S)
        self._note_inserted()

    def _note_inserted(self) -> None:
        self._limiter.inserted = sum(status.inserted_items for status in self._statuses)
        self._limiter.sampled = self._sampled * self._num_ranks

    def _count(self, size: int) -> None:
        self._sampled += size
        self._limiter.sampled = self._sampled * self._num_ranks

    def _forget(self, query: Query) -> None:
        """Drops what was on its way when a shard was lost; it does not count as sampled."""
        self._count(-query.num_items * len(self._draws[query]))
        self._draws[query].clear()
        self._statuses = []
        if isinstance(query, WindowQuery):
            self._asked_mass.pop(query, None)  # others' are corrected by what is on its way
        self._look_again_at = 0.0


def _split_key(key: Array, num_shards: int) -> list[tuple[int, Array]]:
    """Returns, per shard that occurs in `key`, its index and the rows of `key` that belong to it."""
    shard = key >> _SHARD_SHIFT
    if len(shard) and int(shard.max()) >= num_shards:
        raise ReplayError(f"a key names shard {int(shard.max())}; there are {num_shards}. The keys are of another run.")
    return [(int(index), np.flatnonzero(shard == index)) for index in np.unique(shard)]
