"""Signs of life; a run that somebody else leads by now, or whose folder is gone, ends and leaves nothing behind."""

import dataclasses
import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.runs import untrained_run

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.config import load
from rlsys.errors import CheckpointError, ConfigError, WorkerError
from rlsys.metrics.rows import read_metrics
from rlsys.runs.heartbeat import Heartbeat, look, sightings
from rlsys.runs.lease import Holder
from rlsys.runs.status import Status
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.launch.launch import launch

SETTINGS = (
    "debug=true",
    "run.checkpoint_every_learner_steps=1000000",
    "run.log_every_learner_steps=1",
    "run.final_evaluation=[]",
    "run.wandb=disabled",
    "run.video=false",
    "run.run_tag=here",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ppo-cartpole" / "here"


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    return untrained_run(tmp_path)


def launch_and(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_row: int, do: Callable[[], object]) -> int:
    """Trains, and does something behind the run's back when it has written so many rows."""
    write, rows = Recorder.write, iter(range(at_row))

    def write_and(recorder: Recorder) -> None:
        write(recorder)
        if next(rows, None) == at_row - 1:
            do()

    monkeypatch.setattr(Recorder, "write", write_and)
    loaded = load("ppo-cartpole", overrides=[*SETTINGS, f"run.directory={tmp_path}", "run.training_steps=1000000"])
    return launch(loaded, inline=True, resume=None, overrides=())


def test_a_run_whose_folder_is_moved_ends_with_a_checkpoint_there_and_can_go_on(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "elsewhere"
    assert launch_and(monkeypatch, tmp_path, 6, lambda: folder.rename(moved)) == 0
    assert not folder.exists(), "nothing was written to the old place"
    rows = read_metrics(moved)
    assert Checkpoints(moved / "checkpoints", keep=1).latest() == rows[-1]["learner_step"]
    assert f"its folder was moved to {moved}; a checkpoint was written there" in capsys.readouterr().out
    seen = look(moved)
    assert seen is not None
    assert seen.state == "done"
    monkeypatch.undo()
    until = int(rows[-1]["learner_step"]) + 2
    assert launch(None, inline=True, resume=str(moved), overrides=[f"run.training_steps={until}"]) == 0
    steps = [row["learner_step"] for row in read_metrics(moved) if "loss/total" in row]
    assert steps == sorted(set(steps))
    assert steps[-1] == until


def test_a_run_whose_folder_is_removed_says_so_and_does_not_make_it_again(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="here is gone; nothing of this run can be written"):
        launch_and(monkeypatch, tmp_path, 6, lambda: shutil.rmtree(folder))
    assert not folder.exists()


def test_a_folder_that_takes_the_place_of_a_runs_is_left_alone(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swap() -> None:
        folder.rename(tmp_path / "elsewhere")
        folder.mkdir()

    assert launch_and(monkeypatch, tmp_path, 6, swap) == 0
    assert not list(folder.iterdir())


def test_a_run_that_somebody_else_leads_by_now_ends_and_writes_nothing_more(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(Holder.this(), host="elsewhere", boot="another", pid=7)
    files: list[bytes] = []

    def take_over() -> None:
        (folder / "lease" / "000002").write_text(json.dumps(dataclasses.asdict(other)))
        (folder / "status.json").write_text("of the other")
        files.append((folder / "metrics.jsonl").read_bytes())

    with pytest.raises(WorkerError, match=r"process 7 on elsewhere leads .*/ppo-cartpole/here now"):
        launch_and(monkeypatch, tmp_path, 6, take_over)
    assert (folder / "metrics.jsonl").read_bytes() == files[0]
    assert (folder / "status.json").read_text() == "of the other"
    assert not list((folder / "checkpoints").iterdir())


def test_a_launch_that_is_refused_gives_the_run_back_and_leaves_its_last_word(tmp_path: Path, folder: Path) -> None:
    loaded = load("ppo-cartpole", overrides=[*SETTINGS, f"run.directory={tmp_path}", "run.training_steps=2"])
    assert launch(loaded, inline=True, resume=None, overrides=()) == 0
    before = (folder / "status.json").read_bytes()
    with pytest.raises(CheckpointError, match=r"env\.id"):
        launch(None, inline=True, resume=str(folder), overrides=["env.id=LunarLander-v3"])
    assert (folder / "status.json").read_bytes() == before
    with Heartbeat(folder):
        pass


def test_signs_of_life_do_not_wait_for_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlsys.runs.heartbeat.BEAT_S", 0.01)
    with Heartbeat(tmp_path):
        first = json.loads((tmp_path / "status.json").read_text())["beats"]
        while json.loads((tmp_path / "status.json").read_text())["beats"] < first + 3:
            pass


def test_a_run_says_how_it_stands_from_its_start_to_its_end(untrained: Path) -> None:
    assert look(untrained) is None
    status = Status(learner_steps=7, mean_return=float("nan"), returns=(1.0, 2.0), losses={"loss/total": 0.5})
    with Heartbeat(untrained) as heartbeat:
        seen = look(untrained)
        assert seen is not None
        assert (seen.state, seen.pid, seen.host, seen.status) == ("starting", os.getpid(), socket.gethostname(), None)
        heartbeat.update(status)
        heartbeat.end("ending", "60 learner steps are done")
        seen = look(untrained)
        assert seen is not None
        assert seen.is_alive
        assert seen.status is not None
        assert (seen.status.learner_steps, list(seen.status.returns)) == (7, [1.0, 2.0])
        heartbeat.end("done", "60 learner steps are done")
    (seen,) = sightings(untrained.parent.parent)
    assert (seen.name, seen.state, seen.reason) == ("checking/here", "done", "60 learner steps are done")


def test_a_run_that_failed_says_why(untrained: Path) -> None:
    with pytest.raises(ConfigError), Heartbeat(untrained):
        raise ConfigError("the disk is full. Delete something.")
    seen = look(untrained)
    assert seen is not None
    assert (seen.state, seen.reason) == ("failed", "the disk is full. Delete something.")


def test_a_run_whose_process_is_gone_is_lost_and_one_that_trains_is_not_trained_twice(untrained: Path) -> None:
    with Heartbeat(untrained):
        with pytest.raises(CheckpointError, match=f"being trained by process {os.getpid()} .*rlsys stop {untrained}"):
            Heartbeat(untrained)
        alive = json.loads((untrained / "status.json").read_text())
    elsewhere = {**alive, "host": "elsewhere"}
    (untrained / "status.json").write_text(json.dumps({**alive, "pid": 2**22 - 1}))
    assert state_of(untrained) == "lost"
    (untrained / "status.json").write_text(json.dumps({**alive, "started": alive["started"] - 1}))
    assert state_of(untrained) == "lost", "another process has its number now"
    (untrained / "status.json").write_text(json.dumps(elsewhere))
    hour_ago = time.time() - 3600
    os.utime(untrained / "status.json", (hour_ago, hour_ago))
    assert state_of(untrained) == "lost"
    (untrained / "status.json").write_text(json.dumps({**elsewhere, "seen": time.time() - 70}))
    assert state_of(untrained) == "starting", "its clock is behind; another machine's signs of life can be looked at"
    (untrained / "status.json").write_text("{")
    assert look(untrained) is None


def state_of(untrained: Path) -> str:
    seen = look(untrained)
    assert seen is not None
    return seen.state
