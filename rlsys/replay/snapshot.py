"""A table as it is at one moment, handed out bit by bit while the table goes on."""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from rlsys.api import Saved
from rlsys.replay.ring import Entry, SegmentRing
from rlsys.types import Array

_BLOCK = 512
_BLOCKS_AT_ONCE = 512


class Frozen:
    """One value per slot as it was at one moment: a block of values is copied before one of them changes.

    Attributes:
      values: `[n, …]`, complete once `settle` has returned False.
    """

    def __init__(self, live: Array) -> None:
        """Takes `[n, …]` values, and begins with nothing copied but the last block, which may be a small one."""
        self.values = np.empty_like(live)
        self._num_blocks = len(live) // _BLOCK
        end = self._num_blocks * _BLOCK
        self.values[end:] = live[end:]
        blocks = (self._num_blocks, _BLOCK, *live.shape[1:])
        self._from, self._to = live[:end].reshape(blocks), self.values[:end].reshape(blocks)
        self._is_copied = np.zeros(self._num_blocks + 1, np.bool_)
        self._is_copied[-1] = True
        self._next = 0

    def settle(self) -> bool:
        """Copies some megabytes; returns whether something is left."""
        blocks = slice(self._next, min(self._next + _BLOCKS_AT_ONCE, self._num_blocks))
        self._next = blocks.stop
        self._copy(np.flatnonzero(~self._is_copied[blocks]) + blocks.start)
        return self._next < self._num_blocks

    def changing(self, slots: Array | slice) -> None:
        """Copies the blocks of values that are about to change."""
        if self._next == self._num_blocks:
            return
        if isinstance(slots, slice):
            blocks = np.arange(slots.start // _BLOCK, -(-slots.stop // _BLOCK))
        else:
            blocks = np.unique(slots // _BLOCK)
        self._copy(blocks[~self._is_copied[blocks]])

    def _copy(self, blocks: Array) -> None:
        self._to[blocks] = self._from[blocks]
        self._is_copied[blocks] = True


class Snapshot:
    """Hands out chunks of rows, each a copy of some megabytes, oldest first.

    Rows stay where they are until they are handed out; those that would leave the table before that are copied first.
    So it takes at most as much memory as the table, and usually that of one chunk.

    Attributes:
      head: all but the rows; complete once `settle` has returned False.
      chunks: numbers of the chunks that hold the rows, oldest first.
      lasting: numbers of those that are closed: a copy of such a chunk serves later snapshots, too.
    """

    def __init__(self, head: Saved, frozen: Sequence[Frozen], ring: SegmentRing) -> None:
        """Begins with the table as it is.

        Args:
          head: a copy, but for what belongs to `frozen`.
          frozen: values that change with draws and inserts.
          ring: where the rows are.
        """
        self.head = head
        self.chunks = [chunk.number for chunk in ring.chunks]
        self.lasting = frozenset(chunk.number for chunk in ring.chunks if chunk.is_closed)
        self._frozen = frozen
        self._ring = ring
        self._left = deque(replace(chunk, entries=chunk.entries.copy()) for chunk in ring.chunks)
        self._rescued: deque[Saved] = deque()
        ring.watchers.append(self)

    def settle(self) -> bool:
        """Copies some megabytes of the head; returns whether something of it is left."""
        left = [frozen.settle() for frozen in self._frozen]
        return any(left)

    def skip(self, known: Collection[int]) -> None:
        """Does not hand out these chunks: the reader has them from an earlier snapshot, where they were lasting."""
        self._left = deque(chunk for chunk in self._left if chunk.number not in known)
        self._rescued = deque(chunk for chunk in self._rescued if chunk["number"] not in known)

    def take(self) -> Saved | None:
        """Returns the next chunk, for `SegmentRing.load`; None after the last."""
        if self._rescued:
            return self._rescued.popleft()
        return self._ring.save_chunk(self._left.popleft()) if self._left else None

    def leaving(self, entry: Entry) -> None:
        """Copies the chunk that the segment belongs to, if it has not been handed out."""
        if self._left and entry.key >= self._left[0].entries[0].key:
            self._rescued.append(self._ring.save_chunk(self._left.popleft()))

    def changing(self, slots: Array | slice) -> None:
        """Is told before what a table keeps about these slots changes."""
        for frozen in self._frozen:
            frozen.changing(slots)

    def close(self) -> None:
        """Lets rows leave without being copied."""
        self._ring.watchers.remove(self)
