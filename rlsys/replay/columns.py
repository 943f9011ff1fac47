"""Storage of one column of a replay table: plain rows, or rows compressed one by one.

A column is a ring of slots. Segments never wrap round its end, so a window is always one contiguous run of slots.

Shape legend: B windows, L rows of a window, K rows of a stack, N rows to copy from, X bytes of a row, Y of a window.
"""

import abc
import itertools
from collections.abc import Sequence

import lz4.block
import numpy as np

from rlsys.api import Saved
from rlsys.compiled import njit
from rlsys.errors import CheckpointError
from rlsys.types import Array, ArraySpec

_COMPRESSED_FROM_BYTES = 1024
_POINTER_BYTES = 8
_OBJECT_BYTES = 33
"""What CPython adds to the payload of a `bytes` object."""


def is_compressed(spec: ArraySpec) -> bool:
    """Tells whether rows of this spec are kept compressed: images are, small or floating-point rows are not.

    Of rows of named parts, those are that consist of images for the most part.
    """
    dtype = np.dtype(spec.dtype)
    parts = [dtype[name] for name in dtype.names or ()] or [dtype]
    image_bytes = sum(part.itemsize for part in parts if part.base == np.uint8)
    return spec.num_bytes >= _COMPRESSED_FROM_BYTES and 2 * image_bytes > dtype.itemsize


def slot_bytes(spec: ArraySpec) -> int:
    """Returns the bytes that a column of this spec takes per slot, used or not."""
    return _POINTER_BYTES if is_compressed(spec) else spec.num_bytes


def max_row_bytes(spec: ArraySpec) -> int:
    """Returns the most bytes that a used slot of a column of this spec takes."""
    return slot_bytes(spec) + (spec.num_bytes + _OBJECT_BYTES if is_compressed(spec) else 0)


def make_column(spec: ArraySpec, capacity: int, num_stack: int = 1) -> "Column":
    """Makes an empty column.

    Args:
      spec: one row.
      capacity: number of slots.
      num_stack: rows that are stacked when a window is gathered, 1 for none.
    """
    return (CompressedColumn if is_compressed(spec) else RingColumn)(spec, capacity, num_stack)


class Column(abc.ABC):
    """Slots for rows of one spec. It copies what it is handed and what it hands out.

    Attributes:
      packed_bytes: bytes held beyond the fixed ones per slot.
    """

    packed_bytes: int = 0

    def __init__(self, spec: ArraySpec, num_stack: int) -> None:
        self._spec = spec
        self._row_bytes = spec.num_bytes
        self._num_stack = num_stack

    @abc.abstractmethod
    def write(self, slot: int, rows: Array, num_slots: int) -> None:
        """Writes `rows` (`[n, …]`) to the slots from `slot` on and zeros to the rest of `num_slots` ≥ n."""

    @abc.abstractmethod
    def clear(self, start: int, stop: int) -> None:
        """Frees what the slots `start` to `stop - 1` hold, where a slot's memory can be freed."""

    @abc.abstractmethod
    def gather(self, slots_B: Array, num_valid_B: Array, origin_B: Array, length: int) -> Array:
        """Copies windows out.

        Args:
          slots_B: int64 slot of each window's first row.
          num_valid_B: int64 rows of the window that exist; those after them come as zeros.
          origin_B: int64 slot of the first row of the segment, at which a frame stack stops reaching back.
          length: rows per window L.

        Returns:
          `[B, L, *row]`; with a stack `[B, L, num_stack, *row]`, oldest frame first. A stack that would reach beyond
          the segment's first row repeats that row.
        """

    @abc.abstractmethod
    def take(self, slots: Array) -> Array:
        """Copies single rows out, wherever they lie: `[*slots.shape, *row]`."""

    @abc.abstractmethod
    def save(self, slots: slice) -> Saved:
        """Returns a copy of the rows in these slots."""

    @abc.abstractmethod
    def load(self, slots: slice, saved: Saved, left_out: int = 0) -> None:
        """Writes rows that `save` returned, without the first `left_out` of them, to slots that are empty.

        Raises:
          CheckpointError: they are not so many rows of this column.
        """

    def _windows(self, flat: Array, slots_B: Array, num_valid_B: Array, origin_B: Array, length: int) -> Array:
        """Gathers from rows that lie side by side in `flat` (uint8)."""
        batch_size, num_stack, row_bytes = len(slots_B), self._num_stack, self._row_bytes
        rows_NX = flat.reshape(-1, row_bytes)
        windows_BLKX = np.empty((batch_size, length, num_stack, row_bytes), np.uint8)
        if num_stack > 1:
            _copy_stacks(rows_NX, slots_B, num_valid_B, origin_B, windows_BLKX)
        else:
            _copy_windows(rows_NX, slots_B, num_valid_B, windows_BLKX)
        stack = (num_stack,) if num_stack > 1 else ()
        return windows_BLKX.view(self._spec.dtype).reshape(batch_size, length, *stack, *self._spec.shape)


