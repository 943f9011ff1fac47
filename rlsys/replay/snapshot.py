"""A table as it is at one moment, handed out bit by bit while the table goes on."""

from collections import deque
from collections.abc import Collection
from dataclasses import replace

from rlsys.api import Saved
from rlsys.replay.ring import Entry, SegmentRing


class Snapshot:
    """Hands out chunks of rows, each a copy of some megabytes, oldest first.

    Rows stay where they are until they are handed out; those that would leave the table before that are copied first.
    So it takes at most as much memory as the table, and usually that of one chunk.

    Attributes:
      head: all but the rows.
      chunks: numbers of the chunks that hold the rows, oldest first.
      lasting: numbers of those that are closed: a copy of such a chunk serves later snapshots, too.
    """

    def __init__(self, head: Saved, ring: SegmentRing) -> None:
        """Begins with the table as it is."""
        self.head = head
        self.chunks = [chunk.number for chunk in ring.chunks]
        self.lasting = frozenset(chunk.number for chunk in ring.chunks if chunk.is_closed)
        self._ring = ring
        self._left = deque(replace(chunk, entries=chunk.entries.copy()) for chunk in ring.chunks)
        self._rescued: deque[Saved] = deque()
        ring.watchers.append(self)

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

    def close(self) -> None:
        """Lets rows leave without being copied."""
        self._ring.watchers.remove(self)
