"""Rollout workers begin together, and nobody waits for ever for who does not come."""

import pytest
from support.runs import MakeRecorder, MakeSpec, started

from rlsys.runtime.driver import rollout_pool

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.xdist_group("ray")]


def test_nobody_acts_before_all_are_there(
    make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollout_pool, "_GATHERING_PATIENCE_S", 600.0)
    spec = make_spec(runtime={"rollout_workers": 3}, run={"training_steps": 10_000})
    with started(spec, make_recorder) as run:
        there = run.supervisor._rollout_pool._standing_by
        run.work_until(lambda: len(there) > 0 or not run.supervisor._rollout_pool._coming)
        assert run.progress.env_steps == 0
        run.work_until(lambda: run.progress.env_steps > 0)
        assert not there and not run.supervisor._rollout_pool._coming


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
