"""Machines that die, come, and are taken away, and a head that goes: with a cluster of raylets, and killed for real.

They need a process, and variables of Ray, of their own: test_node_faults.py starts them.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import runs as support_runs
from support.runs import MakeRecorder, MakeSpec, Run, started

from rlsys.errors import WorkerError
from rlsys.runs.workers import Worker, WorkerKind
from rlsys.runtime.cluster.machine_types import ROLE

_OBJECT_STORE_BYTES = 100_000_000
_SPREAD = {"rollout_workers": 2, "rollout_cpus": 1.0, "replay_shards": 2}


class Machines:
    """A cluster whose machines come and go; the head keeps its state in a folder."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self._state = folder / "gcs"
        os.environ |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(self._state)}
        self.cluster = Cluster()
        self.head = self.add("head", 0)

    def add(self, role: str, num_cpus: int) -> Any:
        return self.cluster.add_node(
            num_cpus=num_cpus, labels={ROLE: role}, object_store_memory=_OBJECT_STORE_BYTES, include_dashboard=False
        )

    def with_role(self, role: str) -> list[Any]:
        import ray

        ids = {node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Labels"].get(ROLE) == role}
        return [node for node in self.cluster.worker_nodes if node.node_id in ids]

    def at_least(self, role: str, count: int) -> None:
        """Makes up for machines that earlier tests took away."""
        for _ in range(count - len(self.with_role(role))):
            self.add(role, 2)

    def kill(self, node: Any) -> None:
        os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)

    def announce(self, node: Any, seconds: float) -> None:
        import ray
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        head = ray._raylet.GcsClient(address=self.cluster.address)
        reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
        assert head.drain_node(node.node_id, reason, "spot", int((time.time() + seconds) * 1000))[0]

    def restart_head(self, *, with_state: bool) -> None:
        if not with_state:
            shutil.rmtree(self._state)
        self.head.start_gcs_server()

    def close(self) -> None:
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    import ray

    from rlsys.config import RuntimeConfig
    from rlsys.runtime.cluster.cluster import connect

    found = Machines(tmp_path_factory.mktemp("head"))
    connect(RuntimeConfig(address=found.cluster.address))
    yield found
    ray.shutdown()
    found.close()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the console says, and soon: waiting explains itself after three seconds."""
    from rlsys.runtime.driver import liveness
    from rlsys.runtime.driver.recorder import Recorder

    monkeypatch.setattr(liveness, "SILENCE_S", 3.0)
    monkeypatch.setattr(
        support_runs, "PATIENCE_S", 240.0
    )  # a machine takes its time to start, and longer on a busy one
    said: list[str] = []

    def message(recorder: Recorder, text: str) -> None:
        said.append(text)
        sys.stderr.write(f"{time.monotonic():.1f} {text}\n")  # shown when a test fails

    monkeypatch.setattr(Recorder, "message", message)
    return said


def says(lines: list[str], *parts: str) -> bool:
    return any(all(part in line for part in parts) for line in lines)


def homes(run: Run, kind: str) -> set[str]:
    """Returns the nodes on which workers of a kind are, as their own processes say."""
    import ray

    def here(worker: object) -> str:
        return ray.get_runtime_context().get_node_id()

    handles = [handle for worker, handle in run.program.workers() if worker.kind == kind]
    return set(ray.get([handle.__ray_call__.remote(here) for handle in handles], timeout=60))


def inserted(run: Run) -> float:
    """Returns how many items replay has ever taken, as its shards say."""
    import ray

    statuses = ray.get([shard.status.remote(0, 0) for shard in run.program.shards], timeout=60)
    return float(sum(status.inserted_items for status in statuses))


def in_checkpoint(run: Run, step: int) -> float:
    """Returns the same of a checkpoint."""
    opened = run.checkpoints.open(step)
    return float(sum(opened.read(f"replay-{index}")["limiter"]["inserted"] for index in range(len(run.program.shards))))


def trains(run: Run) -> Callable[[], bool]:
    """Returns a condition: updates and decisions have both gone on from here."""
    steps, env_steps = run.progress.learner_steps, run.progress.env_steps
    return lambda: run.progress.learner_steps > steps + 5 and run.progress.env_steps > env_steps + 50


def test_workers_of_a_machine_that_dies_go_on_elsewhere_and_nothing_else_is_lost(
    machines: Machines, lines: list[str], make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    machines.at_least("learner", 1)
    machines.at_least("rollout", 2)
    spec = make_spec(runtime=_SPREAD, run={"training_steps": 100_000})
    with started(spec, make_recorder) as run:
        run.work_until(trains(run))
        before, rows = run.progress.learner_steps, inserted(run)
        victim = next(node for node in machines.with_role("rollout") if node.node_id in homes(run, "rollout"))
        machines.kill(victim)
        run.work_until(lambda: says(lines, "rollout", "is restarted"))
        run.work_until(trains(run))
        assert run.progress.learner_steps > before
        assert inserted(run) > rows
        assert not says(lines, "goes on from step")
        run.work_until(lambda: victim.node_id not in run.program.machines.view.machines)
        assert victim.node_id not in homes(run, "rollout")


def test_who_finds_no_machine_says_which_and_starts_when_one_comes(
    machines: Machines, lines: list[str], make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    machines.at_least("learner", 1)
    machines.at_least("rollout", 1)
    spec = make_spec(runtime={**_SPREAD, "worker_restarts": 20}, run={"training_steps": 100_000})
    with started(spec, make_recorder) as run:
        run.work_until(trains(run))
        for node in machines.with_role("rollout"):
            machines.kill(node)
        for index in range(2):
            wanted = f"rollout {index} waits for a machine with {ROLE}=rollout and 1 free CPU"
            run.work_until(lambda wanted=wanted: says(lines, wanted))
        waiting = run.progress.learner_steps
        run.supervisor.scale(3)  # one more than the machine that comes can take
        machines.add("rollout", 2)
        run.work_until(trains(run))
        assert run.progress.learner_steps > waiting
        assert not says(lines, "goes on from step")
        machines.add("rollout", 1)
        run.work_until(lambda: len(homes(run, "rollout")) == 2)


def test_a_machine_with_learner_and_replay_that_dies_costs_what_came_after_the_checkpoint(
    machines: Machines, lines: list[str], make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    machines.at_least("learner", 1)
    machines.at_least("rollout", 2)
    often = {"training_steps": 100_000, "checkpoint_every_learner_steps": 20, "keep_checkpoints": 1000}
    spec = make_spec(runtime=_SPREAD, run=often)
    with started(spec, make_recorder) as run:
        run.work_until(lambda: run.checkpoints.latest() is not None)
        run.work_until(trains(run))
        for node in machines.with_role("learner"):
            machines.kill(node)
        for name in ("learner", "replay shard 1", "parameter server"):
            run.work_until(lambda name=name: says(lines, f"{name} waits for a machine with {ROLE}=learner"))
        machines.add("learner", 2)
        run.work_until(lambda: says(lines, "the learner goes on from step"))
        run.work_until(lambda: all(says(lines, f"replay shard {index} is back") for index in range(2)))
        saved = next(int(line.split()[-1]) for line in lines if line.startswith("the learner goes on from step"))
        assert inserted(run) >= in_checkpoint(run, saved) > 0
        run.work_until(trains(run))
        assert run.progress.learner_steps > saved
        run.work_until(lambda: not run.supervisor._liveness._away_since)


def test_a_notice_moves_everybody_and_loses_nothing(
    machines: Machines, lines: list[str], make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    machines.at_least("learner", 1)
    machines.at_least("rollout", 1)
    spec = make_spec(runtime=_SPREAD, run={"training_steps": 100_000, "checkpoint_every_learner_steps": 0})
    with started(spec, make_recorder) as run:
        run.work_until(trains(run))
        leaving = [node for role in ("learner", "rollout") for node in machines.with_role(role)]
        ids = {node.node_id for node in leaving}
        machines.add("learner", 2)
        machines.add("rollout", 2)
        run.work_until(lambda: len(run.program.machines.view.machines) >= len(leaving) + 3)
        before, rows = run.progress.learner_steps, inserted(run)
        for node in leaving:
            machines.announce(node, seconds=120)
        run.work_until(lambda: says(lines, "is about to be taken away (preemption, 1", "replay shard 0", "learner"))
        run.work_until(lambda: says(lines, "the learner goes on from step"))
        saved = run.checkpoints.latest()
        assert saved is not None
        assert saved >= before
        assert run.progress.learner_steps >= saved, "updates after the checkpoint were lost"
        run.work_until(trains(run))
        assert inserted(run) >= in_checkpoint(run, saved) >= rows
        for kind in ("rollout", "learner", "shard", "server"):
            run.work_until(lambda kind=kind: not homes(run, kind) & ids)
        restarts = run.supervisor.restarts(Worker.rollout(0)), run.supervisor.restarts(Worker(WorkerKind.LEARNER, 0))
        for node in leaving:
            machines.kill(node)
        run.work_until(lambda: not ids & set(run.program.machines.view.machines))
        run.work_until(trains(run))
        assert (
            (run.supervisor.restarts(Worker.rollout(0)), run.supervisor.restarts(Worker(WorkerKind.LEARNER, 0)))
            == restarts
            == (0, 0)
        )


def test_training_goes_on_while_the_head_is_away_and_workers_are_restarted_when_it_is_back(
    machines: Machines,
    lines: list[str],
    make_spec: MakeSpec,
    make_recorder: MakeRecorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machines.at_least("learner", 1)
    machines.at_least("rollout", 1)
    monkeypatch.setattr("rlsys.runtime.driver.liveness._HEAD_PATIENCE_S", 2.0)
    monkeypatch.setattr("rlsys.runtime.driver.liveness._HEAD_LIMIT_S", 600.0)
    spec = make_spec(runtime=_SPREAD, run={"training_steps": 100_000, "checkpoint_every_learner_steps": 0})
    with started(spec, make_recorder) as run:
        run.work_until(lambda: all(run.supervisor._watch_weights.knows(f"rollout {index}") for index in range(2)))
        machines.head.kill_gcs_server()
        run.work_until(lambda: says(lines, "head (GCS) does not answer: training goes on, a checkpoint is written"))
        run.work_until(lambda: run.checkpoints.latest() is not None)
        run.work_until(trains(run))
        killed = run.program.rollouts[0]
        os.kill(run.pid_of("rollout"), signal.SIGKILL)
        run.work_until(lambda: says(lines, "rollout", "is restarted"))
        run.work_until(trains(run))
        machines.restart_head(with_state=True)
        run.work_until(lambda: says(lines, "head (GCS) answers again"))
        run.work_until(lambda: run.program.rollouts[0] is not killed)
        run.work_until(trains(run))
        assert homes(run, "rollout")
        assert not says(lines, "goes on from step")


def test_a_head_that_is_lost_ends_the_run_with_a_checkpoint_from_which_another_cluster_goes_on(
    machines: Machines,
    lines: list[str],
    make_spec: MakeSpec,
    make_recorder: MakeRecorder,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    import ray

    from rlsys.config import RuntimeConfig
    from rlsys.runtime.cluster.cluster import connect

    machines.at_least("learner", 1)
    machines.at_least("rollout", 1)
    monkeypatch.setattr("rlsys.runtime.driver.liveness._HEAD_PATIENCE_S", 3.0)
    monkeypatch.setattr("rlsys.runtime.driver.liveness._HEAD_LIMIT_S", 40.0)
    spec = make_spec(runtime=_SPREAD, run={"training_steps": 100_000, "checkpoint_every_learner_steps": 0})
    with started(spec, make_recorder) as run:
        run.work_until(trains(run))
        before = run.progress.learner_steps
        machines.head.kill_gcs_server()
        with pytest.raises(WorkerError, match=r"head \(GCS\) does not answer, for .*--resume checking/run"):
            run.supervisor.run()
    saved = run.checkpoints.latest()
    assert saved is not None
    assert saved >= before
    ray.shutdown()
    machines.close()
    again = Machines(tmp_path)
    again.add("learner", 2)
    again.add("rollout", 2)
    connect(RuntimeConfig(address=again.cluster.address))
    with started(spec, make_recorder, saved) as resumed:
        resumed.work_until(trains(resumed))
        assert resumed.progress.learner_steps > saved
        again.head.kill_gcs_server()
        again.restart_head(with_state=False)
        with pytest.raises(WorkerError, match=r"head \(GCS\) was restarted without its state, for .*--resume"):
            resumed.supervisor.run()
    last = resumed.checkpoints.latest()
    assert last is not None
    assert last > saved
    ray.shutdown()
    again.close()
