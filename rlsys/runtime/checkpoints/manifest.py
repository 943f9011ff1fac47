"""What makes a checkpoint: the list of its files with sizes and checksums, and what it was committed with."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rlsys.errors import CheckpointError
from rlsys.runtime.checkpoints.saved import decode, encode
from rlsys.runtime.checkpoints.storage import FileRecord

NAME = "manifest.json"
_VERSION = 2


@dataclass(frozen=True)
class Manifest:
    """One checkpoint.

    Attributes:
      learner_step: updates done when it was written.
      metrics: counters and other scalars.
      extra: whether it stays for good.
      files: what it consists of.
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
          CheckpointError: it is damaged, of another format, or of another step: the bare fact.
        """
        try:
            body = json.loads(text)
            if body.pop("sha256") != _digest(body):
                raise ValueError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CheckpointError(f"{NAME} does not match its checksum") from None
        if body["version"] != _VERSION or body["learner_step"] != learner_step:
            raise CheckpointError(
                f"{NAME} is of format {body['version']} and step {body['learner_step']}, "
                f"expected format {_VERSION} and step {learner_step}"
            )
        files = tuple(FileRecord(**entry) for entry in body["files"])
        return cls(learner_step, decode(body["metrics"], {}), body["extra"], files)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
