"""Where rows lie: a ring of segments over all columns of a table.

    key    0 ……………… oldest                                           next
                       |--segment--|--segment--|  gap  |--segment--|
    slot = key % capacity                      ^ where the segment would have wrapped round the ring's end

Keys number the rows for ever, so a key that is held somewhere never comes to mean another row.

Segments that lie side by side form chunks of up to some megabytes, which are saved together. Nothing that is saved
with a closed chunk changes, so what was saved of it once is true for as long as a segment of it is stored.

Shape legend: B windows, L rows of a window.
"""

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from rlsys.api import Saved, Segments, TableSpec
from rlsys.errors import CheckpointError, ConfigError
from rlsys.replay import columns, schema
from rlsys.types import Array, ArraySpec, EnvSpec, Segment

_BOOKKEEPING_BYTES = 48
"""Per slot: first and last slot of its segment, weights version, its number among all items, and what a table keeps
about it as an item."""
_ASSUMED_EPISODE_ROWS = 16
"""An episode takes a slot more than its rows; where they are shorter in the mean, segments leave for want of slots."""
_CHUNK_BYTES = 8 << 20
"""Large enough that files are few, small enough that copying one is not felt by those who are served meanwhile."""
_LEAST_CHUNK_BYTES = 64 << 10
_CHUNKS = 32
"""Those of a smaller table are smaller: the one that is open is written into every checkpoint."""


class Entry(NamedTuple):
    """A stored segment.

    Attributes:
      key: key of its first row.
      slot: slot of its first row.
      num_slots: its rows, the bootstrap row included.
      first_item: row of its first item.
      num_items: number of items, consecutive.
      weights_version: version of the weights that chose its last action.
      worker, incarnation, environment, episode, row, turn, is_cut_short: see `Segment` and `Source`.
    """

    key: int
    slot: int
    num_slots: int
    first_item: int
    num_items: int
    weights_version: int
    worker: int
    incarnation: int
    environment: int
    episode: int
    row: int
    turn: int
    is_cut_short: int

    @property
    def stream(self) -> tuple[int, int, int, int]:
        """What it has in common with other segments of its episode."""
        return self.worker, self.incarnation, self.environment, self.episode

    @property
    def slots(self) -> slice:
        """Slots of its rows."""
        return slice(self.slot, self.slot + self.num_slots)

    @property
    def items(self) -> slice:
        """Slots of its items."""
        return slice(self.slot + self.first_item, self.slot + self.first_item + self.num_items)


@dataclass
class Chunk:
    """Segments that lie side by side: none across the ring's end, and no gap between them.

    Attributes:
      number: counts the chunks of a ring for ever.
      entries: those of its segments that are stored, oldest first.
      num_bytes: what its segments took when they were added.
      is_closed: whether no segment will be added any more.
    """

    number: int
    entries: deque[Entry] = field(default_factory=deque)
    num_bytes: int = 0
    is_closed: bool = False

    @property
    def slots(self) -> slice:
        """Slots of its rows."""
        return slice(self.entries[0].slots.start, self.entries[-1].slots.stop)


class Watcher(Protocol):
    """Who must know of changes before they happen."""

    def leaving(self, entry: Entry) -> None:
        """Is told of a segment that leaves while its rows are still there."""

    def changing(self, slots: Array | slice) -> None:
        """Is told before what a table keeps about these slots changes."""


