"""What a run shows to others: nothing. Secrets stay where they were, files are private, sockets are on loopback."""

import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.command_line import RLSYS, rlsys

from rlsys.runtime.cluster.session_folder import session_folder

LAUNCH = [*RLSYS, "launch", "impala-cartpole"]
SETTINGS = (
    "debug=true",
    "runtime.rollout_workers=2",
    "runtime.replay_shards=2",
    "runtime.learners=2",
    "runtime.inference_workers=1",
    "run.wandb=offline",
    "run.run_tag=here",
)
SECRETS = {
    "WANDB_API_KEY": "f00dfeed" * 5,
    "AWS_SECRET_ACCESS_KEY": "planted-aws-secret-1",
    "AWS_SESSION_TOKEN": "planted-aws-token-2",
    "DATABASE_PASSWORD": "planted-password-3",
}
PATIENCE_S = 240.0

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[psutil.Process, Path]]:
    """A real run of all kinds of workers with secrets around it: its driver, while it trains, and its folder."""
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, **SECRETS, "HOME": str(home)}
    driver = subprocess.Popen(
        [*LAUNCH, *SETTINGS, "run.training_steps=1000000"], cwd=home, env=environment, stdout=subprocess.DEVNULL
    )
    folder = home / "runs" / "impala-cartpole" / "here"
    deadline = time.monotonic() + PATIENCE_S
    while not list(folder.glob("checkpoints/*/manifest.json")):
        assert driver.poll() is None, f"the run ended with {driver.returncode}"
        assert time.monotonic() < deadline, "the run did not begin"
        time.sleep(0.2)
    yield psutil.Process(driver.pid), folder
    driver.terminate()
    driver.wait(PATIENCE_S)


def test_nothing_listens_beyond_loopback(run: tuple[psutil.Process, Path]) -> None:
    driver, _ = run
    processes = [driver, *driver.children(recursive=True)]
    sockets = [socket for process in processes for socket in process.net_connections(kind="inet")]
    listening = {socket.laddr.ip.removeprefix("::ffff:") for socket in sockets if socket.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_files_are_private_to_the_user(run: tuple[psutil.Process, Path]) -> None:
    _, folder = run
    modes = {folder: folder.stat().st_mode, **_modes(folder)}
    assert len(modes) > 10
    assert [path for path, mode in modes.items() if mode & 0o077] == []


def test_what_ray_keeps_lies_in_a_folder_that_nobody_else_can_enter(run: tuple[psutil.Process, Path]) -> None:
    driver, _ = run
    session = _ray_folder(driver)
    assert (session / "sockets").is_dir()
    closed = [
        path for path in session.parents if path.stat().st_mode & 0o077 == 0 and path.stat().st_uid == os.getuid()
    ]
    assert closed, [oct(path.stat().st_mode) for path in session.parents]
    assert [path for path, mode in _modes(session).items() if stat.S_ISREG(mode) and mode & 0o077] == []


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_rays_folder_lies_where_the_environment_says_if_its_sockets_have_room_there(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t-") as short:
        monkeypatch.setenv(variable, short)
        folder = session_folder()
        assert folder == Path(short, f"rlsys-{os.getuid()}", "ray")
        assert folder.parent.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("TMPDIR", str(tmp_path / ("x" * 90)))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    assert session_folder() == Path("/tmp", f"rlsys-{os.getuid()}", "ray")


def test_no_secret_is_in_what_the_run_leaves_behind(run: tuple[psutil.Process, Path]) -> None:
    driver, folder = run
    files = _contents(folder) | _contents(_ray_folder(driver))
    names = {path.name for path in files}
    assert {"config.yaml", "metrics.jsonl", "manifest.json", "raylet.out"} <= names, names
    assert any(name.endswith(".wandb") for name in names), names
    found = [
        (path, name) for path, text in files.items() for name, secret in SECRETS.items() if secret.encode() in text
    ]
    assert found == []


def _modes(folder: Path) -> dict[Path, int]:
    """Returns the modes of what lies in a folder, but of links and of what vanishes meanwhile: the run goes on."""
    modes = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode):
                modes[path] = mode
    return modes


def _contents(folder: Path) -> dict[Path, bytes]:
    """Returns what is in each file of a folder, but those that vanish meanwhile."""
    contents = {}
    for path, mode in _modes(folder).items():
        with suppress(FileNotFoundError):
            if stat.S_ISREG(mode):
                contents[path] = path.read_bytes()
    return contents


def _ray_folder(driver: psutil.Process) -> Path:
    """Returns the folder in which the Ray of this driver keeps its logs."""
    for process in driver.children(recursive=True):
        for argument in process.cmdline():
            if argument.startswith("--session-dir=") or argument.startswith("--session_dir="):
                return Path(argument.partition("=")[2])
    raise AssertionError("no Ray process names its session's folder")


def test_another_terminal_stops_it_with_a_checkpoint(run: tuple[psutil.Process, Path]) -> None:
    driver, folder = run
    stopped = rlsys(folder.parents[2], "stop", "impala-cartpole/here")
    assert "is done: stopped on request; a checkpoint was written" in stopped.stdout, stopped.stderr
    psutil.wait_procs([driver], timeout=PATIENCE_S)
    assert not driver.is_running() or driver.status() == psutil.STATUS_ZOMBIE
