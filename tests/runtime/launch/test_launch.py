"""The real command, its processes, and what is left of them."""

import json
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest
from support.command_line import PATIENCE_S, rlsys, start, wait_for

from rlsys import cli

pytestmark = pytest.mark.xdist_group("ray")

SETTINGS = [
    "debug=true",
    "runtime.rollout_workers=1",
    "run.training_steps=100000",
    "run.evaluate_every_learner_steps=0",
    "run.checkpoint_every_learner_steps=20",
    "run.run_tag=here",
    "run.wandb=disabled",
]


def checkpoints(folder: Path) -> list[int]:
    found = (folder / "runs" / "muzero-cartpole" / "here" / "checkpoints").glob("0*")
    return sorted(int(path.name) for path in found)


def learner_steps(folder: Path) -> list[int]:
    lines = (folder / "runs" / "muzero-cartpole" / "here" / "metrics.jsonl").read_text().splitlines()
    return [row["learner_step"] for row in map(json.loads, lines) if "learner_step" in row]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_a_run_is_seen_and_scaled_from_another_terminal_survives_its_driver_and_an_interrupt_ends_it(
    tmp_path: Path,
) -> None:
    first = start(tmp_path, "launch", "muzero-cartpole", *SETTINGS)
    wait_for(lambda: checkpoints(tmp_path), "checkpoint")
    assert f"process {first.pid}" in rlsys(tmp_path, "status", "muzero-cartpole/here").stdout
    scaled = rlsys(tmp_path, "scale", "muzero-cartpole/here", "rollout_workers=2")
    assert scaled.stdout == "muzero-cartpole/here: 2 rollout workers instead of 1\n", scaled.stderr
    assert "rollout_workers: 2" in (tmp_path / "runs" / "muzero-cartpole" / "here" / "config.yaml").read_text()
    twice = rlsys(tmp_path, "launch", "--resume", "muzero-cartpole/here")
    assert twice.returncode == 2
    assert f"is being trained by process {first.pid}" in twice.stderr
    assert "\n" not in twice.stderr.rstrip("\n")
    orphans = psutil.Process(first.pid).children(recursive=True)
    assert len(orphans) > 5
    first.kill()
    first.wait(timeout=PATIENCE_S)

    saved, rows_before = checkpoints(tmp_path)[-1], len(learner_steps(tmp_path))
    second = start(tmp_path, "launch", "--resume", "muzero-cartpole/here")
    wait_for(lambda: checkpoints(tmp_path)[-1] > saved, "newer checkpoint")
    workers = psutil.Process(second.pid).children(recursive=True)
    os.kill(second.pid, signal.SIGINT)
    output, _ = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 130, output
    assert "interrupted; a checkpoint was written" in output
    wait_for(lambda: not alive(workers), "end of all workers")
    wait_for(lambda: not alive(orphans), "end of the first driver's workers, a minute after it was killed")
    assert checkpoints(tmp_path)[-1] >= max(learner_steps(tmp_path)[rows_before:]) > saved
    assert "Traceback" not in output
    stop = rlsys(tmp_path, "stop", "muzero-cartpole/here")
    assert (stop.returncode, "nobody is there to stop it" in stop.stderr) == (2, True)


def test_bad_input_is_one_line_and_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["runtime.rollout_workers=1", "runtime.environments_per_worker=4"]
    bad = {
        "muzero.window_size=10": "window_size = 10 is smaller than stored_before_train",
        "muzero.fixed_temperatures=[1,1,1,1,1,1,1,1,1,1]": "fixed_temperatures has 10 entries",
        "runtime.replay_shards=90000": "replay_shards = 90000",
        "env.id=CartPoll-v1": "no environment 'CartPoll-v1'",
        "runtime.learners=3": "cannot be divided among runtime.learners = 3",
        "muzero.num_simulation=3": "Did you mean 'num_simulations'?",
        "muzero.batch_size=many": "batch_size",
    }
    for setting, expected in bad.items():
        command = ["launch", "muzero-cartpole", setting, *few]
        monkeypatch.setattr(sys, "argv", ["rlsys", *command])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said, error = capsys.readouterr()
        assert (ended.value.code, said, error.count("\n")) == (2, "", 1), (said, error)
        assert error.startswith("error: ") and expected in error, error
    process = start(tmp_path, *command)  # the last once more, as the command that it is
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output) == (2, error)
    assert not (tmp_path / "runs").exists()
