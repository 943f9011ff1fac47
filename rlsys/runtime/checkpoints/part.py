"""One part of a checkpoint, as files: what a worker saves, and what it gets back.

    <part>.json            all but the arrays; {"$array": key} where an array belongs
    <part>.safetensors     the arrays, keyed by their place in the part (a JSON pointer, RFC 6901)

Reading a part parses JSON and copies bytes: it never runs code.
"""

import json
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from rlsys.api import Saved
from rlsys.runtime.checkpoints.saved import PLAIN_DTYPES, decode, encode
from rlsys.runtime.checkpoints.storage import FileRecord, place_at, writing
from rlsys.types import Array

_PART_NAME = re.compile(r"(?!(manifest|score)$)[\w-]+(/[\w-]+)?")


@dataclass(frozen=True)
class Part:
    """A part that is ready to be written, by any thread.

    Attributes:
      name: letters, digits, "_" and "-"; one slash puts it into a subfolder.
      text: the content of its JSON file.
      arrays: those of its safetensors file.
    """

    name: str
    text: str
    arrays: dict[str, Array]

    @classmethod
    def of(cls, name: str, saved: Saved, *, copy: bool = False, half: bool = False) -> "Part":
        """Makes a part of what was saved.

        Args:
          name: see above.
          saved: tuples come back as lists and numpy scalars as Python's; all else comes back exactly.
          copy: whether arrays are copied, so that whoever saved them may go on to change them.
          half: whether float32 is stored in 16 bits, see `encode`.

        Raises:
          TypeError: something in `saved` is no array, JSON scalar, list or dict with string keys.
        """
        assert _PART_NAME.fullmatch(name), f"'{name}' cannot name a part of a checkpoint"
        arrays: dict[str, Array] = {}
        text = json.dumps(encode(saved, arrays, half=half), allow_nan=False, separators=(",", ":"))
        return cls(name, text, {key: array.copy() for key, array in arrays.items()} if copy else arrays)

    def write(self, place: str) -> list[FileRecord]:
        """Writes its files to a draft's place, durably, and says what it wrote.

        Raises:
          CheckpointError: they cannot be written, for want of space for example.
        """
        target = place_at(place)
        with writing(f"{self.name} to {place}", target.advice):
            records = [target.write(f"{self.name}.json", [self.text.encode()])]
            if self.arrays:
                records.append(target.write(f"{self.name}.safetensors", _blocks(self.arrays)))
        return records


def write_part(place: str, name: str, saved: Saved) -> list[FileRecord]:
    """Makes a part and writes it; see `Part`."""
    return Part.of(name, saved).write(place)


def read_part(folder: Path, name: str) -> dict[str, Any]:
    """Reads a part; its arrays are the caller's own."""
    tensors = folder / f"{name}.safetensors"
    arrays = load_file(tensors) if tensors.exists() else {}
    decoded: dict[str, Any] = decode(json.loads((folder / f"{name}.json").read_text()), arrays)
    return decoded


class PartsOnTheirWay:
    """Writes parts in a thread of its own, so that their owner can go on."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._written: Future[list[FileRecord]] | None = None

    def write(self, place: str, *parts: Part) -> None:
        """Begins to write parts; what it wrote before is forgotten."""
        self._written = self._thread.submit(lambda: [record for part in parts for record in part.write(place)])

    def records(self) -> list[FileRecord] | None:
        """Returns what was written, None as long as it is being written.

        Raises:
          CheckpointError: it cannot be written.
        """
        assert self._written is not None, "write() comes first"
        return self._written.result() if self._written.done() else None


def _blocks(arrays: dict[str, Array]) -> Iterator[bytes | memoryview]:
    """Yields a safetensors file, its arrays as they lie in memory: nothing is copied, and no lock is held for long."""
    ordered = sorted(arrays.items(), key=lambda item: -item[1].itemsize)  # so that each array is aligned
    header, end = {}, 0
    for name, array in ordered:
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": PLAIN_DTYPES[array.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for _, array in ordered:
        yield array.reshape(-1).view(np.uint8).data
