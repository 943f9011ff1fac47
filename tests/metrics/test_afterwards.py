"""Rows of metrics of a run that is over."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.games import making_runs

from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.metrics.rows import read_metrics
from rlsys.metrics.tracking import Tracker
from rlsys.runs import folder as run_folder
from rlsys.runs.heartbeat import Heartbeat


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    return making_runs(tmp_path, monkeypatch)


def test_rows_of_a_finished_run_go_where_its_own_went_and_it_can_be_resumed(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = run("checking")
    loaded = run_folder.load(folder)
    tracker = Tracker(folder, loaded, folder.name, resume=False)
    for step in (10, 20, 30):
        tracker.log({"loss/total": 1.0}, learner_step=step, env_steps=100 * step)
    tracker.close()
    sessions = len([*folder.glob("wandb/offline-run-*")])
    evaluate_run(EvaluationOptions(str(folder), episodes=1))
    assert len([*folder.glob("tensorboard/*")]) == 2
    assert len([*folder.glob("wandb/offline-run-*")]) == sessions + 1 or sessions > 1
    resumed = Tracker(folder, loaded, folder.name, resume=True)
    resumed.rewind(20)
    resumed.log({"loss/total": 2.0}, learner_step=25, env_steps=2_500)
    resumed.close()
    rows = read_metrics(folder)
    assert [row["learner_step"] for row in rows] == [10, 20, 20, 25]
    assert "mean_reward/eval/sampling_temp_0.0_max_noops_0_unclipped" in rows[2]
    times = [row["time_s"] for row in rows]
    assert times == sorted(times)


def test_nothing_is_added_to_the_metrics_of_a_run_that_is_being_trained(run: Callable[..., Path]) -> None:
    folder = run("checking")
    (folder / "metrics.jsonl").touch()
    with Heartbeat(folder):
        evaluate_run(EvaluationOptions(str(folder), episodes=1))
    assert (folder / "eval.json").is_file()
    assert read_metrics(folder) == []
