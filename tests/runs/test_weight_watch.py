"""Who acts with which weights: what an echo proves, who is behind, and that the learner waits for them."""

import time
from typing import Any

import numpy as np
import pytest
from support.runs import MakeRecorder, MakeSpec, started

from rlsys.metrics.rows import read_metrics
from rlsys.runs.weight_watch import WeightWatch
from rlsys.runs.workers import Worker, WorkerKind
from rlsys.runtime.workers.remote_weights import RemotePublisher
from rlsys.weights import NOTHING, Echo, digest, pack


def test_a_digest_tells_weights_apart_and_does_not_depend_on_how_they_lie_in_memory() -> None:
    rng = np.random.default_rng(0)
    weights = {"a": rng.normal(size=(300, 70)).astype(np.float32), "b": np.arange(13, dtype=np.uint8)}
    known = digest(weights)
    assert digest({"b": weights["b"], "a": weights["a"]}) == known
    assert digest({"a": np.asfortranarray(weights["a"]), "b": weights["b"]}) == known
    assert pack(weights, 0, 0).digest == known
    for name, at in (("a", (299, 69)), ("a", (0, 0)), ("b", 12)):
        changed = {key: value.copy() for key, value in weights.items()}
        changed[name][at] += 1
        assert digest(changed) != known
    rows_swapped = {**weights, "a": weights["a"][::-1]}
    assert digest(rows_swapped) != known, "over 8,192 numbers the order counts"
    assert digest({"c": weights["a"], "b": weights["b"]}) != known


def test_an_echo_is_judged_once_its_version_is_known() -> None:
    watch = WeightWatch(max_lag=None)
    watch.acts(Worker.rollout(0), Echo(3, 0xAB))
    watch.acts(Worker.rollout(1), NOTHING)
    assert watch.wrong() == {}, "the learner has not said yet what version 3 is"
    watch.published({2: 0x11, 3: 0xCD})
    assert watch.wrong() == {
        Worker.rollout(0): "acts with wrong weights: version 3 was published with digest 000000cd, it has 000000ab"
    }
    assert watch.wrong() == {}, "said once"
    watch.acts(Worker.rollout(0), Echo(3, 0xCD))
    watch.acts(Worker.rollout(2), Echo(2, None))
    assert watch.wrong() == {}, "who decides elsewhere has no digest"


def test_the_slowest_decides_how_far_the_learner_may_go() -> None:
    watch = WeightWatch(max_lag=5)
    watch.published(dict.fromkeys(range(10), 0))
    assert watch.last_version() is None, "nobody acts"
    watch.acts(Worker.rollout(0), Echo(9, None))
    watch.acts(Worker.rollout(1), Echo(4, None))
    assert (watch.slowest(), watch.lag, watch.last_version()) == (Worker.rollout(1), 5, 9)
    watch.forget(Worker.rollout(1))
    assert (watch.slowest(), watch.lag, watch.last_version()) == (Worker.rollout(0), 0, 14)
    assert WeightWatch(max_lag=None).last_version() is None


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
class TestOnRay:
    """The same in a run."""

    def test_a_worker_with_wrong_weights_is_replaced_and_versions_go_on_after_the_learner_was_restarted(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        import ray

        budget = {"training_steps": 10_000, "checkpoint_every_learner_steps": 20}
        spec = make_spec(runtime={"rollout_workers": 2}, run=budget)
        with started(spec, make_recorder) as run:
            run.work_until(lambda: run.progress.learner_steps > 25)

            def spoil(host: Any) -> None:
                policy = host._worker._policy
                policy._weights = {"steps": np.array([-1], np.int64)}
                policy.set_weights = lambda weights: None  # versions go on, what it acts with stays

            ray.get(run.program.rollouts[1].__ray_call__.remote(spoil))
            run.work_until(lambda: run.supervisor.restarts(Worker.rollout(1)) == 1)
            before = run.progress.env_steps
            run.work_until(lambda: run.progress.env_steps > before + 100)
            assert run.supervisor.restarts(Worker.rollout(0)) == 0
            publisher = RemotePublisher(run.program.server)
            publisher(pack({"steps": np.array([0], np.int64)}, version=10_000, learner_step=0))
            publisher.flush()
            ray.kill(run.program.learners[0])
            run.work_until(lambda: run.supervisor.restarts(Worker(WorkerKind.LEARNER, 0)) == 1)
            run.work_until(lambda: run.supervisor._watch_weights.newest > 10_000)
            run.recorder.write()
        assert read_metrics(spec.folder)[-1]["workers/wrong_weights"] == 1, "that of the one whose weights were spoiled"

    def test_the_learner_waits_for_whoever_is_too_far_behind(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        runtime = {"send_weights_frequency": 1, "weight_sync_frequency": 40, "max_version_lag": 7, "tick_s": 0.2}
        spec = make_spec(runtime=runtime, run={"training_steps": 10_000})
        with started(spec, make_recorder) as run:
            watch = run.supervisor._watch_weights
            lags = []
            deadline = time.monotonic() + 20.0
            while run.progress.learner_steps < 60:
                assert time.monotonic() < deadline
                run.supervisor.work()
                lags.append(watch.lag)
        assert max(lags) <= 7
        assert max(lags) > 0, "otherwise nothing was tested"

    def test_a_resumed_worker_acts_with_nothing_before_it_has_weights(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        runtime = {"weight_sync_frequency": 1_000_000}
        spec = make_spec(runtime=runtime, run={"training_steps": 10_000, "checkpoint_every_learner_steps": 20})
        with started(spec, make_recorder) as run:
            run.work_until(lambda: run.checkpoints.latest() is not None)
        step = run.checkpoints.latest()
        with started(spec, make_recorder, step) as resumed:
            before = resumed.progress.env_steps
            resumed.work_until(lambda: resumed.progress.env_steps > before)
            (echo,) = resumed.supervisor._watch_weights._echoes.values()
            assert echo.digest is not None
            assert resumed.supervisor.restarts(Worker.rollout(0)) == 0
