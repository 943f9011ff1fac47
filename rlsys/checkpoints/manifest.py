"""What makes a checkpoint: the list of its files with sizes and checksums, and what it was committed with."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rlsys.checkpoints.saved import decode, encode
from rlsys.checkpoints.storage import FILE_NAME, SOURCE_NAME, FileRecord
from rlsys.config.fields import shortened
from rlsys.errors import CheckpointError
from rlsys.files.json_tree import parse_json

NAME = "manifest.json"
_VERSION = 2


@dataclass(frozen=True)
class _Stored:
    """A manifest as it is written."""

    version: int
    learner_step: int
    extra: bool
    metrics: dict[str, Any]
    files: tuple[FileRecord, ...]
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """One checkpoint.

    Attributes:
      learner_step: updates done when it was written.
      metrics: counters and other scalars.
      extra: whether it stays for good.
      files: what it consists of; each is named once, and none lies elsewhere than where checkpoints have files.
    """

    learner_step: int
    metrics: Mapping[str, Any]
    extra: bool
    files: Sequence[FileRecord]

    def format(self) -> str:
        """Returns it as JSON with a checksum of its own."""
        body = {
            "version": _VERSION,
            "learner_step": self.learner_step,
            "extra": self.extra,
            "metrics": encode(self.metrics, {}),
            "files": [asdict(record) for record in sorted(self.files, key=lambda record: record.path)],
        }
        return json.dumps({**body, "sha256": _digest(body)}, indent=1)

    @classmethod
    def parse(cls, text: bytes, learner_step: int) -> "Manifest":
        """Reads what `format` returned.

        Raises:
          CheckpointError: it is damaged, of another format or step, or names files that no checkpoint has: the bare
            fact.
        """
        try:
            body = parse_json(text, dict[str, Any])
            is_whole = body.pop("sha256", None) == _digest(body)
        except (CheckpointError, RecursionError):
            is_whole = False
        if not is_whole:
            raise CheckpointError(f"{NAME} does not match its checksum")
        if body.get("version") != _VERSION or body.get("learner_step") != learner_step:
            raise CheckpointError(
                f"{NAME} is of format {shortened(body.get('version'))} and step "
                f"{shortened(body.get('learner_step'))}, "
                f"expected format {_VERSION} and step {learner_step}"
            )
        try:
            stored = parse_json(text, _Stored)
            metrics = decode(stored.metrics, {})
            for record in stored.files:
                record.check()
        except CheckpointError as error:
            raise CheckpointError(f"{NAME} {error}") from None
        _check_files(stored.files)
        return cls(learner_step, metrics, stored.extra, stored.files)


def _check_files(files: Sequence[FileRecord]) -> None:
    """Refuses what would be read from, or written to, anywhere else."""
    for path, count in Counter(record.path for record in files).items():
        if count > 1:
            raise CheckpointError(f"{NAME} names {path} {count} times")
    for record in files:
        if not FILE_NAME.fullmatch(record.path):
            raise CheckpointError(f"{NAME} names a file outside of the checkpoint: {record.path!r}")
        if record.source and not SOURCE_NAME.fullmatch(record.source):
            raise CheckpointError(f"{NAME} names an object outside of the checkpoints: {record.source!r}")


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
