"""Rows whose extras are found out anew while they are stored.

Their extras change in place, so they are not saved with the rows, of which each is written once, but with what a table
keeps of every slot, anew each time.

Shape legend: N rows.
"""

from collections.abc import Mapping

import numpy as np

from rlsys.api import ReplayNotReady, Saved
from rlsys.errors import ReplayError, did_you_mean
from rlsys.replay.ring import Entry, SegmentRing
from rlsys.replay.snapshot import Frozen
from rlsys.types import Array

_VERSION = "weights_version"


class RefreshedRows:
    """Which slots of a ring hold rows with something to refresh.

    Of a segment these are its items, the rows that complete their targets, and, where a policy is asked about it, the
    bootstrap row of an episode that a time limit has ended: all rows of which windows read extras.
    """

    def __init__(self, ring: SegmentRing, *, bootstraps: bool) -> None:
        """Begins with an empty ring; `bootstraps` says whether bootstrap rows have extras."""
        self._ring = ring
        self._bootstraps = bootstraps
        self._has = np.zeros(ring.capacity, np.bool_)
        self._num_rows = 0

    def add(self, entry: Entry) -> None:
        """Takes in a segment that was stored."""
        slots = self._slots(entry)
        self._has[slots] = True
        self._num_rows += slots.stop - slots.start

    def remove(self, entry: Entry) -> None:
        """Forgets a segment that has left."""
        slots = self._slots(entry)
        self._has[slots] = False
        self._num_rows -= slots.stop - slots.start

    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """Returns the slots (`[count]`) of rows that are each equally likely.

        Raises:
          ReplayNotReady: there are none.
        """
        if not self._num_rows:
            raise ReplayNotReady("a row to refresh")
        span = self._ring.span()
        num_slots = sum(run.stop - run.start for run in span)
        found = np.zeros(0, np.int64)
        while len(found) < count:
            at_N = rng.integers(num_slots, size=1 + (count - len(found)) * num_slots // self._num_rows)
            slots_N = (span[0].start + at_N) % self._ring.capacity
            found = np.concatenate([found, slots_N[self._has[slots_N]]])
        return found[:count]

    def find(self, keys_N: Array) -> tuple[Array, Array]:
        """Returns the slots of keys, and which of their rows are still there."""
        slots_N, may_live_N = self._ring.find(keys_N)
        return slots_N, may_live_N & self._has[slots_N]

    def write(self, slots_N: Array, extras: Mapping[str, Array], weights_version: int) -> None:
        """Replaces extras of rows.

        Raises:
          ReplayError: the table has no such extra, or of another shape.
        """
        for name, rows in extras.items():
            if name not in self._ring.apart:
                raise ReplayError(
                    f"'{name}' was refreshed, which is no extra of the table; there are "
                    f"{', '.join(sorted(self._ring.apart))}.{did_you_mean(name, self._ring.apart)}"
                )
            values = self._ring.values(name)
            if rows.shape != (len(slots_N), *values.shape[1:]):
                raise ReplayError(
                    f"refreshed '{name}' has shape {rows.shape}, expected {(len(slots_N), *values.shape[1:])}."
                )
            values[slots_N] = rows
        self._ring.versions[slots_N] = weights_version

    def freeze(self) -> dict[str, Frozen]:
        """Returns all that changes, as it is now: nothing where no column is kept apart."""
        if not self._ring.apart:
            return {}
        return {name: Frozen(self._values(name)) for name in (*sorted(self._ring.apart), _VERSION)}

    def load(self, saved: Saved) -> None:
        """Takes over what `freeze` returned, the runs of `SegmentRing.span` alone; the ring has been loaded."""
        for name, runs in saved.items():
            values = self._values(name)
            for slots, run in zip(self._ring.span(), runs, strict=True):
                values[slots] = run

    def _values(self, name: str) -> Array:
        return self._ring.versions if name == _VERSION else self._ring.values(name)

    def _slots(self, entry: Entry) -> slice:
        has_bootstrap = self._bootstraps and entry.is_cut_short
        return slice(entry.items.start, entry.slots.stop - (0 if has_bootstrap else 1))
