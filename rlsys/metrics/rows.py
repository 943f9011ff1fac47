"""metrics.jsonl as it is read: by reports, benchmarks and whoever goes on writing it.

Disks flip bits, crashes tear lines, and after a loss of power a file may hold zeros: no such thing ends a run, or keeps
somebody from reading the rest. What cannot be read is left out and counted.
"""

import json
import logging
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlsys.errors import CheckpointError

METRICS_FILE = "metrics.jsonl"

_ROW = re.compile(rb"\{[^{}]*\}")
"""Rows hold no objects: whole ones are found in a line of which something else is damaged, the end for example."""


def log_warning(text: str) -> None:
    """Sends a line to Python's logging."""
    logging.getLogger(__name__).warning(text)


@dataclass
class Rows:
    """What is in the file.

    Attributes:
      rows: those that count, oldest first, with "learner_step", "env_steps", "time_s" and metrics; null is NaN.
      num_lines: of the file, each ended by a line break.
      num_bytes: of these lines; what follows was torn off by a crash.
      num_damaged: lines that cannot be read, or not as a whole.
      last_time_s: time of the last row.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    num_lines: int = 0
    num_bytes: int = 0
    num_damaged: int = 0
    last_time_s: float = 0.0

    @classmethod
    def of(cls, data: bytes) -> "Rows":
        """Reads a file's content."""
        found = cls()
        for line in data.split(b"\n")[:-1]:
            found.num_lines += 1
            found.num_bytes += len(line) + 1
            entries = list(_entries(line))
            found.num_damaged += entries.count(None) > 0
            for entry in entries:
                if entry is not None:
                    found._take(entry)
        return found

    def warning(self, path: Path) -> str:
        """Returns what to say of damage; empty if there is none."""
        if not self.num_damaged:
            return ""
        return f"{path}: {self.num_damaged:,} of {self.num_lines:,} lines cannot be read, and are left out"

    def _take(self, entry: dict[str, float]) -> None:
        self.last_time_s = entry["time_s"]
        if "rewound_to" in entry:
            self.rows = [row for row in self.rows if row["learner_step"] <= entry["rewound_to"]]
        else:
            self.rows.append(entry)


def read_metrics(folder: Path, warn: Callable[[str], None] = log_warning) -> list[dict[str, float]]:
    """Reads a run's rows back, oldest first, without those that were repeated after a rewind.

    Args:
      folder: the run's folder; the run may still be writing.
      warn: told once how many lines cannot be read, if there are any.

    Returns:
      Rows with "learner_step", "env_steps", "time_s" and metrics; null has become NaN.

    Raises:
      CheckpointError: there is no such file.
    """
    path = folder / METRICS_FILE
    try:
        found = Rows.of(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}. Is {folder} the folder of a run?") from None
    if warning := found.warning(path):
        warn(warning)
    return found.rows


def _entries(line: bytes) -> Iterator[dict[str, float] | None]:
    """Yields what a line holds, one row or one rewind as a rule; None for damage."""
    if (whole := _entry(line)) is not None:
        yield whole
        return
    yield None
    yield from (entry for part in _ROW.findall(line) if (entry := _entry(part)) is not None)


def _entry(text: bytes) -> dict[str, float] | None:
    try:
        tree: Any = json.loads(text)
        if not isinstance(tree, dict) or any(isinstance(value, bool | str | list | dict) for value in tree.values()):
            return None
        entry = {name: math.nan if value is None else value for name, value in tree.items()}
        steps = (entry["rewound_to"],) if "rewound_to" in entry else (entry["learner_step"], entry["env_steps"])
        _ = [float(value) for value in entry.values()]  # integers have no end, numbers of metrics have
        return entry if all(isinstance(step, int) for step in steps) and math.isfinite(entry["time_s"]) else None
    except (ValueError, KeyError, OverflowError, RecursionError):
        return None