class SegmentRing:
    """Rows of whole segments, added at one end and removed at the other.

    Attributes:
      capacity: number of slots.
      entries: stored segments, oldest first; to read only.
      chunks: the same segments in chunks; to read only.
      watchers: who is told of changes.
      versions: `[capacity]` int64, of the weights behind each slot's extras.
      apart: columns that are not saved with chunks, for they change.
    """

    def __init__(
        self, specs: Mapping[str, ArraySpec], capacity: int, num_stack: int, apart: Collection[str] = ()
    ) -> None:
        self.capacity = capacity
        self.entries: deque[Entry] = deque()
        self.chunks: deque[Chunk] = deque()
        self.watchers: list[Watcher] = []
        self.versions = np.zeros(capacity, np.int64)
        self.apart = frozenset(apart)
        self._columns = {
            name: columns.make_column(spec, capacity, num_stack if name == "observation" else 1)
            for name, spec in specs.items()
        }
        self._first_slot = np.zeros(capacity, np.int64)
        self._last_slot = np.zeros(capacity, np.int64)
        self._item_number = np.zeros(capacity, np.int64)
        self._slot_bytes = slot_bytes(specs)
        self._used_slots = 0
        self._next_key = 0
        self._next_chunk = 0
        self._next_item = 0

    @property
    def num_bytes(self) -> int:
        """Bytes that the stored rows take, bookkeeping included."""
        return self._used_slots * self._slot_bytes + sum(column.packed_bytes for column in self._columns.values())

    def is_full_for(self, segment: Segment) -> bool:
        """Tells whether the oldest segment must be removed before this one is added."""
        num_slots = segment.num_rows + 1
        return bool(self.entries) and self.entries[0].key < self._key_for(num_slots) + num_slots - self.capacity

    def add(self, segment: Segment) -> Entry:
        """Copies a segment in; the ring must have room."""
        num_slots = segment.num_rows + 1
        key = self._key_for(num_slots)
        entry = Entry(
            key=key,
            slot=key % self.capacity,
            num_slots=num_slots,
            first_item=segment.first_item,
            num_items=segment.num_items,
            weights_version=segment.weights_version,
            worker=segment.source.worker,
            incarnation=segment.source.incarnation,
            environment=segment.environment,
            episode=segment.episode,
            row=segment.row,
            turn=segment.turn,
            is_cut_short=segment.is_cut_short,
        )
        num_bytes = self.num_bytes
        for name, rows in schema.columns_of(segment).items():
            self._columns[name].write(entry.slot, rows, num_slots)
        chunk = self._open_chunk(key)
        self._append(entry, chunk)
        self._next_key = key + num_slots
        chunk.num_bytes += self.num_bytes - num_bytes
        chunk.is_closed = chunk.num_bytes >= min(max(self.num_bytes // _CHUNKS, _LEAST_CHUNK_BYTES), _CHUNK_BYTES)
        return entry

    def remove_oldest(self) -> Entry:
        """Forgets the oldest segment and returns where it lay."""
        for watcher in self.watchers:
            watcher.leaving(self.entries[0])
        entry = self.entries.popleft()
        chunk = self.chunks[0]
        chunk.entries.popleft()
        if not chunk.entries:
            self.chunks.popleft()
        for column in self._columns.values():
            column.clear(entry.slots.start, entry.slots.stop)
        self._used_slots -= entry.num_slots
        return entry

    def keys(self, slots_B: Array) -> Array:
        """Returns the keys of rows that lie in these slots now."""
        laps_B = (self._next_key - 1 - slots_B) // self.capacity
        keys_B: Array = slots_B + laps_B * self.capacity
        return keys_B

    def find(self, keys_B: Array) -> tuple[Array, Array]:
        """Returns the slots of keys, and whether each may still lie there: True in a gap, too."""
        return keys_B % self.capacity, (keys_B >= self._first_key()) & (keys_B < self._next_key)

    def rows_left(self, slots_B: Array) -> Array:
        """Returns the transitions from each slot to the end of its segment."""
        rows_left_B: Array = self._last_slot[slots_B] - slots_B
        return rows_left_B

    def ages(self, slots_B: Array) -> Array:
        """Returns how many items have been added since the items in these slots."""
        ages_B: Array = self._next_item - 1 - self._item_number[slots_B]
        return ages_B

    def gather(self, slots_B: Array, lengths: Mapping[str, int]) -> dict[str, Array]:
        """Returns name -> `[B, lengths[name], …]` windows that start at the slots, zero beyond their segments."""
        num_valid_B = self.rows_left(slots_B) + 1
        origin_B = self._first_slot[slots_B]
        return {
            name: column.gather(slots_B, num_valid_B, origin_B, lengths[name]) for name, column in self._columns.items()
        }

    @property
    def columns(self) -> Collection[str]:
        """Names of the columns."""
        return self._columns.keys()

    def take(self, name: str, slots: Array) -> Array:
        """Returns single rows of a column from slots that are in use, `[*slots.shape, …]`."""
        return self._columns[name].take(slots)

    def values(self, name: str) -> Array:
        """Returns all rows of a column that is apart, by slot; they may be written to."""
        column = self._columns[name]
        assert isinstance(column, columns.RingColumn), f"{name} is compressed; what is refreshed must not be"
        return column.rows

    def stacks(self, slots_N: Array) -> Array:
        """Returns the observations in slots as a policy sees them: with the frames before them."""
        one_N = np.ones(len(slots_N), np.int64)
        return self._columns["observation"].gather(slots_N, one_N, self._first_slot[slots_N], 1)[:, 0]

    def span(self) -> list[slice]:
        """Returns the slots from the oldest row to the newest, the gap included: one run, or two at the ring's end."""
        first_key = self._first_key()
        if first_key == self._next_key:
            return []
        first, stop = first_key % self.capacity, (self._next_key - 1) % self.capacity + 1
        return [slice(first, stop)] if first < stop else [slice(first, self.capacity), slice(0, stop)]

    def save(self) -> Saved:
        """Returns what `load` needs besides the chunks."""
        return {
            "capacity": self.capacity,
            "columns": list(self._columns),
            **({"apart": sorted(self.apart)} if self.apart else {}),
            "first_key": self._first_key(),
            "next_key": self._next_key,
            "next_chunk": self._next_chunk,
        }

    def save_chunk(self, chunk: Chunk) -> Saved:
        """Returns a chunk with a copy of its rows."""
        return {
            "number": chunk.number,
            "num_bytes": chunk.num_bytes,
            "is_closed": chunk.is_closed,
            "entries": np.array(chunk.entries, np.int64),
            "columns": {name: c.save(chunk.slots) for name, c in self._columns.items() if name not in self.apart},
        }

    def load(self, saved: Saved, chunks: Iterable[Saved]) -> None:
        """Takes over what `save` and `save_chunk` returned, every row in its old slot; the ring must be new.

        Args:
          saved: the ring's own part.
          chunks: those that were stored when that was saved, oldest first. Segments that had left by then are left out.

        Raises:
          CheckpointError: it was saved by a ring of another capacity or with other columns.
        """
        if saved["capacity"] != self.capacity or set(saved["columns"]) != self._columns.keys():
            raise CheckpointError(
                f"the saved table has {saved['capacity']:,} slots of {sorted(saved['columns'])}, this one "
                f"{self.capacity:,} of {sorted(self._columns)}. Resume with the saved experiment and replay_shards."
            )
        self.apart |= set(saved.get("apart", ()))  # a chunk that was saved without a column may be kept for long
        for rows in chunks:
            chunk = Chunk(rows["number"], num_bytes=rows["num_bytes"], is_closed=rows["is_closed"])
            self.chunks.append(chunk)
            for values in rows["entries"].tolist():
                entry = Entry(*values)
                if entry.key >= saved["first_key"]:
                    self._append(entry, chunk)
            left_out = chunk.entries[0].key - int(rows["entries"][0, 0])
            for name in self._columns.keys() - (self.apart - rows["columns"].keys()):
                self._columns[name].load(chunk.slots, rows["columns"][name], left_out)
        self._next_key = saved["next_key"]
        self._next_chunk = saved["next_chunk"]

    def _first_key(self) -> int:
        return self.entries[0].key if self.entries else self._next_key

    def _open_chunk(self, key: int) -> Chunk:
        """Returns the chunk that a segment with this key belongs to: the newest, or a new one."""
        if not self.chunks or self.chunks[-1].is_closed or key % self.capacity == 0:
            self.chunks.append(Chunk(self._next_chunk))
            self._next_chunk += 1
        return self.chunks[-1]

    def _key_for(self, num_slots: int) -> int:
        """Returns the key that the next segment's first row gets."""
        to_end = self.capacity - self._next_key % self.capacity
        return self._next_key if num_slots <= to_end else self._next_key + to_end

    def _append(self, entry: Entry, chunk: Chunk) -> None:
        self._first_slot[entry.slots] = entry.slots.start
        self._last_slot[entry.slots] = entry.slots.stop - 1
        self.versions[entry.slots] = entry.weights_version
        self._item_number[entry.items] = np.arange(self._next_item, self._next_item + entry.num_items)
        self._next_item += entry.num_items
        self._used_slots += entry.num_slots
        self.entries.append(entry)
        chunk.entries.append(entry)


def choose_capacity(spec: TableSpec, env: EnvSpec, segments: Segments, share: int = 1) -> int:
    """Returns slots for `max_size` items in segments of the usual shape, fewer where the byte budget ends first."""
    repeated = schema.context_rows(env) + segments.overlap + 1
    slots_per_item = 1 + repeated / segments.length + 1 / _ASSUMED_EPISODE_ROWS
    two_segments = 2 * (schema.max_segment_rows(env, segments) + 1)  # one that is coming, and the gap at the ring's end
    capacity = math.ceil(-(-spec.max_size // share) * slots_per_item) + two_segments
    if not spec.max_bytes:
        return capacity
    return min(capacity, spec.max_bytes // share // slot_bytes(schema.column_specs(env, segments)))


def check_budget(spec: TableSpec, env: EnvSpec, segments: Segments, share: int = 1) -> None:
    """Refuses a byte budget that a shard could not work with.

    Raises:
      ConfigError: it is smaller than two segments, one that is coming and one that stays.
    """
    if not spec.max_bytes:
        return
    rows = 2 * (schema.max_segment_rows(env, segments) + 1)
    needed, budget = rows * max_row_bytes(schema.column_specs(env, segments)), spec.max_bytes // share
    if budget < needed:
        raise ConfigError(
            f"replay_bytes = {spec.max_bytes:,} leaves a shard {budget:,} bytes; two segments can take {needed:,}. "
            "Raise it, or lower the segments' length or the number of shards."
        )


def slot_bytes(specs: Mapping[str, ArraySpec]) -> int:
    """Returns the bytes that a ring of these columns takes per slot, used or not."""
    return _BOOKKEEPING_BYTES + sum(map(columns.slot_bytes, specs.values()))


def max_row_bytes(specs: Mapping[str, ArraySpec]) -> int:
    """Returns the most bytes that a stored row can take."""
    return _BOOKKEEPING_BYTES + sum(map(columns.max_row_bytes, specs.values()))
