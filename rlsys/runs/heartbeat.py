"""A run's sign of life, `status.json` and `workers.json` in its folder, and how it looks from elsewhere.

The folder is the one thing that a run, its workers and everybody who asks about it can see, on a laptop as on a
cluster: so nothing has to listen on a port, and a run's privacy is that of its folder.
"""

import contextlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal

from pydantic import Field

from rlsys.errors import CheckpointError, RlsysError, WorkerError
from rlsys.files.content import overwrite_content, read_content, replace_content
from rlsys.files.json_tree import MOST_BYTES, parse_json
from rlsys.quoting import quoted
from rlsys.runs.lease import BEAT_S, Holder, Lease, Purpose
from rlsys.runs.status import Status
from rlsys.runs.workers import WorkerRow

State = Literal["starting", "training", "ending", "done", "failed", "lost"]

_FILE = "status.json"
_WORKERS_FILE = "workers.json"
_LOST_AFTER_S = 60.0


@dataclass(frozen=True)
class _Sign:
    """What is in status.json: a sign of life, and of whom, as `Holder` says it."""

    state: State
    reason: str
    host: str
    pid: int
    seen: Annotated[float, Field(ge=0.0, le=1e11)]
    status: Status | None
    boot: str = ""
    namespace: str = ""
    started: int = 0
    purpose: Purpose = "train"
    beats: int = 0
    is_complete: bool = False


