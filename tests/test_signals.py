"""Signals, and terminals that are gone: a request to end with a checkpoint, and nothing that fails."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import RLSYS, wait_for

from rlsys.signals import Signals, outliving_hangup, stops_on_signals


@pytest.fixture(autouse=True)
def hangups_are_heard() -> Iterator[None]:
    """A terminal that is closed says so, also where the tests themselves were started to outlive theirs."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, previous)


def test_the_first_signal_asks_and_a_second_ends_at_once_but_for_a_repeated_hangup() -> None:
    asked: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    with stops_on_signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received
        signals.tell(lambda: asked.append("stop"))
        assert asked == ["stop"], "who is told later hears of it"
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt, match="a second signal: ended at once"):
            os.kill(os.getpid(), signal.SIGTERM)
    assert asked == ["stop"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stops_on_signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not signals.received
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_signals_are_left_alone_in_other_threads() -> None:
    found: list[Signals] = []

    def enter() -> None:
        with stops_on_signals() as signals:
            found.append(signals)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not found[0].received


def test_processes_started_for_a_run_outlive_its_terminal() -> None:
    ask = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"]
    before = signal.getsignal(signal.SIGHUP)
    with outliving_hangup():
        assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "True\n"
    assert signal.getsignal(signal.SIGHUP) == before


def test_a_run_whose_terminal_is_closed_ends_with_a_checkpoint(tmp_path: Path) -> None:
    settings = ["debug=true", "run.training_steps=100000", "run.run_tag=here", "run.wandb=disabled"]
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execvp(RLSYS[0], [*RLSYS, "launch", "ppo-cartpole", "--inline", *settings])
    folder = tmp_path / "runs" / "ppo-cartpole" / "here"
    os.set_blocking(terminal, False)

    def reads_until_there_is_a_checkpoint() -> bool:
        with contextlib.suppress(BlockingIOError):
            while os.read(terminal, 4096):
                pass
        return (folder / "checkpoints" / "000000010").exists()

    wait_for(reads_until_there_is_a_checkpoint, "checkpoint")
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    said = json.loads((folder / "status.json").read_text())
    assert (said["state"], said["reason"]) == ("done", "interrupted; a checkpoint was written")
    assert max(int(path.name) for path in (folder / "checkpoints").iterdir()) == said["status"]["learner_steps"]


def test_a_run_goes_on_when_nobody_reads_what_it_says(tmp_path: Path) -> None:
    settings = ["debug=true", "run.run_tag=here", "run.wandb=disabled", "run.log_every_s=0.1", "run.video=false"]
    command = [*RLSYS, "launch", "ppo-cartpole", "--inline", *settings]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run.stdout is not None and run.stderr is not None
    run.stdout.readline()
    run.stdout.close()
    assert (run.stderr.read(), run.wait()) == (b"", 0)
    assert json.loads((tmp_path / "runs" / "ppo-cartpole" / "here" / "status.json").read_text())["state"] == "done"
