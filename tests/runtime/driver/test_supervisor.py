"""The same pipe as Ray actors, undisturbed and with every kind of process killed."""

import os
import signal

import pytest
from support.runs import MakeRecorder, MakeSpec, started

from rlsys.errors import WorkerError
from rlsys.metrics.averages import COUNTS
from rlsys.metrics.rows import read_metrics
from rlsys.process import ENVIRONMENT
from rlsys.runs.workers import Worker
from rlsys.testing.object_store import serving

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.xdist_group("ray")]

PATIENCE_S = 60.0


def test_an_actor_starts_in_the_installed_environment() -> None:
    import ray

    from rlsys.runtime.workers.parameter_server import ParameterServer

    server = ray.remote(ParameterServer).options(num_cpus=0).remote()
    assert ray.get(server.pull.remote(-1), timeout=PATIENCE_S) is None
    variables = ray.get(server.__ray_call__.remote(lambda worker: dict(os.environ)), timeout=PATIENCE_S)
    assert ENVIRONMENT.keys() <= variables.keys(), "their values are the user's, where there are any"
    ray.kill(server)


def test_a_run_of_two_ranks_and_two_shards_reaches_its_budget_in_step_and_every_window_is_unbroken(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    runtime = {"rollout_workers": 2, "replay_shards": 2, "learners": 2}
    spec = make_spec(runtime=runtime, run={"training_steps": 60})
    with started(spec, make_recorder) as run:
        assert run.supervisor.run() == "60 learner steps are done"
        run.recorder.write()
    assert run.progress.learner_steps == 60
    assert not run.recorder._waits, "nobody is said to wait for anything once the run has ended"
    assert run.checkpoints.latest() == 60
    assert {"learner", "learner-1"} <= set(run.checkpoints.open(60).parts)
    last = [row for row in read_metrics(spec.folder) if "replay/inserted" in row][-1]
    assert last["replay/inserted"] >= 200
    assert 60 * 16 <= last["replay/sampled"] <= (60 + 3) * 16  # up to three batches are asked for in advance
    ahead = 4.0 * (last["replay/inserted"] - 200) - last["replay/sampled"]
    assert -spec.store.error_buffer <= ahead


def test_training_goes_on_whatever_process_is_killed_until_one_keeps_failing(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_spec(
        runtime={"worker_restarts": 1}, run={"training_steps": 10_000, "checkpoint_every_learner_steps": 20}
    )
    with started(spec, make_recorder) as run:
        run.work_until(lambda: run.checkpoints.latest() is not None)
        for victim in ("rollout", "learner", "shard"):
            run.survives(victim)
        run.recorder.write()
        os.kill(run.pid_of("rollout"), signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"rollout worker 0 failed 2 times within ten minutes"):
            run.work_until(lambda: run.supervisor.restarts(Worker.rollout(0)) == 2)
    rows = read_metrics(spec.folder)
    for name in (*(f"replay/{count}" for count in COUNTS), "episodes/count", "throughput/frames", "workers/restarts"):
        series = [row[name] for row in rows if name in row]
        assert series == sorted(series), f"{name} fell"
    assert rows[-1]["replay/inserted"] > 0


def test_a_rollout_worker_that_does_not_answer_holds_no_checkpoint_up(
    make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("supervisor", "checkpointing"):
        monkeypatch.setattr(f"rlsys.runtime.driver.{module}.SILENCE_S", 1.0)
    spec = make_spec(runtime={"rollout_workers": 2}, run={"training_steps": 10_000})
    with started(spec, make_recorder) as run:
        run.work_until(lambda: run.checkpoints.latest() is not None)
        process = run.pid_of("rollout")
        os.kill(process, signal.SIGSTOP)
        try:
            before = run.progress.learner_steps
            run.work_until(lambda: (run.checkpoints.latest() or 0) > before + 60)
            parts = run.checkpoints.open("latest").parts
            assert "rollout-0" not in parts
            assert {"learner", "replay-0", "rollout-1"} <= set(parts)
            run.supervisor.stop("enough")
            run.supervisor.run()
            assert run.checkpoints.latest() == run.progress.learner_steps
        finally:
            os.kill(process, signal.SIGCONT)


@pytest.mark.parametrize(
    ("env_id", "reason"),
    [
        ("rlsys/Raising-v0", "raised OSError in step: the simulator has lost its socket"),
        ("rlsys/Hanging-v0", "no report for 5 s (runtime.rollout_timeout_s): its environments hang"),
    ],
)
def test_an_environment_that_fails_costs_its_worker_and_nothing_else(
    env_id: str, reason: str, make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = {"rollout_timeout_s": 5.0}  # four of those that hang take longer to be built
    spec = make_spec({"samples_per_insert": None}, runtime, {"training_steps": 100_000}, env_id=env_id)
    with started(spec, make_recorder) as run:
        messages: list[str] = []
        monkeypatch.setattr(run.recorder, "message", messages.append)
        run.work_until(lambda: run.supervisor.restarts(Worker.rollout(0)) >= 1)
        env_steps, learner_steps = run.progress.env_steps, run.progress.learner_steps
        run.work_until(lambda: run.progress.env_steps >= env_steps + 100)
        run.work_until(lambda: run.progress.learner_steps > learner_steps)
    assert any(text.startswith("rollout worker 0 is restarted: ") and reason in text for text in messages), messages


def test_a_number_that_is_not_finite_ends_the_run_with_its_name(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_spec({"fail_at_step": 45}, run={"checkpoint_every_learner_steps": 30})
    with (
        started(spec, make_recorder) as run,
        pytest.raises(WorkerError, match="loss/total is not finite at learner step 45"),
    ):
        run.supervisor.run()
    assert run.checkpoints.latest() == 30


def test_every_worker_writes_to_the_object_store_where_a_failure_costs_a_checkpoint_and_a_run_resumes_with_its_replay(
    make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving() as store:
        budget = {"training_steps": 10_000, "checkpoint_every_learner_steps": 20, "checkpoints": store.uri}
        spec = make_spec(run=budget)
        with started(spec, make_recorder) as run:
            messages: list[str] = []
            monkeypatch.setattr(run.recorder, "message", messages.append)
            run.work_until(lambda: bool(run.checkpoints.list()))
            store.fails = (403, "AccessDenied")
            run.work_until(lambda: any("checkpoint given up: cannot write" in text for text in messages))
            store.fails, before = None, run.checkpoints.latest()
            run.work_until(lambda: run.checkpoints.latest() != before)
        step = run.checkpoints.latest()
        assert step is not None
        parts = {part.partition("/")[0] for part in run.checkpoints.open(step).parts}
        assert parts == {"learner", "progress", "recorder", "replay-0", "rollout-0", "weights"}
        assert not (spec.folder / "checkpoints").exists()
        saved = run.checkpoints.open(step).read("replay-0")["table"]["counts"]["inserted_items"]
        with started(spec, make_recorder, step) as resumed:
            assert resumed.progress.learner_steps == step
            resumed.work_until(lambda: resumed.progress.learner_steps > step + 20)
    rows = [row for row in read_metrics(spec.folder) if "replay/inserted" in row]
    assert rows[-1]["replay/inserted"] >= saved