@dataclass(frozen=True)
class Sighting:
    """How a run was last seen.

    Attributes:
      folder: of the run.
      state: starting, training, ending, done, failed, or lost: its process is gone, or, where that cannot be looked at,
        it said nothing for a minute.
      reason: why it ended, or what it waits for.
      host, pid: of the process that leads it.
      seen: Unix time of its last sign of life.
      status: its figures; None before the first.
      is_complete: whether it ended because it has done all that it was to do.
    """

    folder: Path
    state: State
    reason: str
    host: str
    pid: int
    seen: float
    status: Status | None
    is_complete: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether somebody is there to answer."""
        return self.state in ("starting", "training", "ending")

    @property
    def name(self) -> str:
        """`<experiment>/<run-id>`."""
        return f"{self.folder.parent.name}/{self.folder.name}"


class Heartbeat:
    """Leads a run, and says in its folder that it is there, for as long as the context lasts.

    Signs of life come from a thread of its own, whatever the run is busy with. It also looks whether the folder is
    still where it was: a run whose folder is moved goes on writing in it, as far as that is open, and ends.
    """

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda text: None) -> None:
        """Claims the run; looking and claiming are one act.

        Args:
          folder: of the run.
          say: shows what is waited for, if somebody may still lead it who cannot be looked at from here.

        Raises:
          CheckpointError: it is being trained already; two would overwrite each other's checkpoints.
        """
        self._lease = Lease.claim(folder, signs=lambda: _last_sign(folder), say=say)
        self._folder = folder
        self._directory = os.open(folder, os.O_RDONLY)
        self._state: State = "starting"
        self._reason = ""
        self._status: Status | None = None
        self._workers: Callable[[], Sequence[WorkerRow]] = tuple
        self._moved: Callable[[Path], None] = lambda folder: None
        self._is_gone = False
        self._is_complete = False
        self._beats = 0
        self._written = 0.0
        self._writing = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="signs of life", daemon=True)

    @property
    def folder(self) -> Path:
        """Where the run's folder is now."""
        return self._folder

    def __enter__(self) -> "Heartbeat":
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        if error is not None:
            text = " ".join(str(error).split())
            self._state = "failed"
            self._reason = text if isinstance(error, RlsysError) and text else f"{type(error).__name__}: {text}"
        with contextlib.suppress(OSError):  # a full disk must not hide why the run ended
            self._write()
        self.close()

    def close(self) -> None:
        """Gives the run back, without a word; does nothing the second time."""
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1
            self._lease.release()

    def on_move(self, moved: Callable[[Path], None]) -> None:
        """Calls `moved`, from another thread, with the place to which the run's folder is moved under it."""
        self._moved = moved

    def check(self) -> None:
        """Makes sure that this process still leads the run; called before it writes what others could write, too.

        Raises:
          WorkerError: another process leads it, because this one was silent for so long that it seemed lost.
          CheckpointError: the folder is gone.
        """
        with contextlib.suppress(OSError):
            self._look_for_folder()
        successor = self._lease.successor()
        if self._is_gone:
            raise CheckpointError(
                f"{self._folder} is gone; nothing of this run can be written any more. It ends here: put the folder "
                "back, if it was moved from another machine, and continue with --resume."
            )
        if successor is not None:
            raise WorkerError(
                f"process {successor.pid} on {successor.host} leads {self._folder} now, for this one was silent for so "
                "long that it seemed lost. It ends, and writes nothing more: follow the other with "
                f"{quoted('attach', self._folder)}."
            )

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
        """Tells how the run stands if that is two seconds ago; a disk that is full is passed over. See `check`."""
        if time.monotonic() - self._written >= BEAT_S:
            self.check()
            with contextlib.suppress(OSError):
                self._write()

    def end(self, state: Literal["ending", "done"], reason: str, *, is_complete: bool = False) -> None:
        """Notes that the run is about to end, or has, and then whether that is because nothing is left to do."""
        self._state, self._reason, self._is_complete = state, reason, is_complete
        with contextlib.suppress(OSError):
            self._write()

    def complete(self, reason: str) -> None:
        """Notes that nothing was left to do, if the session that did the last of it was interrupted just then."""
        sighting = look(self._folder)
        if sighting is not None and not sighting.is_complete:
            self._status = sighting.status
            self.end("done", reason, is_complete=True)

    def _live(self) -> None:
        """Gives signs of life until the run has ended."""
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(OSError):
                self._look_for_folder()
                self._give_sign()

    def _look_for_folder(self) -> None:
        """Finds out whether the folder lies where it did, or else where it went."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self._folder.stat(), os.fstat(self._directory)):
                return
        with self._writing, contextlib.suppress(OSError):
            moved = Path(f"/proc/self/fd/{self._directory}").readlink()
            if os.path.samestat(moved.stat(), os.fstat(self._directory)):
                self._folder = moved
                self._moved(moved)
                return
        self._is_gone = True

    def _write(self) -> None:
        self._give_sign()
        if not self._is_gone and self._lease.successor() is None:
            replace_content(self._folder / _WORKERS_FILE, json.dumps([asdict(row) for row in self._workers()]))
        self._written = time.monotonic()

    def _give_sign(self) -> None:
        with self._writing:
            if self._is_gone or self._lease.successor() is not None:
                return
            self._beats += 1
            tree = {
                "state": self._state,
                "reason": self._reason,
                **asdict(self._lease.holder),
                "beats": self._beats,
                "is_complete": self._is_complete,
                "seen": time.time(),
                "status": None if self._status is None else asdict(self._status),
            }
            path = self._folder / _FILE
            try:
                replace_content(path, json.dumps(tree))
            except OSError:  # how a run ended is said even on a disk that is full, if need be without its figures
                if self._state not in ("failed", "done"):
                    raise
                text = json.dumps(tree)
                if len(text) > path.stat().st_size:
                    text = json.dumps({**tree, "status": None})
                overwrite_content(path, text)


def look(folder: Path, now: Callable[[], float] | None = None) -> Sighting | None:
    """Returns how a run was last seen; None if it never said anything, or what it said cannot be read.

    Args:
      folder: of the run.
      now: time by the clock that stamps the files there, in Unix seconds; by default one is touched to find out.
    """
    try:
        data = read_content(folder / _FILE, MOST_BYTES)
        written = (folder / _FILE).stat().st_mtime
        sign = parse_json(data, _Sign)
        holder = Holder.of(asdict(sign))
    except (OSError, CheckpointError, TypeError):
        return None
    sighting = Sighting(folder, sign.state, sign.reason, sign.host, sign.pid, sign.seen, sign.status, sign.is_complete)
    if not sighting.is_alive:
        return sighting
    is_there = holder.is_there()
    if is_there is None:  # its clock, the file system's and ours may all differ: only those of files are compared
        silent_s = (now or clock_of(folder))() - written
        is_there, sighting = silent_s < _LOST_AFTER_S, replace(sighting, seen=time.time() - silent_s)
    return sighting if is_there else replace(sighting, state="lost", reason="no sign of life")


def clock_of(folder: Path) -> Callable[[], float]:
    """Returns a clock that runs as the one by which the files of a folder are stamped, looked at once."""

    def offset() -> float:
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                return os.fstat(file.fileno()).st_mtime - time.time()
        except OSError:  # not ours to write: then by our own clock
            return 0.0

    known: list[float] = []

    def now() -> float:
        if not known:
            known.append(offset())
        return time.time() + known[0]

    return now


def _last_sign(folder: Path) -> tuple[Holder | None, bytes]:
    """Returns who gives signs of life, None if whoever did has said that it ended, and the last sign."""
    try:
        data = read_content(folder / _FILE, MOST_BYTES)
        sign = parse_json(data, _Sign)
        return (Holder.of(asdict(sign)) if sign.state in ("starting", "training", "ending") else None), data
    except (OSError, CheckpointError, TypeError):
        return None, b""


def workers(folder: Path) -> list[WorkerRow]:
    """Returns a run's processes as of its last sign of life; none if it never named any."""
    try:
        return parse_json(read_content(folder / _WORKERS_FILE, MOST_BYTES), list[WorkerRow])
    except (OSError, CheckpointError):
        return []


def sightings(directory: Path) -> Iterator[Sighting]:
    """Yields all runs below a directory that ever said something, the last seen first."""
    now = clock_of(directory)
    found = [look(path.parent, now) for path in directory.glob(f"*/*/{_FILE}")]
    yield from sorted((one for one in found if one is not None), key=lambda one: one.seen, reverse=True)
