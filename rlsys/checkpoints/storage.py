"""Where the checkpoints of a run lie: what a folder and an object store have in common.

Files are written to a *place* first, one per draft, by any process that can reach it; a manifest makes a checkpoint of
what lies there. How it does is the storage's: a folder is renamed, an object store has its manifests.
"""

import abc
import contextlib
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlsys.config.fields import shortened
from rlsys.errors import CheckpointError

Blocks = Iterable[bytes | memoryview]
"""A file's bytes, one block after the other."""
STEP_NAME = re.compile(r"[0-9]{9,18}")
FILE_NAME = re.compile(r"(?!(?:manifest|score)\.)[A-Za-z0-9_-]{1,100}(?:/[A-Za-z0-9_-]{1,100})?\.(?:json|safetensors)")
"""What a file of a checkpoint can be called: a part of it, or below one; never anything outside."""
SOURCE_NAME = re.compile(rf"parts/{STEP_NAME.pattern}-[0-9a-f]{{8}}/{FILE_NAME.pattern}")
"""Where such a file can lie in an object store."""
_SHOWN = 300
_LARGEST = 2**63 - 1
"""Bytes of a file, of any file system."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileRecord:
    """One file of a checkpoint.

    Attributes:
      path: its name in the checkpoint, such as "learner.json" or "replay-0/000000007.safetensors".
      size: its bytes; sha256: their SHA-256 in hex.
      source: in an object store, the key of the object below the checkpoints; several checkpoints may name the same.
    """

    path: str
    size: int
    sha256: str
    source: str = ""

    def check(self) -> None:
        """Refuses what can be true of no file. Raises CheckpointError with the bare fact."""
        if not 0 <= self.size <= _LARGEST or not _DIGEST.fullmatch(self.sha256):
            raise CheckpointError(
                f"says that {shortened(self.path)} has size {shortened(self.size)} and sha256 "
                f"{shortened(self.sha256)}, which no file has"
            )


@dataclass(frozen=True)
class Fetched:
    """Files of a checkpoint in a folder of this machine, which is there for as long as `owner` lives."""

    folder: Path
    owner: object = None


class Place(abc.ABC):
    """Where the files of one draft are written.

    Attributes:
      advice: what the user can do when that fails.
    """

    advice: str

    @abc.abstractmethod
    def write(self, path: str, blocks: Blocks) -> FileRecord:
        """Writes a file; its folder, if it is in one, is made.

        Raises:
          OSError: it cannot be written.
        """

    @abc.abstractmethod
    def reuse(self, record: FileRecord, step: int) -> FileRecord | None:
        """Takes a file of a committed checkpoint into the draft, without writing it again; None if that cannot be."""


class Storage(abc.ABC):
    """The checkpoints of one run. Methods raise OSError where the disk or the network fails.

    Attributes:
      advice: what the user can do about that.
    """

    advice: str

    @abc.abstractmethod
    def begin(self, step: int) -> str:
        """Makes a place for a draft; clears away what was left of earlier ones, where that is quick."""

    @abc.abstractmethod
    def discard(self, place: str) -> None:
        """Removes what lies in a place, where that is quick; never fails."""

    @abc.abstractmethod
    def commit(self, place: str, step: int, manifest: str, records: Sequence[FileRecord]) -> None:
        """Makes a checkpoint of a place, all at once, instead of one of the same step.

        Raises:
          CheckpointError: a file is not there.
        """

    @abc.abstractmethod
    def remove(self, steps: Iterable[int]) -> None:
        """Removes checkpoints, and all files that no other checkpoint needs."""

    @abc.abstractmethod
    def steps(self) -> tuple[int, ...]:
        """Returns the steps of all checkpoints, oldest first."""

    @abc.abstractmethod
    def read(self, step: int, name: str) -> bytes:
        """Returns the content of a note to a checkpoint, such as its manifest. Raises FileNotFoundError."""

    @abc.abstractmethod
    def note(self, step: int, name: str, text: str) -> None:
        """Writes a note to a checkpoint, or replaces it, at once."""

    @abc.abstractmethod
    def sizes(self, step: int, records: Sequence[FileRecord]) -> list[int | None]:
        """Returns the bytes of each file as it lies there; None where it is missing."""

    @abc.abstractmethod
    def fetch(self, step: int, records: Sequence[FileRecord]) -> Fetched:
        """Brings files of a checkpoint to this machine."""

    @abc.abstractmethod
    def probe(self) -> None:
        """Writes something and removes it again."""


def is_uri(location: str | Path) -> bool:
    """Tells a URI from a folder."""
    return "://" in str(location)


def join(location: str, *names: str) -> str:
    """Returns a location below another one; a URI's query stays at its end."""
    path, mark, query = location.partition("?") if is_uri(location) else (location, "", "")
    return "/".join([path.rstrip("/"), *names]) + mark + query


def write_hashed(path: str, blocks: Blocks, write: Callable[[bytes | memoryview], object]) -> FileRecord:
    """Writes blocks one by one; returns what was written."""
    digest, size = hashlib.sha256(), 0
    for block in blocks:
        write(block)
        digest.update(block)
        size += len(block)
    return FileRecord(path, size, digest.hexdigest())


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def with_source(record: FileRecord, source: str) -> FileRecord:
    """Returns the record of the same file, somewhere else."""
    return dataclasses.replace(record, source=source)


@contextlib.contextmanager
def writing(where: str | Path, advice: str) -> Iterator[None]:
    """Turns what an operating system or a network says about a failed write into one line."""
    try:
        yield
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())[:_SHOWN]
        raise CheckpointError(f"cannot write {where}: {reason}; earlier checkpoints are untouched. {advice}") from error