class RingColumn(Column):
    """Rows side by side in one array, whose memory is touched as the ring first fills.

    Attributes:
      rows: `[capacity, *row]`.
    """

    def __init__(self, spec: ArraySpec, capacity: int, num_stack: int = 1) -> None:
        super().__init__(spec, num_stack)
        self._flat = np.empty(capacity * spec.num_bytes, np.uint8)
        self.rows = self._flat.view(spec.dtype).reshape(capacity, *spec.shape)

    def write(self, slot: int, rows: Array, num_slots: int) -> None:
        """See `Column`."""
        self.rows[slot : slot + len(rows)] = rows
        self.rows[slot + len(rows) : slot + num_slots] = 0

    def clear(self, start: int, stop: int) -> None:
        """Does nothing: the array stays."""

    def gather(self, slots_B: Array, num_valid_B: Array, origin_B: Array, length: int) -> Array:
        """See `Column`."""
        return self._windows(self._flat, slots_B, num_valid_B, origin_B, length)

    def take(self, slots: Array) -> Array:
        """See `Column`."""
        rows: Array = self.rows[slots]
        return rows

    def save(self, slots: slice) -> Saved:
        """See `Column`."""
        return {"rows": self.rows[slots].copy()}

    def load(self, slots: slice, saved: Saved, left_out: int = 0) -> None:
        """See `Column`."""
        rows, num_rows = saved["rows"], slots.stop - slots.start + left_out
        if rows.shape != (num_rows, *self._spec.shape) or rows.dtype != self._spec.dtype:
            raise CheckpointError(
                f"saved rows have shape {rows.shape} and dtype {rows.dtype}, expected "
                f"{(num_rows, *self._spec.shape)} and {self._spec.dtype}. Resume with the experiment that was saved."
            )
        self.rows[slots] = rows[left_out:]


