"""A run that is stopped and resumed must equal one that was not, bit for bit: MuZero on real Breakout, inline."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

EXPERIMENT = {
    "algorithm": "muzero",
    "env": {
        "id": "Breakout-ramNoFrameskip-v4",
        "state_range": [0, 255],
        "norm_states": True,
        "sticky_actions": 4,
        "repeat_action_probability": 0.25,
        "noop_reset": True,
        "episode_life": True,
        "fire_reset": True,
        "clip_rewards": True,
        "avoid_repeat": True,
    },
    "runtime": {"rollout_workers": 2, "environments_per_worker": 3, "weight_sync_frequency": 30},
    "run": {
        "log_every_learner_steps": 10,
        "evaluate_every_learner_steps": 0,
        "checkpoint_every_learner_steps": 0,
        "wandb": "disabled",
        "tensorboard": False,
    },
    "muzero": {
        "num_simulations": 5,
        "max_history_length": 20,
        "td_steps": 5,
        "window_size": 1000,
        "stored_before_train": 150,
        "batch_size": 16,
        "sampling_ratio": 2.0,
        "reanalyse_fraction": 0.4,
    },
}


def launch(tmp_path: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-c", "from rlsys.cli import main; main()", "launch", *arguments, "--inline"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stderr


def rows(tmp_path: Path, run: str) -> dict[int, dict[str, Any]]:
    """The metrics by learner step, without what depends on the clock."""
    lines = (tmp_path / "runs" / "breakout" / run / "metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    clock = ("throughput/", "workers/", "system/", "learner/idle_share", "time_s")
    return {
        row["learner_step"]: {name: value for name, value in row.items() if not name.startswith(clock)}
        for row in found
        if "learner_step" in row
    }


def files(tmp_path: Path) -> list[Path]:
    """All that lies in the runs' folders, but for who led them."""
    return sorted(path for path in (tmp_path / "runs").rglob("*") if path.parent.name != "lease")


def test_a_stopped_and_resumed_run_equals_one_that_was_not_stopped_and_has_no_other_environment(tmp_path: Path) -> None:
    (tmp_path / "breakout.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    assert launch(tmp_path, "breakout.yaml", "run.training_steps=100", "run.run_tag=whole") == (0, "")
    assert launch(tmp_path, "breakout.yaml", "run.training_steps=50", "run.run_tag=parts") == (0, "")
    assert launch(tmp_path, "--resume", "breakout/parts", "run.training_steps=100") == (0, "")
    whole, parts = rows(tmp_path, "whole"), rows(tmp_path, "parts")
    assert sorted(whole) == list(range(10, 110, 10))
    assert whole[100]["env_steps"] > whole[50]["env_steps"] + 100
    assert parts == whole
    _another_environment_is_refused(tmp_path)


def _another_environment_is_refused(tmp_path: Path) -> None:
    before = files(tmp_path)
    status, error = launch(tmp_path, "--resume", "breakout/parts", "env.id=Pong-ramNoFrameskip-v4")
    assert status == 2
    assert error.startswith("error: env.id = Pong-ramNoFrameskip-v4 is not the Breakout-ramNoFrameskip-v4")
    assert error.count("\n") == 1
    assert files(tmp_path) == before
