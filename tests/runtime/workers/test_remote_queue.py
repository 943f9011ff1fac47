"""Unrolls on their way from environments to learners: each row once, in order, whatever is killed on the way."""

from dataclasses import replace

import pytest
from support.runs import MakeRecorder, MakeSpec, started

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.errors import ConfigError
from rlsys.metrics.rows import read_metrics
from rlsys.runs.progress import Progress
from rlsys.runs.resolve import check
from rlsys.runs.spec import RunSpec
from rlsys.runtime.driver.inline import InlineRun
from rlsys.testing.unrolls import CHECKING_UNROLLS

UNROLLS = {"batch_size": 4, "length": 7}


def make_queue_spec(
    make_spec: MakeSpec, runtime: dict | None = None, run: dict | None = None, **section: int
) -> RunSpec:
    return make_spec({**UNROLLS, **section}, runtime, run, algorithm=CHECKING_UNROLLS, max_episode_steps=12)


def lost(spec: RunSpec) -> float:
    return [row for row in read_metrics(spec.folder) if "replay/lost_unrolls" in row][-1]["replay/lost_unrolls"]


def test_an_inline_run_learns_from_every_unroll_and_resumes_with_none_missing(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_queue_spec(make_spec, run={"training_steps": 60, "log_every_learner_steps": 10})
    for training_steps in (60, 120):
        spec = replace(spec, run=spec.run.model_copy(update={"training_steps": training_steps}))
        progress, checkpoints = Progress(spec.run), Checkpoints(spec.folder / "checkpoints", keep=2)
        step = checkpoints.latest() if training_steps > 60 else None
        if step is not None:
            progress.load(checkpoints.open(step).read("progress"))
        run = InlineRun(spec, progress, make_recorder(spec, progress), checkpoints)
        run.start(step)
        run.run()
    assert progress.learner_steps == 120
    assert lost(spec) == 0


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
class TestOnRay:
    """The same as processes."""

    def test_nothing_is_lost_with_several_workers_shards_and_learners(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        runtime = {"rollout_workers": 3, "replay_shards": 2, "learners": 2}
        spec = make_queue_spec(make_spec, runtime, {"training_steps": 80})
        with started(spec, make_recorder) as run:
            assert run.supervisor.run() == "80 learner steps are done"
        assert lost(spec) == 0

    def test_inference_workers_decide_for_all_and_training_goes_on_whatever_process_is_killed(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        runtime = {"rollout_workers": 3, "inference_workers": 2, "inference_device": "cpu"}
        spec = make_queue_spec(make_spec, runtime, {"training_steps": 10_000, "checkpoint_every_learner_steps": 20})
        with started(spec, make_recorder) as run:
            run.work_until(lambda: any("inference/batch_size" in row for row in read_metrics(spec.folder)))
            run.work_until(lambda: run.progress.learner_steps > 60 and run.checkpoints.latest() is not None)
            assert lost(spec) == 0
            rows = read_metrics(spec.folder)
            for victim in ("rollout", "learner", "shard", "inference"):
                run.survives(victim)
        inference = next(row for row in rows if "inference/batch_size" in row)
        assert 4 <= inference["inference/batch_size"] <= 8, "one or two workers of 4 environments"
        assert inference["inference/decisions_per_s"] > 0
        assert max(row.get("replay/version_lag_max", -1.0) for row in rows) >= 0


def test_shards_that_cannot_keep_an_environment_in_order_are_refused(make_spec: MakeSpec) -> None:
    spec = make_queue_spec(make_spec, {"rollout_workers": 4, "replay_shards": 3, "learners": 2})
    with pytest.raises(ConfigError, match="a queue needs a multiple of the learners"):
        check(spec)
