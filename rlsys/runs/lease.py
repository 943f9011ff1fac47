"""Who leads a run: one process at a time, wherever it is. Looking and claiming are one act.

<run>/lease/lock      is locked by who leads, for the life of its process: the kernel lets go of it, however that ends
<run>/lease/000007    names the seventh process that leads; made exclusively, so that of several claims one succeeds

A lock is certain, but a file system may have none, or one of its own for each machine. The numbered file is seen by all
machines; whether who made it is still there is told, in this order, by the lock, by its process, and by its signs of
life: no clock is compared with another's, one watches whether anything changes. A process that was stopped for so long
that somebody else leads meanwhile finds a higher number, and ends.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rlsys.errors import CheckpointError
from rlsys.files.json_tree import parse_json
from rlsys.quoting import quoted, run_name

BEAT_S = 2.0
"""Between two signs of life."""


class RunLedError(CheckpointError):
    """A run that another process leads."""


_FOLDER = "lease"
_LOCK = "lock"
_WATCH_S = 10 * BEAT_S
_LOOK_S = 0.2
_APPENDING_PATIENCE_S = 60.0
_HELD = (errno.EACCES, errno.EAGAIN)

Purpose = Literal["train", "append rows to"]


@dataclass(frozen=True)
class Holder:
    """A process, told apart from all that ever had its number.

    Attributes:
      host, pid: as users know it; hosts may share a name, and a container's first process always has the same number.
      boot: of the kernel that it runs under; empty where that has no /proc.
      namespace: which processes its number is one of; likewise.
      started: clock ticks from that boot to its start; 0 likewise.
      purpose: what it does with the run.
    """

    host: str
    pid: int
    boot: str = ""
    namespace: str = ""
    started: int = 0
    purpose: Purpose = "train"

    @classmethod
    def this(cls, purpose: Purpose = "train") -> "Holder":
        """Returns this process."""
        pid = os.getpid()
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
            namespace = str(Path("/proc/self/ns/pid").readlink())
        except OSError:
            boot = namespace = ""
        return cls(socket.gethostname(), pid, boot, namespace, _started(pid) or 0, purpose)

    @classmethod
    def of(cls, tree: Mapping[str, Any]) -> "Holder":
        """Reads what `asdict` made of one; fields that are not there are unknown. Raises KeyError, TypeError."""
        names = [name for name in cls.__dataclass_fields__ if name in tree]
        holder = cls(**{name: tree[name] for name in names})
        if not isinstance(holder.pid, int) or not isinstance(holder.host, str) or not isinstance(holder.started, int):
            raise TypeError("a process has a number and a host")
        return holder

    def is_there(self) -> bool | None:
        """Tells whether the process lives; None where that cannot be known from here."""
        here = Holder.this()
        if self.host != here.host or (self.boot and (self.boot, self.namespace) != (here.boot, here.namespace)):
            return None
        if self.started:
            return _started(self.pid) == self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except (PermissionError, OverflowError):
            pass
        return True


def _started(pid: int) -> int | None:
    """Returns when a process began, in clock ticks from boot; None if there is none, or only what its parent keeps."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class _Newest:
    """The newest of the numbered files: its number, 0 without any, and whom it names, None if it was given back."""

    number: int
    holder: Holder | None


class Lease:
    """The right to lead a run, or to write its files, held by this process until `release`; also a context.

    Attributes:
      number: how many have held it, this one included.
      holder: this process.
    """

    def __init__(self, place: Path, number: int, lock: int | None, holder: Holder) -> None:
        """Takes over what `claim` has got."""
        self.number = number
        self.holder = holder
        self._lock = lock
        self._directory: int | None = os.open(place, os.O_RDONLY)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    @classmethod
    def claim(
        cls,
        folder: Path,
        purpose: Purpose = "train",
        *,
        signs: Callable[[], tuple[Holder | None, bytes]] = lambda: (None, b""),
        say: Callable[[str], None] = lambda text: None,
        watch_s: float = _WATCH_S,
    ) -> "Lease":
        """Makes this process the one that leads a run.

        Args:
          folder: of the run.
          purpose: what for. Who appends rows is waited for; it does not take long.
          signs: tells who gives signs of life in the folder, and the last sign; it changes as long as there are any.
          say: shows what is waited for.
          watch_s: how long somebody whose process cannot be looked at must be silent before it counts as lost; 0: such
            a run is left alone.

        Raises:
          RunLedError: somebody else leads it.
          CheckpointError: the folder cannot be written.
        """
        name, place = run_name(folder.absolute()), folder / _FOLDER
        deadline = time.monotonic() + _APPENDING_PATIENCE_S
        with _explained(folder):
            place.mkdir(mode=0o700, exist_ok=True)
            while True:
                newest, (writer, _) = _newest(place), signs()
                known = [holder for holder in (newest.holder, writer) if holder is not None]
                there = next((holder for holder in known if holder.is_there()), None)
                lock = None if there else _lock(place / _LOCK)
                if there or lock == _TAKEN:
                    busy = there or newest.holder
                    if busy is not None and busy.purpose != "train" and time.monotonic() < deadline:
                        time.sleep(_LOOK_S)
                        continue
                    raise taken(name, busy)
                try:
                    if _newest(place) != newest:  # somebody came and went between the look and the lock
                        _unlock(lock)
                        continue
                    here = Holder.this(purpose)
                    is_certain = lock is not None and newest.holder is not None and newest.holder.boot == here.boot
                    known = [holder for holder in known if not (is_certain and holder == newest.holder)]
                    doubtful = [holder for holder in known if holder.is_there() is None]
                    if doubtful:
                        _watch(name, place, doubtful[0], signs, say, watch_s)
                    _make(place, newest.number + 1, here, name)
                    return cls(place, newest.number + 1, lock, here)
                except BaseException:
                    _unlock(lock)
                    raise

    def successor(self) -> Holder | None:
        """Returns who leads instead of this process; None as long as nobody does. Works in a folder that has moved."""
        if self._directory is None:
            return None
        try:
            with os.scandir(self._directory) as entries:
                numbers = [int(entry.name) for entry in entries if entry.name.isdecimal()]
            if max(numbers, default=0) <= self.number:
                return None
            return _read(os.open(f"{max(numbers):06d}", os.O_RDONLY, dir_fd=self._directory)) or _UNKNOWN
        except FileNotFoundError:
            return _UNKNOWN
        except OSError:  # the file system is away
            return None

    def release(self) -> None:
        """Gives it back; does nothing the second time."""
        directory, self._directory = self._directory, None
        if directory is None:
            return
        name, aside = f"{self.number:06d}", f"aside-{uuid.uuid4().hex}"
        with contextlib.suppress(OSError):  # a full disk; the process's end says the same
            with os.fdopen(os.open(aside, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=directory), "wb") as file:
                file.write(_RELEASED)
            os.replace(aside, name, src_dir_fd=directory, dst_dir_fd=directory)
        os.close(directory)
        _unlock(self._lock)


