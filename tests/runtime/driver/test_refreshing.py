"""Runs in which stored rows are refreshed: by whom, how often, whoever is killed. Extras are checked row by row."""

import os
import signal
from dataclasses import replace

import pytest
from support.runs import MakeRecorder, MakeSpec, rows_by_step, run_inline, started

from rlsys.metrics.rows import read_metrics
from rlsys.runs.workers import Worker, WorkerKind
from rlsys.types import Weights

_INLINE = {"log_every_learner_steps": 100, "checkpoint_every_learner_steps": 100}


def test_inline_the_share_is_exact_and_a_resumed_run_goes_on_alike(
    make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = []
    refresh, take = _spied(versions)
    monkeypatch.setattr("rlsys.testing.algorithm.CheckingPolicy.refresh", refresh)
    monkeypatch.setattr("rlsys.testing.algorithm.CheckingPolicy.set_weights", take)
    section = {"refreshed_share": 0.75, "stored_before_train": 100}
    whole = make_spec(section=section, run=_INLINE | {"training_steps": 300})
    progress = run_inline(whole, make_recorder)
    rows = rows_by_step(whole)
    refreshed = rows[300]["replay/refreshed_rows"] + rows[300]["replay/skipped_refreshes"]
    counted = progress.env_steps - refreshed / 3
    assert abs(counted - 100) < 4 * 20 + 128 / 3, "decisions before the minimum do not count, but for a batch"
    shares = [row["replay/refreshed_share"] for row in rows.values() if "replay/refreshed_share" in row]
    assert 0.4 < shares[-1] < 0.9, "of the decisions since the row before"
    assert 0 < rows[300]["replay/target_age_mean"] < rows[300]["replay/target_age_max"] <= 300
    assert max(versions) >= 300 // 5 - 10, "the weights that act are the newest, up to the period of looking for them"
    parts = replace(whole, folder=whole.folder.parent / "parts")
    run_inline(replace(parts, run=parts.run.model_copy(update={"training_steps": 200})), make_recorder)
    run_inline(parts, make_recorder, step=200)
    assert rows_by_step(parts) == rows


def _spied(versions: list[int]):
    """The checking policy's methods, which note the versions with which rows are refreshed."""
    from rlsys.testing.algorithm import CheckingPolicy

    refresh, set_weights = CheckingPolicy.refresh, CheckingPolicy.set_weights

    def take(self: CheckingPolicy, weights: Weights) -> None:
        self.version = weights.version
        set_weights(self, weights)

    def spied(self: CheckingPolicy, observation):
        versions.append(self.version)
        return refresh(self, observation)

    return spied, take


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
def test_rollout_workers_take_turns_with_it_where_nobody_else_does(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    section = {"refreshed_share": 0.6, "samples_per_insert": 1.0}
    runtime = {"rollout_workers": 2, "replay_shards": 2}
    spec = make_spec(section=section, runtime=runtime, run={"training_steps": 120})
    with started(spec, make_recorder) as run:
        run.supervisor.run()
        run.recorder.write()
    last = [row for row in read_metrics(spec.folder) if "replay/refreshed_rows" in row][-1]
    refreshed = last["replay/refreshed_rows"] + last["replay/skipped_refreshes"]
    assert refreshed % 64 == 0
    assert refreshed == pytest.approx(1.5 * (last["env_steps"] - 200), rel=0.35)
    shares = [row["replay/refreshed_share"] for row in read_metrics(spec.folder) if "replay/refreshed_share" in row]
    assert 0.3 < shares[-1] < 0.8


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
def test_workers_of_their_own_hold_the_share_with_inserts_and_come_back_when_they_are_killed(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    section = {"refreshed_share": 0.5, "samples_per_insert": 2.0}
    spec = make_spec(section=section, runtime={"reanalyse_workers": 1}, run={"training_steps": 10_000})
    with started(spec, make_recorder) as run:
        run.work_until(lambda: run.progress.learner_steps > 40)
        os.kill(run.pid_of("reanalyse"), signal.SIGKILL)
        worker = Worker(WorkerKind.REANALYSE, 0)
        run.work_until(lambda: run.supervisor.restarts(worker) == 1)
        before = run.progress.learner_steps
        run.work_until(lambda: run.progress.learner_steps > before + 60)
        assert run.supervisor._watch_weights.knows(worker)
        run.supervisor.stop("enough")
        run.supervisor.run()
        run.recorder.write()
    last = [row for row in read_metrics(spec.folder) if "replay/refreshed_rows" in row][-1]
    refreshed = last["replay/refreshed_rows"] + last["replay/skipped_refreshes"]
    slack = 128 + 2 * 25
    lost = 3 * 128  # drawn by who was killed, or on their way
    assert abs(refreshed - (last["replay/inserted"] - 200)) <= slack + lost
    assert any("workers/reanalyse_refresh_share" in row for row in read_metrics(spec.folder))
