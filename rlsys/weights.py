"""Weights as one contiguous buffer, the form in which they are published, and the digest by which they are known.

One buffer is one object in shared memory: every worker of a node maps it without a copy.
"""

import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rlsys.types import Array, Weights

_ALIGNMENT = 64
_REMEMBERED = 10_000
_WORDS = 4_096
"""Words that a digest adds up before it mixes them in: a sum is ten times as fast as a CRC."""


@dataclass(frozen=True)
class Packed:
    """Published weights.

    Attributes:
      version, learner_step, turn: as in `Weights`.
      layout: (name, dtype, shape, offset in bytes) per array.
      buffer: uint8; all arrays, each aligned to 64 bytes.
      digest: of the arrays.
    """

    version: int
    learner_step: int
    layout: tuple[tuple[str, str, tuple[int, ...], int], ...]
    buffer: Array
    digest: int
    turn: int = 0


@dataclass(frozen=True)
class Echo:
    """The weights that somebody acts with: their version, -1 before the first, and their digest, None without any."""

    version: int
    digest: int | None


NOTHING = Echo(-1, None)
"""The echo of who has no weights yet."""


class Publications:
    """Remembers at which learner step each of the newest versions was published."""

    def __init__(self) -> None:
        self._published: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)

    def add(self, version: int, learner_step: int) -> None:
        """Takes in a version, newer than all before."""
        self._published.append((version, learner_step))

    def steps_of(self, versions: Array) -> Array:
        """Returns the learner steps of versions; of what is not remembered those of its neighbour."""
        known, steps = np.array(self._published or [(-1, 0)]).T
        found: Array = steps[np.maximum(np.searchsorted(known, versions, side="right") - 1, 0)]
        return found

    def save(self) -> Array:
        """Returns `[n, 2]` versions and their steps."""
        return np.array(self._published, np.int64).reshape(-1, 2)

    def load(self, saved: Array) -> None:
        """Takes over what `save` returned."""
        self._published = deque(map(tuple, saved.tolist()), maxlen=_REMEMBERED)


def pack(arrays: Mapping[str, Array], version: int, learner_step: int, turn: int = 0) -> Packed:
    """Copies arrays into one buffer."""
    layout, offset = [], 0
    for name, array in arrays.items():
        layout.append((name, array.dtype.str, array.shape, offset))
        offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    buffer = np.zeros(offset, np.uint8)
    for (_, _, _, start), array in zip(layout, arrays.values(), strict=True):
        buffer[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return Packed(version, learner_step, tuple(layout), buffer, digest(arrays), turn)


def unpack(packed: Packed) -> Weights:
    """Returns views into the buffer, which they keep alive."""
    arrays = {}
    for name, dtype, shape, offset in packed.layout:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        arrays[name] = packed.buffer[offset : offset + size].view(dtype).reshape(shape)
    return Weights(packed.version, packed.learner_step, arrays, packed.turn)


def digest(arrays: Mapping[str, Array]) -> int:
    """Returns 32 bits that tell weights apart: names and all values count, the order of the names does not.

    It finds what was mixed up, cut short or overwritten, at 20 GB/s; it is no protection against somebody who wants to
    deceive it.
    """
    value = 0
    for name, array in sorted(arrays.items()):
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        words = data[: len(data) // 8 * 8].view(np.uint64)
        value = zlib.crc32(name.encode(), value)
        if len(words):
            value = zlib.crc32(np.add.reduceat(words, np.arange(0, len(words), _WORDS)).data, value)
        value = zlib.crc32(data[len(words) * 8 :].data, value)
    return value


def echo(version: int, arrays: Mapping[str, Array]) -> Echo:
    """Returns the echo of what is acted with."""
    return Echo(version, digest(arrays) if arrays else None)
