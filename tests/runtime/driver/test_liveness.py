"""Workers that stop for a while, disks that are full, checkpoints that are damaged."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.runs import MakeRecorder, MakeSpec, Run, started

from rlsys.config import load
from rlsys.errors import CheckpointError
from rlsys.runs.workers import Worker, WorkerKind
from rlsys.runtime.driver import checkpointing, liveness
from rlsys.runtime.launch.launch import launch


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the console says; waiting explains itself after three seconds."""
    from rlsys.runtime.driver.recorder import Recorder

    monkeypatch.setattr(liveness, "SILENCE_S", 3.0)
    monkeypatch.setattr(checkpointing, "SILENCE_S", 3.0)
    said: list[str] = []
    monkeypatch.setattr(Recorder, "message", lambda recorder, text: said.append(text))
    return said


def trains(run: Run) -> Callable[[], bool]:
    """Returns a condition: updates and decisions have both gone on from here."""
    steps, env_steps = run.progress.learner_steps, run.progress.env_steps
    return lambda: run.progress.learner_steps > steps + 5 and run.progress.env_steps > env_steps + 50


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
class TestOnRay:
    """Faults of processes and disks."""

    def test_a_run_goes_on_beside_a_worker_and_a_shard_that_stop_and_after_a_full_disk(
        self, lines: list[str], make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        run_settings = {"training_steps": 100_000, "checkpoint_every_learner_steps": 50}
        spec = make_spec(runtime={"rollout_workers": 2, "replay_shards": 2}, run=run_settings)
        with started(spec, make_recorder) as run:
            run.work_until(lambda: set(run.supervisor._watch_weights._echoes) == {Worker.rollout(0), Worker.rollout(1)})
            self._nobody_waits_for_a_rollout_worker(run, lines)
            with stopped(run.pid_of("shard")):
                run.work_until(lambda: "replay shard 0 has not reported for 3 s" in lines)
            run.work_until(trains(run))
            assert not any("goes on from step" in line for line in lines), "a shard holds the run up, and loses nothing"
            self._a_full_disk_costs_a_checkpoint(run, lines)
            for worker in (Worker.rollout(0), Worker(WorkerKind.SHARD, 0)):
                assert run.supervisor.restarts(worker) == 0
            run.recorder.write()

    def _nobody_waits_for_a_rollout_worker(self, run: Run, lines: list[str]) -> None:
        with stopped(run.pid_of("rollout")):
            run.work_until(lambda: "rollout worker 0 has not reported for 3 s" in lines)
            run.work_until(trains(run))
            step = run.progress.learner_steps
            run.work_until(lambda: (run.checkpoints.latest() or 0) > step)  # without its part
        before = run.progress.env_steps
        run.work_until(lambda: not run.supervisor._liveness._silent_since)
        assert run.progress.env_steps > before

    def _a_full_disk_costs_a_checkpoint(self, run: Run, lines: list[str]) -> None:
        shard = psutil.Process(run.pid_of("shard"))
        unlimited = shard.rlimit(resource.RLIMIT_FSIZE)
        shard.rlimit(resource.RLIMIT_FSIZE, (1, unlimited[1]))
        run.work_until(lambda: any("checkpoint given up: cannot write" in line for line in lines))
        kept = run.checkpoints.latest()
        assert kept is not None
        assert run.checkpoints.open(kept).learner_step == kept
        run.work_until(trains(run))
        assert run.checkpoints.latest() == kept
        shard.rlimit(resource.RLIMIT_FSIZE, unlimited)
        run.work_until(lambda: (run.checkpoints.latest() or 0) > kept)


def test_a_checkpoint_cut_short_is_refused_and_the_whole_one_named(tmp_path: Path) -> None:
    settings = ["debug=true", "run.training_steps=4", "run.checkpoint_every_learner_steps=2", "run.wandb=disabled"]
    where = [f"run.directory={tmp_path}", "run.run_tag=here", "run.tensorboard=false", "run.final_evaluation=[]"]
    assert launch(load("muzero-cartpole", overrides=[*settings, *where]), inline=True, resume=None, overrides=()) == 0
    folder = tmp_path / "muzero-cartpole" / "here"
    cut = max((folder / "checkpoints" / "000000004").glob("*.safetensors"), key=lambda path: path.stat().st_size)
    os.truncate(cut, cut.stat().st_size // 2)
    before = (folder / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=rf"checkpoint 4 .* damaged: {cut.name} has .*Use --checkpoint 2, "):
        launch(None, inline=True, resume=str(folder), overrides=["run.training_steps=6"])
    assert (folder / "metrics.jsonl").read_bytes() == before
