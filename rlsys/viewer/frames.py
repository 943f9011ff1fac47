"""Many frames in little memory."""

import zipfile
import zlib

import numpy as np

from rlsys.types import Array

MOST_KEPT = 5_000
"""Decisions of an episode that is kept as arrays; a longer one would hold up whoever writes it."""


class PackedFrames:
    """Frames in compressed memory: half an hour of play would fill it otherwise."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self._shape: tuple[int, ...] = ()
        self._dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return len(self._packed)

    def append(self, frame: Array) -> None:
        """Takes a frame; all are of one shape and type."""
        self._shape, self._dtype = frame.shape, frame.dtype
        self._packed.append(zlib.compress(frame.tobytes(), 1))

    def replace_last(self, frame: Array) -> None:
        """Takes a frame in place of the newest."""
        self._packed.pop()
        self.append(frame)

    def array(self) -> Array:
        """Returns `[T + 1, *frame]`."""
        frames = [np.frombuffer(zlib.decompress(packed), self._dtype) for packed in self._packed]
        return np.stack(frames).reshape(len(frames), *self._shape)

    def write(self, archive: zipfile.ZipFile, name: str) -> None:
        """Writes `[T + 1, *frame]` as one array, frame by frame."""
        shape = (len(self._packed), *self._shape)
        descr = np.lib.format.dtype_to_descr(self._dtype)  # type: ignore[no-untyped-call]
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)  # type: ignore[no-untyped-call]
            for packed in self._packed:
                member.write(zlib.decompress(packed))
