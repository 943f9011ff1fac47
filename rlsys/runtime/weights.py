"""Weights as one contiguous buffer, the form in which they are published.

One buffer is one object in shared memory: every worker of a node maps it without a copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rlsys.types import Array, Weights

_ALIGNMENT = 64


@dataclass(frozen=True)
class Packed:
    """Published weights.

    Attributes:
      version, learner_step: as in `Weights`.
      layout: (name, dtype, shape, offset in bytes) per array.
      buffer: uint8; all arrays, each aligned to 64 bytes.
    """

    version: int
    learner_step: int
    layout: tuple[tuple[str, str, tuple[int, ...], int], ...]
    buffer: Array


def pack(arrays: Mapping[str, Array], version: int, learner_step: int) -> Packed:
    """Copies arrays into one buffer."""
    layout, offset = [], 0
    for name, array in arrays.items():
        layout.append((name, array.dtype.str, array.shape, offset))
        offset += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    buffer = np.zeros(offset, np.uint8)
    for (_, _, _, start), array in zip(layout, arrays.values(), strict=True):
        buffer[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return Packed(version, learner_step, tuple(layout), buffer)


def unpack(packed: Packed) -> Weights:
    """Returns views into the buffer; whoever keeps them copies them."""
    arrays = {}
    for name, dtype, shape, offset in packed.layout:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        arrays[name] = packed.buffer[offset : offset + size].view(dtype).reshape(shape)
    return Weights(packed.version, packed.learner_step, arrays)
