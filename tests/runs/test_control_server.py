"""Runs as seen and led from another terminal: signs of life, requests, more and fewer workers."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.runs import MakeRecorder, MakeSpec, started

from rlsys.commands import follow
from rlsys.commands.follow import scale_run, show_run, show_runs
from rlsys.config import EnvConfig, Experiment, Loaded, RunConfig, RuntimeConfig
from rlsys.errors import CheckpointError, ConfigError
from rlsys.metrics.console import Status
from rlsys.metrics.rows import read_metrics
from rlsys.runs.control_server import ControlServer, ask
from rlsys.runs.heartbeat import Heartbeat, look, sightings
from rlsys.runs.workers import Worker
from rlsys.testing.unrolls import CHECKING_UNROLLS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "checking" / "here"
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("# rlsys launch checking\n")
    return path


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


def test_a_run_says_how_it_stands_from_its_start_to_its_end(folder: Path) -> None:
    assert look(folder) is None
    status = Status(learner_steps=7, mean_return=float("nan"), returns=(1.0, 2.0), losses={"loss/total": 0.5})
    with Heartbeat(folder) as heartbeat:
        seen = look(folder)
        assert seen is not None
        assert (seen.state, seen.pid, seen.host, seen.status) == ("starting", os.getpid(), socket.gethostname(), None)
        heartbeat.update(status)
        heartbeat.end("ending", "60 learner steps are done")
        seen = look(folder)
        assert seen is not None
        assert seen.is_alive
        assert seen.status is not None
        assert (seen.status.learner_steps, list(seen.status.returns)) == (7, [1.0, 2.0])
        heartbeat.end("done", "60 learner steps are done")
    (seen,) = sightings(folder.parent.parent)
    assert (seen.name, seen.state, seen.reason) == ("checking/here", "done", "60 learner steps are done")


def test_a_run_that_failed_says_why(folder: Path) -> None:
    with pytest.raises(ConfigError), Heartbeat(folder):
        raise ConfigError("the disk is full. Delete something.")
    seen = look(folder)
    assert seen is not None
    assert (seen.state, seen.reason) == ("failed", "the disk is full. Delete something.")


def test_a_run_whose_process_is_gone_is_lost_and_one_that_trains_is_not_trained_twice(folder: Path) -> None:
    with Heartbeat(folder):
        with pytest.raises(CheckpointError, match=f"being trained by process {os.getpid()} .*rlsys stop {folder}"):
            Heartbeat(folder)
        alive = json.loads((folder / "status.json").read_text())
    elsewhere = {**alive, "host": "elsewhere"}
    (folder / "status.json").write_text(json.dumps({**alive, "pid": 2**22 - 1}))
    assert state_of(folder) == "lost"
    (folder / "status.json").write_text(json.dumps({**alive, "started": alive["started"] - 1}))
    assert state_of(folder) == "lost", "another process has its number now"
    (folder / "status.json").write_text(json.dumps(elsewhere))
    hour_ago = time.time() - 3600
    os.utime(folder / "status.json", (hour_ago, hour_ago))
    assert state_of(folder) == "lost"
    (folder / "status.json").write_text(json.dumps({**elsewhere, "seen": time.time() - 70}))
    assert state_of(folder) == "starting", "its clock is behind; another machine's signs of life can be looked at"
    (folder / "status.json").write_text("{")
    assert look(folder) is None


def state_of(folder: Path) -> str:
    seen = look(folder)
    assert seen is not None
    return seen.state


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


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
class TestOnRay:
    """More and fewer workers while a run trains."""

    def test_workers_join_and_leave_while_the_ratio_holds(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        spec = make_spec(run={"training_steps": 10_000})
        with started(spec, make_recorder) as run:
            supervisor = run.supervisor
            run.work_until(lambda: run.progress.learner_steps > 10)
            assert supervisor.scale(3) == "3 rollout workers instead of 1"
            run.work_until(lambda: len(supervisor._watch_weights._echoes) == 3)
            assert supervisor.scale(1) == "1 rollout workers instead of 3"
            run.work_until(lambda: list(run.program.rollouts) == [0])
            assert supervisor.scale(2) == "2 rollout workers instead of 1"
            run.work_until(lambda: len(supervisor._watch_weights._echoes) == 2)
            before, env_steps = run.progress.learner_steps, run.progress.env_steps
            run.work_until(lambda: run.progress.learner_steps > before + 20 and run.progress.env_steps > env_steps + 50)
            assert all(supervisor.restarts(Worker.rollout(index)) == 0 for index in range(3))
            run.recorder.write()
        last = [row for row in read_metrics(spec.folder) if "replay/inserted" in row][-1]
        ahead = 4.0 * (last["replay/inserted"] - 200) - last["replay/sampled"]
        assert -spec.table.error_buffer <= ahead
        with pytest.raises(ConfigError, match="rollout_workers = 0; a run needs at least 1"):
            supervisor.scale(0)

    def test_a_queue_gets_every_unroll_of_workers_that_join(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        section = {"batch_size": 4, "length": 7}
        spec = make_spec(section, run={"training_steps": 10_000}, algorithm=CHECKING_UNROLLS, max_episode_steps=12)
        with started(spec, make_recorder) as run:
            run.work_until(lambda: run.progress.learner_steps > 10)
            run.supervisor.scale(3)
            run.work_until(lambda: len(run.supervisor._watch_weights._echoes) == 3)
            before = run.progress.learner_steps
            run.work_until(lambda: run.progress.learner_steps > before + 40)
            run.recorder.write()
        rows = [row for row in read_metrics(spec.folder) if "replay/lost_unrolls" in row]
        assert rows[-1]["replay/lost_unrolls"] == 0
