"""A run's sign of life, `status.json` and `workers.json` in its folder, and how it looks from elsewhere.

The folder is the one thing that a run, its workers and everybody who asks about it can see, on a laptop as on a
cluster: so nothing has to listen on a port, and a run's privacy is that of its folder.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from rlsys.errors import CheckpointError, RlsysError
from rlsys.runtime.metrics.roster import WorkerRow
from rlsys.runtime.status import Status

State = Literal["starting", "training", "ending", "done", "failed", "lost"]

_FILE = "status.json"
_WORKERS_FILE = "workers.json"
_BEAT_S = 2.0
_LOST_AFTER_S = 60.0
_REUSED_AFTER_S = 3600.0
"""A process of that number is somebody else's by then; a final evaluation may be silent for long."""


@dataclass(frozen=True)
class Sighting:
    """How a run was last seen.

    Attributes:
      folder: of the run.
      state: starting, training, ending, done, failed, or lost: it said nothing for a minute, or its process is gone.
      reason: why it ended, or what it waits for.
      host, pid: of the process that leads it.
      seen: Unix time of its last sign of life.
      status: its figures; None before the first.
    """

    folder: Path
    state: State
    reason: str
    host: str
    pid: int
    seen: float
    status: Status | None

    @property
    def is_alive(self) -> bool:
        """Whether somebody is there to answer."""
        return self.state in ("starting", "training", "ending")

    @property
    def name(self) -> str:
        """`<experiment>/<run-id>`."""
        return f"{self.folder.parent.name}/{self.folder.name}"


class Presence:
    """Says in a run's folder that the run is there, for as long as the context lasts."""

    def __init__(self, folder: Path) -> None:
        """Looks whether somebody else leads this run.

        Raises:
          CheckpointError: it is being trained already; two would overwrite each other's checkpoints.
        """
        self._folder = folder
        before = look(folder)
        if before is not None and before.is_alive:
            raise CheckpointError(
                f"{before.name} is being trained by process {before.pid} on {before.host}. Follow it with "
                f"'rlsys attach {before.name}', or end it first with 'rlsys stop {before.name}'."
            )
        self._state: State = "starting"
        self._reason = ""
        self._status: Status | None = None
        self._workers: Callable[[], Sequence[WorkerRow]] = tuple
        self._written = 0.0

    def __enter__(self) -> "Presence":
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            text = " ".join(str(error).split())
            self._state = "failed"
            self._reason = text if isinstance(error, RlsysError) and text else f"{type(error).__name__}: {text}"
        with contextlib.suppress(OSError):  # a full disk must not hide why the run ended
            self._write()

    def update(self, status: Status) -> None:
        """Notes how the run stands."""
        self._status = status
        if self._state == "starting":
            self._state = "training"
        self.beat()

    def tell_of(self, workers: Callable[[], Sequence[WorkerRow]]) -> None:
        """Tells of these workers, too, from now on."""
        self._workers = workers

    def beat(self) -> None:
        """Gives a sign of life if the last is two seconds old; a disk that is full is passed over."""
        if time.monotonic() - self._written >= _BEAT_S:
            with contextlib.suppress(OSError):
                self._write()

    def end(self, state: Literal["ending", "done"], reason: str) -> None:
        """Notes that the run is about to end, or has."""
        self._state, self._reason = state, reason
        with contextlib.suppress(OSError):
            self._write()

    def _write(self) -> None:
        status = None if self._status is None else asdict(self._status)
        tree = {
            "state": self._state,
            "reason": self._reason,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "seen": time.time(),
            "status": status,
        }
        _replace(self._folder / _FILE, tree)
        _replace(self._folder / _WORKERS_FILE, [asdict(row) for row in self._workers()])
        self._written = time.monotonic()


def look(folder: Path) -> Sighting | None:
    """Returns how a run was last seen; None if it never said anything, or what it said cannot be read."""
    try:
        tree: dict[str, Any] = json.loads((folder / _FILE).read_text())
        status = None if tree["status"] is None else Status(**tree["status"])
        sighting = Sighting(folder, tree["state"], tree["reason"], tree["host"], tree["pid"], tree["seen"], status)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if sighting.is_alive and not _is_there(sighting):
        return Sighting(folder, "lost", "no sign of life", sighting.host, sighting.pid, sighting.seen, status)
    return sighting


def workers(folder: Path) -> list[WorkerRow]:
    """Returns a run's processes as of its last sign of life; none if it never named any."""
    try:
        return [WorkerRow(**tree) for tree in json.loads((folder / _WORKERS_FILE).read_text())]
    except (OSError, ValueError, TypeError):
        return []


def sightings(directory: Path) -> Iterator[Sighting]:
    """Yields all runs below a directory that ever said something, the last seen first."""
    found = [look(path.parent) for path in directory.glob(f"*/*/{_FILE}")]
    yield from sorted((one for one in found if one is not None), key=lambda one: one.seen, reverse=True)


def _replace(path: Path, tree: Any) -> None:
    aside = path.with_name(f"{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(tree))
    aside.replace(path)


def _is_there(sighting: Sighting) -> bool:
    silent_s = time.time() - sighting.seen
    if sighting.host != socket.gethostname():
        return silent_s < _LOST_AFTER_S
    if silent_s > _REUSED_AFTER_S:
        return False
    try:
        os.kill(sighting.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
