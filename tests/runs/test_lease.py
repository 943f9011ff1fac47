"""One process leads a run, wherever it is: claims that race, processes that are gone, machines that cannot be seen."""

import dataclasses
import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlsys.errors import CheckpointError
from rlsys.runs.lease import Holder, Lease

_CLAIMS = """
import errno, fcntl, sys
from pathlib import Path
from rlsys.errors import CheckpointError
from rlsys.runs.lease import Lease
if sys.argv[1] == "without locks":
    def lockf(file, how):
        raise OSError(errno.ENOLCK, "no locks")
    fcntl.lockf = lockf
sys.stdin.readline()
leases = []
for folder in sorted(Path(sys.argv[2]).iterdir()):
    try:
        leases.append(Lease.claim(folder))
        print(folder.name, flush=True)
    except CheckpointError:
        pass
print("through", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checking" / "here"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks."""

    def lockf(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Another process on this machine."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def held_by(folder: Path, **changes: object) -> Holder:
    """Makes a run that was led last by somebody who differs so from this process, and never said that it ended."""
    (folder / "lease").mkdir(exist_ok=True)
    holder = dataclasses.replace(Holder.this(), **changes)  # type: ignore[arg-type]
    (folder / "lease" / "000003").write_text(json.dumps(dataclasses.asdict(holder)))
    return holder


@pytest.mark.parametrize("file_system", ["with locks", "without locks"])
def test_of_several_processes_that_claim_a_run_at_once_exactly_one_leads_it(tmp_path: Path, file_system: str) -> None:
    names = [f"run-{index:02d}" for index in range(20)]
    for name in names:
        (tmp_path / name).mkdir()
        if name > "run-10":
            held_by(tmp_path / name, pid=2**22 - 1)
    command = [sys.executable, "-c", _CLAIMS, file_system, str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) for _ in range(5)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
    won: list[str] = []
    for process in processes:
        assert process.stdout is not None
        won += [line.strip() for line in iter(process.stdout.readline, "through\n")]
    for process in processes:
        process.communicate("end\n", timeout=30)
    assert sorted(won) == names


def test_a_run_that_is_led_is_refused_and_one_that_was_given_back_is_not(folder: Path) -> None:
    with Lease.claim(folder) as lease:
        with pytest.raises(
            CheckpointError, match=rf"checking/here is being trained by process {os.getpid()} on .*attach"
        ):
            Lease.claim(folder)
        assert lease.successor() is None
    with Lease.claim(folder) as second:
        assert second.number == lease.number + 1
    assert sorted(path.name for path in (folder / "lease").iterdir()) == [f"{second.number:06d}", "lock"]


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_living_process_is_told_from_a_dead_one(folder: Path, child: subprocess.Popen[bytes]) -> None:
    with Lease.claim(folder), pytest.raises(CheckpointError, match="being trained"):
        Lease.claim(folder)
    held_by(folder, pid=child.pid, started=_start_of(child.pid))
    with pytest.raises(CheckpointError, match=f"being trained by process {child.pid}"):
        Lease.claim(folder)
    child.kill()
    child.wait()
    Lease.claim(folder).release()


def test_a_process_that_nobody_has_waited_for_is_gone(folder: Path, child: subprocess.Popen[bytes]) -> None:
    held_by(folder, pid=child.pid, started=_start_of(child.pid))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    Lease.claim(folder).release()


def test_another_process_with_the_same_number_is_another_process(folder: Path) -> None:
    held_by(folder, started=Holder.this().started - 1)  # as the first process of a container that was started again
    Lease.claim(folder).release()
    held_by(folder, namespace="pid:[1]", pid=1, started=5)  # of another container on this machine: the lock tells
    Lease.claim(folder, watch_s=0.0).release()


def test_another_machine_that_is_silent_is_watched_and_then_lost(folder: Path) -> None:
    held_by(folder, host="elsewhere", boot="another", pid=7)
    said: list[str] = []
    lease = Lease.claim(folder, say=said.append, watch_s=0.2)
    assert lease.number == 4
    lease.release()
    assert [line.partition(":")[0] for line in said] == [
        f"{folder} was led by process 7 on elsewhere, which cannot be looked at from here",
        "process 7 on elsewhere is lost",
    ]


def test_another_machine_that_gives_signs_of_life_leads_whatever_the_clocks_say(folder: Path) -> None:
    holder = held_by(folder, host="elsewhere", boot="another", pid=7)
    seen = iter(range(1_000))

    def signs() -> tuple[Holder, bytes]:
        return holder, str(-70 + next(seen)).encode()  # its clock is behind, and goes on

    with pytest.raises(CheckpointError, match="being trained by process 7 on elsewhere"):
        Lease.claim(folder, signs=signs, watch_s=10.0)
    with pytest.raises(CheckpointError, match="being trained by process 7 on elsewhere"):
        Lease.claim(folder, watch_s=0.0)


def test_who_led_learns_that_somebody_else_does_and_leaves_it_alone(folder: Path) -> None:
    first = Lease.claim(folder)
    assert first.successor() is None
    (folder / "lease" / "000001").unlink()
    other = dataclasses.replace(Holder.this(), host="elsewhere", boot="another", pid=7)
    (folder / "lease" / "000002").write_text(json.dumps(dataclasses.asdict(other)))
    assert first.successor() == other
    first.release()
    with pytest.raises(CheckpointError, match="process 7 on elsewhere"):
        Lease.claim(folder, watch_s=0.0)


def test_who_adds_rows_is_waited_for(folder: Path) -> None:
    appending = Lease.claim(folder, "append rows to")
    ends = threading.Timer(0.3, appending.release)
    ends.start()
    lease = Lease.claim(folder)
    assert lease.number == appending.number + 1
    lease.release()
    ends.join()


def test_children_do_not_hold_what_their_parent_held(folder: Path) -> None:
    lease = Lease.claim(folder)
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        os.close(lease._lock or -1)  # what the kernel does when the parent dies
        held_by(folder, pid=2**22 - 1)
        Lease.claim(folder, watch_s=0.0).release()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[]", b'{"host": 3, "pid": "x"}', b"null"])
def test_what_cannot_be_read_is_watched_as_a_machine_that_cannot_be_seen(folder: Path, content: bytes) -> None:
    (folder / "lease").mkdir()
    (folder / "lease" / "000009").write_bytes(content)
    lease = Lease.claim(folder, watch_s=0.1)
    assert lease.number == 10
    lease.release()


def _start_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])


def test_a_folder_that_cannot_be_written_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object, **options: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(CheckpointError, match=r"here cannot be written: Permission denied\. "):
        Lease.claim(folder)
