"""What goes through Ray without anybody standing still for it: unrolls to a queue, weights to those who act."""

import time
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import ray

from rlsys.runtime.cluster.placement import Handle
from rlsys.runtime.workers.outlets import QueueOutlet
from rlsys.runtime.workers.parameter_server import ParameterServer
from rlsys.runtime.workers.remote_weights import RemotePublisher, RemoteWeights
from rlsys.weights import pack

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.xdist_group("ray")]


def slow_shard(seconds: float, refusals: int = 0) -> Handle:
    """Starts a shard that takes a while for each call, refuses so often, and remembers what came with each."""

    class SlowShard:  # defined here, so that it travels to its process by value: nobody can import tests there
        def __init__(self) -> None:
            self._refusals = refusals
            self._calls: list[list[int]] = []

        def insert(self, items: Sequence[SimpleNamespace], patience_s: float) -> str:
            time.sleep(seconds)
            self._calls.append([item.number for item in items])
            self._refusals -= 1
            return "room in the queue" if self._refusals >= 0 else ""

        def calls(self) -> list[list[int]]:
            return self._calls

    shard = ray.remote(SlowShard).options(num_cpus=0).remote()
    ray.get(shard.calls.remote())
    return shard


def blocks(first: int, count: int) -> list[SimpleNamespace]:
    return [SimpleNamespace(number=first + k, num_items=1) for k in range(count)]


def test_a_worker_goes_on_while_unrolls_are_on_their_way_and_waits_when_as_many_again_are_ready() -> None:
    shard = slow_shard(0.3)
    outlet = QueueOutlet(shard, num_environments=8)
    started = time.monotonic()
    outlet.offer(blocks(0, 8))
    for step in range(8):
        assert outlet.ready(timeout_s=10.0)
        outlet.offer(blocks(8 + step, 1))
    assert time.monotonic() - started < 0.25, "nothing has waited so far"
    assert not outlet.ready(timeout_s=0.0)
    assert outlet.ready(timeout_s=10.0)
    assert ray.get(shard.calls.remote())[0] == list(range(8))


def test_unrolls_of_many_steps_travel_in_one_call_and_in_order() -> None:
    shard = slow_shard(0.0)
    outlet = QueueOutlet(shard, num_environments=16)
    for number in range(64):
        assert outlet.ready(timeout_s=10.0)
        outlet.offer(blocks(number, 1))
        time.sleep(0.002)
    calls = ray.get(shard.calls.remote())
    assert [number for call in calls for number in call] == list(range(sum(map(len, calls))))
    assert all(len(call) >= 4 for call in calls), "a quarter of the environments' unrolls are worth a call"


def test_what_a_shard_refused_is_sent_again_before_anything_newer() -> None:
    shard = slow_shard(0.0, refusals=2)
    outlet = QueueOutlet(shard, num_environments=2)
    for number in range(12):
        assert outlet.ready(timeout_s=10.0)
        outlet.offer(blocks(number, 1))
    calls = ray.get(shard.calls.remote())
    assert calls[0] == calls[1] == calls[2]
    assert [number for call in calls[2:] for number in call] == list(range(sum(map(len, calls[2:]))))


@pytest.mark.parametrize("size", [10, 1_000_000], ids=["within the call", "through shared memory"])
def test_weights_come_while_their_reader_does_other_things(size: int) -> None:
    server = ray.remote(ParameterServer).options(num_cpus=0).remote()
    publisher, source = RemotePublisher(server), RemoteWeights(server)
    assert source.newest() is None
    for version in range(3):
        publisher(pack({"w": np.full(size, version, np.float32)}, version, learner_step=10 * version))
    publisher.flush()
    deadline = time.monotonic() + 10.0
    while (weights := source.newer(1)) is None:
        assert source.is_asking
        assert time.monotonic() < deadline
    assert not source.is_asking
    assert (weights.version, weights.learner_step) == (2, 20)
    np.testing.assert_array_equal(weights.arrays["w"], np.full(size, 2.0))
    assert source.newer(2) is None
    assert source.is_asking
    newest = source.newest()
    assert newest is not None
    assert newest.version == 2


def test_the_server_answers_when_it_has_something_newer() -> None:
    server = ray.remote(ParameterServer).options(num_cpus=0).remote()
    publisher, source = RemotePublisher(server), RemoteWeights(server)
    assert source.newer(-1) is None
    time.sleep(0.5)
    assert source.newer(-1) is None
    assert source.is_asking
    publisher(pack({"w": np.zeros(3, np.float32)}, 0, 0))
    deadline = time.monotonic() + 10.0
    while (weights := source.newer(-1)) is None:
        assert source.is_asking
        assert time.monotonic() < deadline
    assert weights.version == 0


def test_a_reader_forgets_a_server_that_is_gone_and_asks_the_next_one() -> None:
    server = ray.remote(ParameterServer).options(num_cpus=0).remote()
    source = RemoteWeights(server)
    ray.kill(server)
    deadline = time.monotonic() + 10.0
    while source.newer(-1) is None and source.is_asking:
        assert time.monotonic() < deadline
    assert source.newest() is None
