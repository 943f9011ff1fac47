"""Every learner rank keeps what is its own: a run of two that is stopped and resumed equals one that was not."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsys import registry
from rlsys.config import load
from rlsys.runtime.checkpoints.checkpoint import Checkpoints
from rlsys.runtime.plan import Plan, resolve
from rlsys.testing.queue import NumberedQueue

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.xdist_group("ray")]


def learn(plan: Plan, folder: Path, until: int, step: int | None, taken: int) -> None:
    """Lets two ranks learn up to an update, from a checkpoint or from the start, and has them write one."""
    import ray

    from rlsys.runtime.workers.hosts import LearnerHost
    from rlsys.runtime.workers.parameter_server import ParameterServer

    server = ray.remote(ParameterServer).options(num_cpus=0, max_concurrency=100).remote()
    make_queue = ray.remote(NumberedQueue).options(num_cpus=0)
    queues = [make_queue.remote(plan.env_spec, plan.segments, index, taken) for index in range(2)]
    make_host = ray.remote(LearnerHost).options(num_cpus=0)
    hosts = [make_host.remote(plan, rank, queues, server) for rank in range(2)]
    meeting = hosts[0].meeting.remote()
    ray.get([host.start.remote(meeting, str(folder), step, -1) for host in hosts])
    reached = 0
    while reached < until:
        reached = ray.get([host.train.remote(5.0, until, None) for host in hosts])[0].learner_step
    with Checkpoints(folder, keep=5).begin(until) as draft:
        for host in hosts:
            ray.get(host.save_to.remote(draft.place, until, None))
            while (records := ray.get(host.saved.remote())) is None:
                time.sleep(0.01)
            draft.add(records)
        draft.commit({})
    for actor in (*hosts, *queues, server):
        ray.kill(actor)


def equal(one: Any, other: Any, path: str = "") -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for name in one:
            equal(one[name], other[name], f"{path}/{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for index, (mine, others) in enumerate(zip(one, other, strict=True)):
            equal(mine, others, f"{path}/{index}")
    else:
        np.testing.assert_array_equal(one, other, err_msg=path)


@pytest.mark.parametrize(
    ("experiment", "overrides", "half", "whole", "taken"),
    [
        ("simple-catch", ["simple.epochs=2", "simple.num_real_env_frames=256"], 7, 12, 2),
        ("impala-cartpole", ["impala.network=elstm", "impala.gradient=rtrl"], 3, 6, 3),
    ],
)
def test_two_ranks_that_are_stopped_and_resumed_equal_two_that_were_not(
    experiment: str, overrides: list[str], half: int, whole: int, taken: int, tmp_path: Path
) -> None:
    settings = ["debug=true", "runtime.learners=2", "runtime.replay_shards=2", "runtime.rollout_workers=2", *overrides]
    loaded = load(experiment, overrides=settings)
    algorithm = registry.get_algorithm(loaded.experiment.algorithm, "a test")
    plan = replace(resolve(loaded, algorithm, num_cpus=2, num_gpus=0), folder=tmp_path)
    learn(plan, tmp_path / "whole", whole, None, 0)
    learn(plan, tmp_path / "parts", half, None, 0)
    learn(plan, tmp_path / "parts", whole, half, taken)
    parts: dict[str, dict[str, Any]] = {}
    for name in ("learner", "learner-1"):
        one, other = (Checkpoints(tmp_path / run, keep=5).open(whole).read(name) for run in ("whole", "parts"))
        parts[name] = one
        for part in (one, other):  # versions are published anew by who goes on
            part["worker"].pop("version")
        equal(one, other, name)
    first, second = (part["worker"]["learner"] for part in parts.values())
    own = "archive" if "archive" in first else "history"
    with pytest.raises(AssertionError):
        equal(first[own], second[own])
    if "rng" in first:
        assert first["rng"] != second["rng"]
        assert not np.array_equal(first["torch_rng"], second["torch_rng"])
