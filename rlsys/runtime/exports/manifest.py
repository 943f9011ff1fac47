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

from rlsys.errors import CheckpointError
from rlsys.runtime.checkpoints.storage import FileRecord, digest_of

NAME = "export.json"
_VERSION = 1
_PLAIN_PATH = re.compile(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)*")
"""Below the folder: no file can be named outside of it."""


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
            body = json.loads(text)
            version = body.pop("version")
            if version != _VERSION:
                raise CheckpointError(
                    f"{where} is an export of format {version}, expected {_VERSION}. Use the version of rlsys that "
                    "made it."
                )
            files = tuple(
                FileRecord(str(file["path"]), int(file["size"]), str(file["sha256"])) for file in body["files"]
            )
            found = cls(**{**body, "files": files, "learner_step": int(body["learner_step"])})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CheckpointError(f"{where} is no export: its {NAME} cannot be read. Export the run again.") from None
        strange = [record.path for record in files if not _PLAIN_PATH.fullmatch(record.path)]
        if strange:
            raise CheckpointError(f"{where} names a file outside of the export: {strange[0]}. Do not use it.")
        return found


def digest(text: bytes) -> str:
    """Returns what pins an export, of its manifest as it was written."""
    return hashlib.sha256(text).hexdigest()


def read(folder: Path) -> ExportManifest:
    """Reads the manifest of an export's folder.

    Raises:
      CheckpointError: there is none, or it cannot be understood.
    """
    try:
        text = (folder / NAME).read_bytes()
    except OSError:
        raise CheckpointError(f"{folder} has no {NAME}, so it is no export. Make one with 'rlsys export'.") from None
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
        wrong = what_is_wrong(folder / record.path, record)
        if wrong:
            raise CheckpointError(f"{where}: {record.path} {wrong}. Get the export again.")
    return found


def what_is_wrong(path: Path, record: FileRecord) -> str:
    """Returns what is wrong with a file; the empty string if nothing is."""
    try:
        size = path.stat().st_size
        if size != record.size:
            return f"has {size:,} bytes, expected {record.size:,}"
        return "" if digest_of(path) == record.sha256 else "does not match its checksum"
    except OSError:
        return "is missing"
