"""Requests to a run that trains, and who answers them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.runs import untrained_run

from rlsys.errors import ConfigError
from rlsys.runs.control_server import ControlServer, ask
from rlsys.runs.heartbeat import Heartbeat


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return untrained_run(tmp_path)


class FakeRun:
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        self.stopped = ""
        self.rollout_workers = 1

    def stop(self, reason: str) -> None:
        self.stopped = reason

    def scale(self, rollout_workers: int) -> str:
        if rollout_workers > 8:
            raise ConfigError("too many.")
        self.rollout_workers = rollout_workers
        return f"{rollout_workers} now"


@contextmanager
def served(folder: Path, run: FakeRun, scaled: list[int]) -> Iterator[None]:
    control_server, ended = ControlServer(folder, scaled.append), threading.Event()

    def serve() -> None:
        while not ended.wait(0.02):
            control_server.serve(run)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_requests_are_answered_by_whoever_leads_the_run(folder: Path) -> None:
    run, scaled = FakeRun(), []
    with Heartbeat(folder), served(folder, run, scaled):
        assert ask(folder, "scale", rollout_workers=4) == "4 now"
        assert (run.rollout_workers, scaled) == (4, [4])
        with pytest.raises(ConfigError, match=r"checking/here: too many\."):
            ask(folder, "scale", rollout_workers=9)
        assert scaled == [4]
        with pytest.raises(ConfigError, match="no command 'fly'; it knows stop and scale"):
            ask(folder, "fly")
        with pytest.raises(ConfigError, match="cannot be read"):
            ask(folder, "scale")
        ask(folder, "stop")
    assert run.stopped.startswith("stopped on request")
    assert not list((folder / "control").iterdir()), "nothing is left"


def test_nobody_answers_for_a_run_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ConfigError, match="has never been trained; nobody is there to stop it"):
        ask(folder, "stop")
    with Heartbeat(folder) as heartbeat:
        heartbeat.end("done", "its budget is spent")
    with pytest.raises(ConfigError, match=r"is done \(its budget is spent\); nobody is there to scale it"):
        ask(folder, "scale", rollout_workers=2)


def test_what_was_asked_of_an_earlier_session_is_not_done_in_the_next(folder: Path) -> None:
    (folder / "control").mkdir()
    (folder / "control" / "1-a.json").write_text('{"command": "stop"}')
    run = FakeRun()
    ControlServer(folder, lambda rollout_workers: None).serve(run)
    assert run.stopped == ""
