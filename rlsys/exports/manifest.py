"""What an export is: a folder like a run's, with one checkpoint, and export.json, the list of its files.

    export.json                             names, and every file with its size and SHA-256
    config.yaml                             the experiment
    checkpoints/<learner_step>/…            weights, and the world model if there is one

An archive is the same in a .zip. The SHA-256 of export.json stands for all of it: `#sha256=…` at the end of a URI.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from rlsys.checkpoints.storage import FILE_NAME, STEP_NAME, FileRecord, digest_of
from rlsys.errors import CheckpointError
from rlsys.files.content import read_content
from rlsys.files.json_tree import parse_json

NAME = "export.json"
_VERSION = 1
MOST_MANIFEST_BYTES = 4 << 20
MOST_FILES = 1_000
_PATH = re.compile(rf"config\.yaml|checkpoints/{STEP_NAME.pattern}/(?:manifest\.json|{FILE_NAME.pattern})")
"""What a file of an export can be called: none can be outside of it."""
_SHOWN = 100
_Line = Annotated[str, Field(pattern=r"^\P{C}{1,200}$")]
"""Text that can be printed and written into a comment."""


@dataclass(frozen=True)
class _Stored:
    """A manifest as it is written."""

    version: int
    name: _Line
    algorithm: _Line
    environment: _Line
    learner_step: Annotated[int, Field(ge=0)]
    made_by: _Line
    files: tuple[FileRecord, ...]


@dataclass(frozen=True)
class ExportManifest:
    """One export.

    Attributes:
      name: the experiment's name.
      algorithm, environment: what was learned.
      learner_step: of its checkpoint.
      made_by: version of rlsys that wrote it.
      files: all but the manifest itself.
    """

    name: str
    algorithm: str
    environment: str
    learner_step: int
    made_by: str
    files: Sequence[FileRecord]

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return sum(record.size for record in self.files)

    def format(self) -> bytes:
        """Returns it as JSON."""
        files = [{"path": record.path, "size": record.size, "sha256": record.sha256} for record in self.files]
        return (json.dumps({"version": _VERSION, **asdict(self), "files": files}, indent=1) + "\n").encode()

    @classmethod
    def parse(cls, text: bytes, where: str) -> "ExportManifest":
        """Reads what `format` returned.

        Raises:
          CheckpointError: it is something else, of another format, or names files that are not below it.
        """
        try:
            version = parse_json(text, dict[str, Any]).get("version")
        except CheckpointError as error:
            raise _no_export(where, str(error)) from None
        if version != _VERSION:
            raise CheckpointError(
                f"{where} is an export of format {str(version)[:_SHOWN]}, expected {_VERSION}. Use the version of "
                "rlsys that made it."
            )
        try:
            stored = parse_json(text, _Stored)
            for record in stored.files:
                record.check()
        except CheckpointError as error:
            raise _no_export(where, str(error)) from None
        _check_names(stored.files, where)
        return cls(stored.name, stored.algorithm, stored.environment, stored.learner_step, stored.made_by, stored.files)


def _check_names(files: Sequence[FileRecord], where: str) -> None:
    """Refuses files that no export has, above all those outside of it."""
    if len(files) > MOST_FILES:
        raise CheckpointError(
            f"{where} names {len(files):,} files; an export has {MOST_FILES:,} at most. Do not use it."
        )
    paths = [record.path for record in files]
    strange = next((path for path in paths if not _PATH.fullmatch(path)), None)
    if strange is not None:
        raise CheckpointError(f"{where} names a file outside of the export: {_printed(strange)}. Do not use it.")
    if len(set(paths)) < len(paths):
        raise CheckpointError(f"{where} names a file twice. Do not use it.")


def _printed(path: str) -> str:
    return path[:_SHOWN].encode("unicode_escape").decode()


def _no_export(where: str, fact: str) -> CheckpointError:
    return CheckpointError(f"{where} is no export: its {NAME} cannot be read. It {fact}. Export the run again.")


def digest(text: bytes) -> str:
    """Returns what pins an export, of its manifest as it was written."""
    return hashlib.sha256(text).hexdigest()


def read(folder: Path) -> ExportManifest:
    """Reads the manifest of an export's folder.

    Raises:
      CheckpointError: there is none, or it cannot be understood.
    """
    try:
        text = read_content(folder / NAME, MOST_MANIFEST_BYTES)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no {NAME}, so it is no export. Make one with 'rlsys export'.") from None
    except OSError as error:
        raise CheckpointError(f"{folder / NAME} cannot be read: {error.strerror or error}. Get it again.") from None
    return ExportManifest.parse(text, str(folder))


def verify(folder: Path, where: str) -> ExportManifest:
    """Reads an export's manifest and compares every file with it.

    Args:
      folder: where it lies.
      where: what errors call it.

    Raises:
      CheckpointError: a file is missing or damaged; it is named.
    """
    found = read(folder)
    for record in found.files:
        if not (folder / record.path).resolve().is_relative_to(folder.resolve()):
            raise CheckpointError(f"{where}: {record.path} is a link to a file outside of the export. Do not use it.")
        wrong = what_is_wrong(folder / record.path, record)
        if wrong:
            raise CheckpointError(f"{where}: {record.path} {wrong}. Get the export again.")
    return found


def what_is_wrong(path: Path, record: FileRecord) -> str:
    """Returns what is wrong with a file; the empty string if nothing is."""
    try:
        if not path.is_file():
            return "is missing"
        size = path.stat().st_size
        if size != record.size:
            return f"has {size:,} bytes, expected {record.size:,}"
        return "" if digest_of(path) == record.sha256 else "does not match its checksum"
    except OSError:
        return "is missing"
