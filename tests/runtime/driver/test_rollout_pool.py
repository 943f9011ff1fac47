"""Rollout workers begin together, join and leave, and nobody waits for ever for who does not come."""

import pytest
from support.runs import MakeRecorder, MakeSpec, started

from rlsys.errors import ConfigError
from rlsys.metrics.rows import read_metrics
from rlsys.runs.workers import Worker
from rlsys.runtime.driver import rollout_pool
from rlsys.testing.unrolls import CHECKING_UNROLLS

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.xdist_group("ray")]


def test_those_who_are_there_begin_without_one_who_finds_no_machine(
    make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(rollout_pool, "_GATHERING_PATIENCE_S", 2.0)
    places = int(ray.cluster_resources()["CPU"])
    runtime = {"rollout_workers": places + 1, "rollout_cpus": 1.0}
    with started(make_spec(runtime=runtime, run={"training_steps": 10_000}), make_recorder) as run:
        run.work_until(lambda: run.progress.env_steps > 0)
        assert places in run.supervisor._rollout_pool._coming
        run.supervisor.scale(places)
        assert places not in run.supervisor._rollout_pool._coming
        env_steps = run.progress.env_steps
        run.work_until(lambda: run.progress.env_steps > env_steps + 100)


def test_workers_begin_together_and_join_and_leave_while_samples_per_insert_hold(
    make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_pool, "_GATHERING_PATIENCE_S", 600.0)
    spec = make_spec(runtime={"rollout_workers": 3}, run={"training_steps": 10_000})
    with started(spec, make_recorder) as run:
        supervisor = run.supervisor
        there = supervisor._rollout_pool._standing_by
        run.work_until(lambda: len(there) > 0 or not supervisor._rollout_pool._coming)
        assert run.progress.env_steps == 0, "nobody acts before all are there"
        run.work_until(lambda: run.progress.env_steps > 0)
        assert not there and not supervisor._rollout_pool._coming
        run.work_until(lambda: run.progress.learner_steps > 10)
        run.work_until(lambda: len(supervisor._watch_weights._echoes) == 3)
        assert supervisor.scale(1) == "1 rollout workers instead of 3"
        run.work_until(lambda: list(run.program.rollouts) == [0])
        assert supervisor.scale(2) == "2 rollout workers instead of 1"
        run.work_until(lambda: len(supervisor._watch_weights._echoes) == 2)
        before, env_steps = run.progress.learner_steps, run.progress.env_steps
        run.work_until(lambda: run.progress.learner_steps > before + 20 and run.progress.env_steps > env_steps + 50)
        assert all(supervisor.restarts(Worker.rollout(index)) == 0 for index in range(3))
        run.recorder.write()
    last = [row for row in read_metrics(spec.folder) if "replay/inserted" in row][-1]
    ahead = 4.0 * (last["replay/inserted"] - 200) - last["replay/sampled"]
    assert -spec.store.error_buffer <= ahead
    with pytest.raises(ConfigError, match="rollout_workers = 0; a run needs at least 1"):
        supervisor.scale(0)


def test_a_queue_gets_every_unroll_of_workers_that_join(make_spec: MakeSpec, make_recorder: MakeRecorder) -> None:
    section = {"batch_size": 4, "length": 7}
    spec = make_spec(section, run={"training_steps": 10_000}, algorithm=CHECKING_UNROLLS, max_episode_steps=12)
    with started(spec, make_recorder) as run:
        run.work_until(lambda: run.progress.learner_steps > 10)
        run.supervisor.scale(3)
        run.work_until(lambda: len(run.supervisor._watch_weights._echoes) == 3)
        before = run.progress.learner_steps
        run.work_until(lambda: run.progress.learner_steps > before + 40)
        run.recorder.write()
    rows = [row for row in read_metrics(spec.folder) if "replay/lost_unrolls" in row]
    assert rows[-1]["replay/lost_unrolls"] == 0
