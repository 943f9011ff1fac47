"""Where rows lie: a ring of segments over all columns of a table.

    key    0 ……………… oldest                                           next
                       |--segment--|--segment--|  gap  |--segment--|
    slot = key % capacity                      ^ where the segment would have wrapped round the ring's end

Keys number the rows for ever, so a key that is held somewhere never comes to mean another row.

Shape legend: B windows, L rows of a window.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np

from rlsys.api import Saved
from rlsys.errors import CheckpointError
from rlsys.replay import columns, schema
from rlsys.types import Array, ArraySpec, Segment

_BOOKKEEPING_BYTES = 40
"""Per slot: first and last slot of its segment, weights version, and what a table keeps about it as an item."""


@dataclass(frozen=True)
class Entry:
    """A stored segment.

    Attributes:
      key: key of its first row.
      slot: slot of its first row.
      num_slots: its rows, the bootstrap row included.
      first_item: row of its first item.
      num_items: number of items, consecutive.
      weights_version: version of the weights that chose its last action.
    """

    key: int
    slot: int
    num_slots: int
    first_item: int
    num_items: int
    weights_version: int

    @property
    def slots(self) -> slice:
        """Slots of its rows."""
        return slice(self.slot, self.slot + self.num_slots)

    @property
    def items(self) -> slice:
        """Slots of its items."""
        return slice(self.slot + self.first_item, self.slot + self.first_item + self.num_items)


class SegmentRing:
    """Rows of whole segments, added at one end and removed at the other.

    Attributes:
      capacity: number of slots.
      entries: stored segments, oldest first; to read only.
    """

    def __init__(self, specs: Mapping[str, ArraySpec], capacity: int, num_stack: int) -> None:
        self.capacity = capacity
        self.entries: deque[Entry] = deque()
        self._columns = {
            name: columns.make_column(spec, capacity, num_stack if name == "observation" else 1)
            for name, spec in specs.items()
        }
        self._first_slot = np.zeros(capacity, np.int64)
        self._last_slot = np.zeros(capacity, np.int64)
        self._weights_version = np.zeros(capacity, np.int64)
        self._slot_bytes = slot_bytes(specs)
        self._used_slots = 0
        self._next_key = 0

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
            key, key % self.capacity, num_slots, segment.first_item, segment.num_items, segment.weights_version
        )
        for name, rows in schema.columns_of(segment).items():
            self._columns[name].write(entry.slot, rows, num_slots)
        self._append(entry)
        self._next_key = key + num_slots
        return entry

    def remove_oldest(self) -> Entry:
        """Forgets the oldest segment and returns where it lay."""
        entry = self.entries.popleft()
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
        oldest = self.entries[0].key if self.entries else self._next_key
        return keys_B % self.capacity, (keys_B >= oldest) & (keys_B < self._next_key)

    def rows_left(self, slots_B: Array) -> Array:
        """Returns the transitions from each slot to the end of its segment."""
        rows_left_B: Array = self._last_slot[slots_B] - slots_B
        return rows_left_B

    def weights_version(self, slots_B: Array) -> Array:
        """Returns the version of the weights behind each slot's segment."""
        version_B: Array = self._weights_version[slots_B]
        return version_B

    def gather(self, slots_B: Array, lengths: Mapping[str, int]) -> dict[str, Array]:
        """Returns name -> `[B, lengths[name], …]` windows that start at the slots, zero beyond their segments."""
        num_valid_B = self.rows_left(slots_B) + 1
        origin_B = self._first_slot[slots_B]
        return {
            name: column.gather(slots_B, num_valid_B, origin_B, lengths[name]) for name, column in self._columns.items()
        }

    def used(self) -> list[slice]:
        """Returns the runs of used slots, oldest first: one, or two with the ring's end between them."""
        runs: list[slice] = []
        for entry in self.entries:
            if runs and runs[-1].stop == entry.slots.start:
                runs[-1] = slice(runs[-1].start, entry.slots.stop)
            else:
                runs.append(entry.slots)
        return runs

    def save(self) -> Saved:
        """Returns the stored rows and where they lie."""
        runs = self.used()
        return {
            "capacity": self.capacity,
            "next_key": self._next_key,
            "entries": np.array([astuple(entry) for entry in self.entries], np.int64).reshape(-1, 6),
            "columns": {name: column.save(runs) for name, column in self._columns.items()},
        }

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned, every row in its old slot; the ring must be new.

        Raises:
          CheckpointError: it was saved by a ring of another capacity or with other columns.
        """
        if saved["capacity"] != self.capacity or saved["columns"].keys() != self._columns.keys():
            raise CheckpointError(
                f"the saved table has {saved['capacity']:,} slots of {sorted(saved['columns'])}, this one "
                f"{self.capacity:,} of {sorted(self._columns)}. Resume with the saved experiment and replay_shards."
            )
        for row in saved["entries"].tolist():
            self._append(Entry(*row))
        self._next_key = saved["next_key"]
        runs = self.used()
        for name, column in self._columns.items():
            column.load(runs, saved["columns"][name])

    def _key_for(self, num_slots: int) -> int:
        """Returns the key that the next segment's first row gets."""
        to_end = self.capacity - self._next_key % self.capacity
        return self._next_key if num_slots <= to_end else self._next_key + to_end

    def _append(self, entry: Entry) -> None:
        self._first_slot[entry.slots] = entry.slots.start
        self._last_slot[entry.slots] = entry.slots.stop - 1
        self._weights_version[entry.slots] = entry.weights_version
        self._used_slots += entry.num_slots
        self.entries.append(entry)


def slot_bytes(specs: Mapping[str, ArraySpec]) -> int:
    """Returns the bytes that a ring of these columns takes per slot, used or not."""
    return _BOOKKEEPING_BYTES + sum(map(columns.slot_bytes, specs.values()))


def max_row_bytes(specs: Mapping[str, ArraySpec]) -> int:
    """Returns the most bytes that a stored row can take."""
    return _BOOKKEEPING_BYTES + sum(map(columns.max_row_bytes, specs.values()))
