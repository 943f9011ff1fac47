"""A disk that is full when a run ends: one line, how it ended is said, and nothing is left that only looks whole."""

import contextlib
import json
import resource
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlsys.config import load
from rlsys.errors import CheckpointError
from rlsys.files.content import overwrite_content, replace_content
from rlsys.metrics import report
from rlsys.metrics.sinks import Row, TensorBoard
from rlsys.runs.heartbeat import Heartbeat, look
from rlsys.runtime.launch.launch import launch


@contextlib.contextmanager
def most_bytes(count: int) -> Iterator[None]:
    """No file can grow beyond so many bytes, as if the disk were full then."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_file_is_replaced_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    replace_content(path, "first")
    with most_bytes(8), pytest.raises(OSError, match="File too large"):
        replace_content(path, "second, and longer")
    assert path.read_text() == "first"
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


def test_the_room_of_a_file_can_be_written_into_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text("a long text")
    overwrite_content(path, "short")
    assert path.read_text() == "short"
    with pytest.raises(OSError, match="No space left"):
        overwrite_content(path, "too long")
    assert path.read_text() == "short"


def test_a_report_that_cannot_be_written_is_one_line_and_leaves_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "checking" / "here"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("algorithm: checking\n")
    page = report.write_report(folder).read_text()
    with most_bytes(100), pytest.raises(CheckpointError, match=r"report\.html cannot be written into .* Make room"):
        report.write_report(folder)
    assert (folder / "report.html").read_text() == page


def test_how_a_run_ended_is_said_where_nothing_can_be_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "checking" / "here"
    folder.mkdir(parents=True)
    reason = "the last checkpoint, of step 45, could not be written"
    with pytest.raises(CheckpointError), Heartbeat(folder) as heartbeat:
        heartbeat.end("ending", "x" * 200)
        monkeypatch.setattr("rlsys.runs.heartbeat.replace_content", full)
        raise CheckpointError(reason)
    sighting = look(folder)
    assert sighting is not None and (sighting.state, sighting.reason) == ("failed", reason)


def test_event_files_fail_in_the_writer_of_rows_and_in_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    sink = TensorBoard(tmp_path)
    with most_bytes(200), pytest.raises(OSError, match=r"File too large|No space left"):
        for step in range(1_000):
            sink.write(Row(step, step, step, float(step), {"loss/total": 1.0}, {}, {}))
    sink.close()
    assert failed == []


def test_a_full_disk_at_the_last_step_is_one_line_and_a_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlsys.checkpoints.checkpoint import Draft

    commit: Callable[..., None] = Draft.commit

    def full_at_the_end(draft: Draft, metrics: dict[str, int]) -> None:
        with most_bytes(1) if draft.learner_step == 6 else contextlib.nullcontext():
            commit(draft, metrics)

    monkeypatch.setattr(Draft, "commit", full_at_the_end)
    settings = ["debug=true", "run.training_steps=6", "run.checkpoint_every_learner_steps=4", "run.wandb=disabled"]
    where = [f"run.directory={tmp_path}", "run.run_tag=here", "run.tensorboard=false", "run.video=false"]
    with pytest.raises(
        CheckpointError, match="the last checkpoint, of step 6, could not be written; the newest is of 4"
    ):
        launch(load("ppo-cartpole", overrides=[*settings, *where]), inline=True, resume=None, overrides=())
    folder = tmp_path / "ppo-cartpole" / "here"
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["000000004"]
    said = json.loads((folder / "status.json").read_text())
    assert said["state"] == "failed" and "could not be written" in said["reason"]
    monkeypatch.setattr(Draft, "commit", commit)
    assert launch(None, inline=True, resume=str(folder), overrides=()) == 0
    assert json.loads((folder / "status.json").read_text())["state"] == "done"