_TAKEN = -1
_RELEASED = b"{}\n"
_UNKNOWN = Holder("another machine", 0)


def taken(name: str, holder: Holder | None) -> RunLedError:
    """Returns what to say of a run that somebody else leads."""
    if holder is None:
        return RunLedError(
            f"{name} is about to be led by another process. See {quoted('status', name)}, and try again."
        )
    if holder.purpose != "train":
        return RunLedError(f"process {holder.pid} on {holder.host} still adds rows to {name}. Try again when it ends.")
    return RunLedError(
        f"{name} is being trained by process {holder.pid} on {holder.host}. Follow it with {quoted('attach', name)}, "
        f"or end it first with {quoted('stop', name)}."
    )


def _newest(place: Path) -> _Newest:
    while True:
        number = max((int(path.name) for path in place.iterdir() if path.name.isdecimal()), default=0)
        with contextlib.suppress(FileNotFoundError):  # removed by whoever made a newer one
            return _Newest(number, _read(os.open(place / f"{number:06d}", os.O_RDONLY)) if number else None)


def _read(descriptor: int) -> Holder | None:
    """Reads a numbered file: whom it names, None if it was given back; what cannot be understood names somebody."""
    with os.fdopen(descriptor, "rb") as file:
        data = file.read()
    try:
        return None if data == _RELEASED else Holder.of(parse_json(data, dict[str, Any]))
    except (CheckpointError, KeyError, TypeError):
        return _UNKNOWN


def _make(place: Path, number: int, holder: Holder, name: str) -> None:
    """Makes the next numbered file, whole at once, unless somebody else has; removes earlier ones."""
    path, aside = place / f"{number:06d}", place / f"aside-{uuid.uuid4().hex}"
    data = json.dumps(asdict(holder)).encode() + b"\n"
    try:
        aside.write_bytes(data)
        aside.chmod(0o600)
        try:
            os.link(aside, path)
        except FileExistsError:
            raise
        except OSError:  # no hard links here
            with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(data)
    except FileExistsError:
        raise taken(name, _newest(place).holder) from None
    finally:
        aside.unlink(missing_ok=True)
    newest = _newest(place)
    if newest.number > number:  # of a claim that was through before this number was free again
        path.unlink(missing_ok=True)
        raise taken(name, newest.holder)
    for other in place.iterdir():
        if other.name.isdecimal() and int(other.name) < number:
            other.unlink(missing_ok=True)


def _watch(
    name: str,
    place: Path,
    holder: Holder,
    signs: Callable[[], tuple[Holder | None, bytes]],
    say: Callable[[str], None],
    watch_s: float,
) -> None:
    """Waits whether somebody who cannot be looked at gives a sign of life."""
    if watch_s <= 0:
        raise taken(name, holder)
    who = f"process {holder.pid} on {holder.host}"
    say(f"{name} was led by {who}, which cannot be looked at from here: watching for {watch_s:g} s whether it lives")
    before, deadline = (signs(), _newest(place)), time.monotonic() + watch_s
    while time.monotonic() < deadline:
        time.sleep(min(_LOOK_S, watch_s / 4))
        if (signs(), _newest(place)) != before:
            raise taken(name, holder)
    say(f"{who} is lost: it gave no sign of life; {name} goes on here")


def _lock(path: Path) -> int | None:
    """Locks a file; None where the file system has no locks, `_TAKEN` if somebody else has it.

    It is a record lock: children do not inherit it, and over NFS all machines share it. The process that holds it must
    not open the file a second time, for closing that would let go of the lock.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        return _TAKEN if error.errno in _HELD else None
    return file


def _unlock(lock: int | None) -> None:
    if lock is not None and lock != _TAKEN:
        os.close(lock)


@contextlib.contextmanager
def _explained(folder: Path) -> Any:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be written: {error.strerror or error}. Who leads a run writes there: give permission."
        ) from None
