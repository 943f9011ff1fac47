"""From reports to a row of metrics: what is summed, and what becomes of a learner that is held back."""

from collections.abc import Callable

import imageio.v3 as iio
import numpy as np
import pytest

from rlsys.runtime.metrics.recorder import Recorder
from rlsys.runtime.metrics.rows import read_metrics
from rlsys.runtime.plan import Plan
from rlsys.runtime.progress import Progress
from rlsys.runtime.workers.learning import LearnerReport
from rlsys.runtime.workers.rollout import RolloutReport
from rlsys.types import Foretold

MakePlan = Callable[..., Plan]
MakeRecorder = Callable[[Plan, Progress], Recorder]


def written(recorder: Recorder, plan: Plan) -> dict[str, float]:
    recorder.write()
    return read_metrics(plan.folder)[-1]


def test_shares_are_of_all_workers_of_a_kind_and_idle_is_of_the_time_at_work(
    make_plan: MakePlan, make_recorder: MakeRecorder
) -> None:
    plan = make_plan()
    recorder = make_recorder(plan, Progress(plan.run))
    for index, env_s in enumerate((3.0, 1.0)):
        recorder.rollout(RolloutReport(index, env_steps=4, spent={"env": env_s, "act": 4.0 - env_s}))
    spent = {"update": 3.0, "wait_replay": 1.0, "other": 4.0}
    recorder.learner(LearnerReport(1, steps=1, spent=spent, metrics={"loss/total": 2.0}))
    recorder.learner(LearnerReport(1, steps=1, spent=spent, metrics={"loss/total": 9.0}), rank=1)
    row = written(recorder, plan)
    assert row["workers/rollout_env_share"] == row["workers/rollout_act_share"] == 0.5
    assert row["workers/learner_wait_replay_share"] == 0.125
    assert row["learner/idle_share"] == pytest.approx(0.25)
    assert row["loss/total"] == 2.0, "all ranks compute the same"


def test_time_between_calls_is_held_time_when_the_learner_waited_for_newer_weights(
    make_plan: MakePlan, make_recorder: MakeRecorder
) -> None:
    plan = make_plan()
    recorder = make_recorder(plan, Progress(plan.run))
    spent = {"update": 1.0, "other": 3.0}
    recorder.waits("learner", "rollout 0 to act with newer weights")
    recorder.learner(LearnerReport(1, steps=1, spent=spent))
    assert written(recorder, plan)["workers/learner_held_share"] == 0.75
    recorder.learner(LearnerReport(2, steps=1, spent=spent))
    row = written(recorder, plan)
    assert (row["workers/learner_other_share"], "workers/learner_held_share" in row) == (0.75, False)


FORETOLD = Foretold(
    observation=np.zeros((5, 20, 16), np.uint8),
    model_observation=np.full((5, 20, 16), 200, np.uint8),
    reward=np.zeros(5, np.float32),
    model_reward=np.ones(5, np.float32),
)


def test_what_a_world_model_foretold_becomes_a_film(make_plan: MakePlan, make_recorder: MakeRecorder) -> None:
    plan = make_plan()
    recorder = make_recorder(plan, Progress(plan.run))
    recorder.learner(LearnerReport(7, steps=1, films={"world/comparison": [FORETOLD, FORETOLD]}))
    film = plan.folder / "media" / "world-comparison-000000007.mp4"
    frames = iio.imread(film, plugin="FFMPEG")
    assert len(frames) == 2 * (5 + 2)
    assert frames[0, -1, 100].min() > 150 and frames[0, -1, frames.shape[2] // 2].max() < 60, "the model, then the game"


def test_a_film_that_cannot_be_written_ends_nothing(
    make_plan: MakePlan, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    recorder = make_recorder(plan, Progress(plan.run))
    said: list[str] = []
    monkeypatch.setattr(recorder, "message", said.append)
    (plan.folder / "media").write_text("in the way")
    recorder.learner(LearnerReport(7, steps=1, films={"world/comparison": [FORETOLD]}, metrics={"loss/total": 2.0}))
    assert written(recorder, plan)["loss/total"] == 2.0
    assert len(said) == 1 and "world-comparison-000000007.mp4 is left out" in said[0]
