"""Unrolls on their way from environments to learners: each row once, in order, whatever is killed on the way."""

import os
import signal
from dataclasses import replace

import pytest
from test_program import MakePlan, MakeRecorder, started

from rlsys.errors import ConfigError
from rlsys.runtime.checkpoints.checkpoint import Checkpoints
from rlsys.runtime.inline import InlineRun
from rlsys.runtime.metrics.rows import read_metrics
from rlsys.runtime.plan import Plan, check
from rlsys.runtime.progress import Progress
from rlsys.testing.unrolls import CHECKING_UNROLLS

UNROLLS = {"batch_size": 4, "length": 7}


def make_queue_plan(make_plan: MakePlan, runtime: dict | None = None, run: dict | None = None, **section: int) -> Plan:
    return make_plan({**UNROLLS, **section}, runtime, run, algorithm=CHECKING_UNROLLS, max_episode_steps=12)


def lost(plan: Plan) -> float:
    return [row for row in read_metrics(plan.folder) if "replay/lost_unrolls" in row][-1]["replay/lost_unrolls"]


def test_an_inline_run_learns_from_every_unroll_and_resumes_with_none_missing(
    make_plan: MakePlan, make_recorder: MakeRecorder
) -> None:
    plan = make_queue_plan(make_plan, run={"training_steps": 60, "log_every_learner_steps": 10})
    for training_steps in (60, 120):
        plan = replace(plan, run=plan.run.model_copy(update={"training_steps": training_steps}))
        progress, checkpoints = Progress(plan.run), Checkpoints(plan.folder / "checkpoints", keep=2)
        step = checkpoints.latest() if training_steps > 60 else None
        if step is not None:
            progress.load(checkpoints.open(step).read("progress"))
        run = InlineRun(plan, progress, make_recorder(plan, progress), checkpoints)
        run.start(step)
        run.run()
    assert progress.learner_steps == 120
    assert lost(plan) == 0


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
class TestOnRay:
    """The same as processes."""

    def test_nothing_is_lost_with_several_workers_shards_and_learners(
        self, make_plan: MakePlan, make_recorder: MakeRecorder
    ) -> None:
        runtime = {"rollout_workers": 3, "replay_shards": 2, "learners": 2}
        plan = make_queue_plan(make_plan, runtime, {"training_steps": 80})
        with started(plan, make_recorder) as run:
            assert run.supervisor.run() == "80 learner steps are done"
        assert lost(plan) == 0

    def test_inference_workers_decide_for_all_rollout_workers(
        self, make_plan: MakePlan, make_recorder: MakeRecorder
    ) -> None:
        runtime = {"rollout_workers": 3, "inference_workers": 2, "inference_device": "cpu"}
        plan = make_queue_plan(make_plan, runtime, {"training_steps": 10_000})
        with started(plan, make_recorder) as run:
            run.work_until(lambda: any("inference/batch_size" in row for row in read_metrics(plan.folder)))
            run.work_until(lambda: run.progress.learner_steps > 60)
        assert lost(plan) == 0
        rows = read_metrics(plan.folder)
        inference = next(row for row in rows if "inference/batch_size" in row)
        assert 4 <= inference["inference/batch_size"] <= 8, "one or two workers of 4 environments"
        assert inference["inference/decisions_per_s"] > 0
        assert max(row.get("replay/version_lag_max", -1.0) for row in rows) >= 0

    @pytest.mark.parametrize("victim", ["rollout", "learner", "shard", "inference"])
    def test_training_goes_on_when_a_process_is_killed(
        self, victim: str, make_plan: MakePlan, make_recorder: MakeRecorder
    ) -> None:
        runtime = {"inference_workers": 1, "inference_device": "cpu"} if victim == "inference" else {}
        plan = make_queue_plan(make_plan, runtime, {"training_steps": 10_000, "checkpoint_every_learner_steps": 20})
        with started(plan, make_recorder) as run:
            run.work_until(lambda: run.checkpoints.latest() is not None)
            os.kill(run.pid_of(victim), signal.SIGKILL)
            before, env_steps = run.progress.learner_steps, run.progress.env_steps
            if victim in ("rollout", "learner"):
                run.work_until(lambda: run.supervisor.restarts(victim, 0) == 1)
                before = min(before, run.progress.learner_steps)
            run.work_until(
                lambda: run.progress.learner_steps > before + 20 and run.progress.env_steps > env_steps + 100
            )


def test_shards_that_cannot_keep_an_environment_in_order_are_refused(make_plan: MakePlan) -> None:
    plan = make_queue_plan(make_plan, {"rollout_workers": 4, "replay_shards": 3, "learners": 2})
    with pytest.raises(ConfigError, match="a queue needs a multiple of the learners"):
        check(plan)
