"""Runs as seen and led from another terminal."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from support.runs import untrained_run

from rlsys.commands import follow
from rlsys.commands.follow import scale_run, show_run, show_runs
from rlsys.config import EnvConfig, Experiment, Loaded, RunConfig, RuntimeConfig
from rlsys.errors import ConfigError
from rlsys.runs.heartbeat import Heartbeat, look
from rlsys.runs.status import Status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return untrained_run(tmp_path)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("rollouts=3", r"'rollouts=3' says not how many .*; give rollout_workers=N\. Did you mean 'rollout_workers'\?"),
        ("rollout_workers", r"give rollout_workers=N\.$"),
        ("rollout_workers=-1", r"give rollout_workers=N\.$"),
        ("rollout_workers=x", r"give rollout_workers=N\.$"),
        ("learners=2", r"give rollout_workers=N\.$"),
    ],
)
def test_misspelt_requests_are_refused_before_anybody_is_asked(folder: Path, word: str, message: str) -> None:
    with Heartbeat(folder), pytest.raises(ConfigError, match=message):
        scale_run("checking/here", folder.parent.parent, word)


def test_all_runs_are_shown_a_line_each(folder: Path, capsys: pytest.CaptureFixture) -> None:
    directory = folder.parent.parent
    with Heartbeat(folder):
        pass
    show_runs(directory)
    assert "checking/here" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="no runs below"):
        show_runs(directory / "nowhere")


def test_one_run_is_shown_a_line_per_subject(folder: Path, capsys: pytest.CaptureFixture) -> None:
    waits = ("learner waits for replay: 3 of 200 items", "rollout 0 waits for the first weights")
    with Heartbeat(folder) as heartbeat:
        heartbeat.update(Status(learner_steps=7, waits=waits))
        heartbeat.end("ending", "interrupted")
        show_run("checking/here", folder.parent.parent)
    out = capsys.readouterr().out
    assert f"led by    process {os.getpid()} on {socket.gethostname()}" in out
    assert "waiting   learner waits for replay: 3 of 200 items; rollout 0 waits for the first weights\n" in out


def test_who_attaches_sees_each_report_once_and_how_the_run_ended(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(follow, "_LOOK_S", 0.02)
    experiment = Experiment(algorithm="checking", env=EnvConfig(), runtime=RuntimeConfig(), run=RunConfig())
    monkeypatch.setattr(follow.run_folder, "load", lambda found: Loaded("checking", "test", experiment, {}))
    heartbeat = Heartbeat(folder)

    def lead() -> None:
        with heartbeat:
            for step in (3, 7):
                heartbeat.update(Status(elapsed_s=float(step), learner_steps=step))
                for _ in range(3):
                    heartbeat.end("ending", "its budget is spent")  # a sign of life with nothing new
                    time.sleep(0.1)
            heartbeat.end("done", "its budget is spent")

    thread = threading.Thread(target=lead)
    thread.start()
    while look(folder) is None:
        time.sleep(0.01)
    ended = follow.attach_to("checking/here", folder.parent.parent)
    thread.join()
    assert ended == "checking/here is done: its budget is spent"
    out = capsys.readouterr().out
    assert (out.count("step 3"), out.count("step 7")) == (1, 1)
