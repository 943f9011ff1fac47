"""A run that is interrupted anywhere, and resumed, writes the rows of one that was not."""

import itertools
import signal
from pathlib import Path

import numpy as np
import pytest

from rlsys.config import load
from rlsys.metrics.rows import read_metrics
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.launch.launch import launch
from rlsys.runtime.workers.rollout import RolloutReport

CLOCK = ("throughput/", "workers/", "system/", "learner/idle_share", "time_s")


def settings(directory: Path, tag: str, steps: int) -> list[str]:
    quiet = ["run.final_evaluation=[]", "run.wandb=disabled", "run.tensorboard=false", "run.video=false"]
    where = [f"run.directory={directory}", f"run.run_tag={tag}"]
    return ["debug=true", f"run.training_steps={steps}", "run.log_every_learner_steps=4", *quiet, *where]


def rows_of(folder: Path) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if not name.startswith(CLOCK)} for row in read_metrics(folder)]


@pytest.mark.parametrize(
    ("experiment", "reports"), [("ppo-cartpole", 57), ("ppo-cartpole", 73), ("muzero-cartpole", 20)]
)
def test_rows_after_a_signal_and_a_resume_equal_those_of_an_uninterrupted_run(
    experiment: str, reports: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        launch(load(experiment, overrides=settings(tmp_path, "whole", 12)), inline=True, resume=None, overrides=()) == 0
    )
    counter, take_in = itertools.count(1), Recorder.rollout

    def interrupted(recorder: Recorder, report: RolloutReport) -> None:
        take_in(recorder, report)
        if next(counter) == reports:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Recorder, "rollout", interrupted)
    loaded = load(experiment, overrides=settings(tmp_path, "parts", 12))
    assert launch(loaded, inline=True, resume=None, overrides=()) == 130
    parts = tmp_path / experiment / "parts"
    before = len(read_metrics(parts))
    assert launch(None, inline=True, resume=str(parts), overrides=()) == 0
    whole, resumed = rows_of(tmp_path / experiment / "whole"), rows_of(parts)
    assert before < len(whole), "it was interrupted"
    assert [row["learner_step"] for row in resumed] == [row["learner_step"] for row in whole]
    for one, other in zip(whole, resumed, strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_equal(other, one)