class CompressedColumn(Column):
    """Rows compressed by LZ4, each on its own. One that does not shrink is kept as it is, an absent one as nothing."""

    def __init__(self, spec: ArraySpec, capacity: int, num_stack: int = 1) -> None:
        super().__init__(spec, num_stack)
        self._packed: list[bytes] = [b""] * capacity

    def write(self, slot: int, rows: Array, num_slots: int) -> None:
        """See `Column`."""
        rows_NX = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), self._row_bytes)
        packed = [self._pack(row) for row in rows_NX]
        self._put(slot, packed + [b""] * (num_slots - len(packed)))

    def clear(self, start: int, stop: int) -> None:
        """See `Column`."""
        self._put(start, [b""] * (stop - start))

    def gather(self, slots_B: Array, num_valid_B: Array, origin_B: Array, length: int) -> Array:
        """See `Column`."""
        reach_B = np.minimum(slots_B - origin_B, self._num_stack - 1)
        count_B = np.minimum(num_valid_B, length) + reach_B
        first_B = slots_B - reach_B
        rows: list[bytes] = []
        for first, count in zip(first_B.tolist(), count_B.tolist(), strict=True):
            rows.extend(map(self._unpack, self._packed[first : first + count]))
        # The unpacked runs lie one behind the other, each beginning where its stacks stop reaching back.
        offset_B = np.cumsum(count_B) - count_B
        flat = np.frombuffer(bytearray().join(rows), np.uint8)
        return self._windows(flat, offset_B + reach_B, num_valid_B, offset_B, length)

    def take(self, slots: Array) -> Array:
        """See `Column`."""
        rows = bytearray().join(map(self._unpack, map(self._packed.__getitem__, slots.ravel().tolist())))
        return np.frombuffer(rows, np.uint8).view(self._spec.dtype).reshape(*slots.shape, *self._spec.shape)

    def save(self, slots: slice) -> Saved:
        """See `Column`."""
        packed = self._packed[slots]
        return {
            "packed": np.frombuffer(bytearray().join(packed), np.uint8),
            "offsets": np.cumsum([0, *map(len, packed)], dtype=np.int64),
        }

    def load(self, slots: slice, saved: Saved, left_out: int = 0) -> None:
        """See `Column`."""
        offsets, packed = saved["offsets"].tolist(), saved["packed"].tobytes()
        num_rows = slots.stop - slots.start + left_out
        if len(offsets) != num_rows + 1 or offsets[-1] != len(packed):
            raise CheckpointError(
                f"{len(offsets) - 1:,} compressed rows in {len(packed):,} bytes were saved, expected {num_rows:,} in "
                f"{offsets[-1]:,}. Resume with the experiment that was saved."
            )
        self._put(slots.start, [packed[start:stop] for start, stop in itertools.pairwise(offsets[left_out:])])

    def _put(self, slot: int, packed: list[bytes]) -> None:
        span = slice(slot, slot + len(packed))
        self.packed_bytes += _payload(packed) - _payload(self._packed[span])
        self._packed[span] = packed

    def _pack(self, row: Array) -> bytes:
        packed: bytes = lz4.block.compress(row, store_size=False)
        return packed if len(packed) < row.nbytes else row.tobytes()

    def _unpack(self, packed: bytes) -> bytes:
        if len(packed) == self._row_bytes:
            return packed
        if not packed:
            return bytes(self._row_bytes)
        row: bytes = lz4.block.decompress(packed, uncompressed_size=self._row_bytes)
        return row


def _payload(packed: Sequence[bytes]) -> int:
    # All empty rows are one shared object.
    return sum(len(row) + _OBJECT_BYTES for row in packed if row)


@njit(cache=True, inline="always")
def _copy(source: Array, target: Array) -> None:
    # A loop over two slices becomes one vectorised copy; indices computed inside it would not.
    for i in range(len(source)):
        target[i] = source[i]


@njit(cache=True, inline="always")
def _zero(target: Array) -> None:
    for i in range(len(target)):
        target[i] = 0


@njit(cache=True)
def _copy_windows(rows_NX: Array, slots_B: Array, num_valid_B: Array, windows_BLKX: Array) -> None:
    """Copies the valid rows of each window in one piece; K is 1."""
    row_bytes = rows_NX.shape[1]
    source = rows_NX.reshape(rows_NX.size)
    batch_size, length = windows_BLKX.shape[:2]
    windows_BY = windows_BLKX.reshape(batch_size, length * row_bytes)
    for b in range(batch_size):
        num_bytes = min(num_valid_B[b], length) * row_bytes
        start = slots_B[b] * row_bytes
        _copy(source[start : start + num_bytes], windows_BY[b, :num_bytes])
        _zero(windows_BY[b, num_bytes:])


@njit(cache=True)
def _copy_stacks(rows_NX: Array, slots_B: Array, num_valid_B: Array, origin_B: Array, windows_BLKX: Array) -> None:
    """Copies, for each valid row t of each window, the rows t - K + 1 to t, but none from before the origin."""
    batch_size, length, num_stack, _ = windows_BLKX.shape
    for b in range(batch_size):
        for t in range(length):
            for k in range(num_stack):
                if t < num_valid_B[b]:
                    _copy(rows_NX[max(slots_B[b] + t - (num_stack - 1 - k), origin_B[b])], windows_BLKX[b, t, k])
                else:
                    _zero(windows_BLKX[b, t, k])
