"""Agents of every kind of space, trained by the processes of a run, and evaluated as users do."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rlsys.config import load
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.metrics.rows import read_metrics
from rlsys.runtime.launch.launch import launch

RUNTIME = {
    "address": "auto",
    "rollout_workers": 2,
    "learner_device": "cpu",
    "inference_device": "cpu",
    "tick_s": 0.1,
    "send_weights_frequency": 1,
    "weight_sync_frequency": 160,
}
RUN = {
    "training_steps": 200,
    "evaluate_every_learner_steps": 0,
    "wandb": "disabled",
    "tensorboard": False,
    "video": False,
    "run_tag": "here",
}
PPO = {
    "num_environments": 8,
    "epoch_length": 20,
    "optimization_epochs": 4,
    "optimization_batch_size": 5,
    "hidden_size": 32,
    "learning_rate": 0.01,
    "gae_gamma": 0.0,
}
IMPALA = {
    "batch_size": 8,
    "unroll_length": 20,
    "hidden_size": 32,
    "fc_size": 32,
    "learning_rate": 0.003,
    "discounting": 0.0,
    "entropy_cost": 0.001,
}
_BLIND = 1 / 3
"""The most of a decision for whoever does not look, in both environments."""


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
@pytest.mark.parametrize(
    ("algorithm", "section", "env_id", "inference_workers"),
    [("ppo", PPO, "rlsys/Choices-v0", 0), ("impala", IMPALA, "rlsys/Nested-v0", 1)],
    ids=["two choices", "numbers and named parts, decided by an inference worker"],
)
def test_an_agent_learns_in_its_space_and_is_evaluated(
    algorithm: str,
    section: Mapping[str, Any],
    env_id: str,
    inference_workers: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = {"algorithm": algorithm, "env": {"id": env_id, "max_episode_steps": 20}, "run": RUN, algorithm: section}
    settings["runtime"] = {**RUNTIME, "inference_workers": inference_workers}
    Path("spaces.yaml").write_text(json.dumps(settings))
    assert launch(load("spaces.yaml"), inline=False, resume=None, overrides=[]) == 0
    assert evaluate_run(EvaluationOptions("spaces/here", episodes=20)) == 0
    folder = tmp_path / "runs" / "spaces" / "here"
    assert read_metrics(folder)[-1]["learner_step"] == 200
    (played,) = json.loads((folder / "eval.json").read_text())["results"]
    assert played["mean"] / played["mean_length"] > _BLIND + 0.15, "whoever looks gets more than whoever does not"
