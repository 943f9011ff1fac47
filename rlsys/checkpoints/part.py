"""One part of a checkpoint, as files: what a worker saves, and what it gets back.

    <part>.json            all but the arrays; {"$array": key} where an array belongs
    <part>.safetensors     the arrays, keyed by their place in the part (a JSON pointer, RFC 6901)

Reading a part parses JSON and copies bytes: it never runs code.
"""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from rlsys.api import Saved
from rlsys.checkpoints.locations import place_at
from rlsys.checkpoints.saved import PLAIN_DTYPES, decode, encode
from rlsys.checkpoints.storage import FILE_NAME, FileRecord, writing
from rlsys.errors import CheckpointError
from rlsys.files.content import read_content
from rlsys.files.json_tree import MOST_BYTES, parse_json
from rlsys.types import Array

_SHOWN = 200


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
        assert FILE_NAME.fullmatch(f"{name}.json"), f"'{name}' cannot name a part of a checkpoint"
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
    """Reads a part; its arrays are the caller's own.

    Raises:
      CheckpointError: a file is not what `Part.write` writes: the bare fact, with the file's name.
    """
    tensors = folder / f"{name}.safetensors"
    arrays = _read_arrays(tensors, f"{name}.safetensors") if tensors.exists() else {}
    try:
        tree = parse_json(read_content(folder / f"{name}.json", MOST_BYTES), dict[str, Any])
        decoded: dict[str, Any] = decode(tree, arrays)
    except OSError as error:
        raise CheckpointError(f"{name}.json cannot be read: {error.strerror or error}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{name}.json {error}") from None
    if not isinstance(decoded, dict):
        raise CheckpointError(f"{name}.json is not what belongs there: it should be a dictionary")
    return decoded


def _read_arrays(path: Path, name: str) -> dict[str, Array]:
    try:
        arrays: dict[str, Array] = load_file(path)
    except Exception as error:  # noqa: BLE001 - the format's own library says in many types what is wrong with a file
        raise CheckpointError(f"{name} is no whole safetensors file: {' '.join(str(error).split())[:_SHOWN]}") from None
    strange = next((array.dtype for array in arrays.values() if array.dtype.str not in PLAIN_DTYPES), None)
    if strange is not None:
        raise CheckpointError(f"{name} holds an array of dtype {strange}, which no part has")
    return arrays


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
