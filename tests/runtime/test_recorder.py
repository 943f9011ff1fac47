"""From reports to a row of metrics: what is summed, and what becomes of a learner that is held back."""

from collections.abc import Callable

import pytest

from rlsys.runtime.metrics.recorder import Recorder
from rlsys.runtime.metrics.tracking import read_metrics
from rlsys.runtime.plan import Plan
from rlsys.runtime.progress import Progress
from rlsys.runtime.workers.learning import LearnerReport
from rlsys.runtime.workers.rollout import RolloutReport

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
