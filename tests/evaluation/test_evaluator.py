"""Evaluation while a run trains."""

from collections.abc import Callable
from typing import Any

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.evaluation.evaluator import evaluate
from rlsys.metrics.rows import read_metrics
from rlsys.runs.progress import Progress
from rlsys.runtime.driver.inline import InlineRun
from rlsys.types import Weights


def test_while_training_the_first_cell_is_the_runs_return_and_each_is_a_metric(
    make_spec: Callable[..., Any], make_recorder: Callable[..., Any]
) -> None:
    grid = {"evaluation_temperatures": (0.0,), "evaluation_noops": (0,), "evaluation_episodes": 2, "video": False}
    spec = make_spec(run={**grid, "evaluate_every_learner_steps": 20, "training_steps": 20})
    progress = Progress(spec.run)
    recorder = make_recorder(spec, progress)
    run = InlineRun(spec, progress, recorder, Checkpoints(spec.checkpoints, keep=1))
    run.start(None)
    run.run()
    (row,) = [row for row in read_metrics(spec.folder) if "evaluation/return" in row]
    name = "mean_reward/eval/sampling_temp_0.0_max_noops_0"
    assert row[f"{name}_unclipped"] == row["evaluation/return"]
    assert row[f"{name}_clipped"] == row["evaluation/length"]


def test_without_a_grid_evaluations_report_what_they_did(make_spec: Callable[..., Any]) -> None:
    spec = make_spec(run={"evaluation_episodes": 1, "video": False})
    assert evaluate(spec, Weights(1, 10, {})).metrics == {}
