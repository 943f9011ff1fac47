"""Several shards must look like one table to whoever reads, and hold back whoever writes."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import MakeSpec
from support.segments import make_segment

from rlsys.api import ReplayNotReady
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.replay.table import Table
from rlsys.runs.spec import RunSpec
from rlsys.testing.algorithm import check_batch

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.xdist_group("ray")]


def start_shards(spec: RunSpec) -> list[Any]:
    import ray

    from rlsys.runtime.workers.shard import ReplayShard

    shard = ray.remote(ReplayShard).options(num_cpus=0, max_concurrency=100)
    return [shard.remote(spec, index) for index in range(spec.runtime.replay_shards)]


def connect_replay(spec: RunSpec, shards: list[Any], rank: int = 0, num_ranks: int = 1) -> Any:
    from rlsys.runtime.workers.remote_replay import RemoteReplay

    replay = RemoteReplay(shards, spec.store, rank=rank, num_ranks=num_ranks, in_flight=2, seed=0)
    replay.deadline = time.monotonic() + 30
    return replay


def fill(spec: RunSpec, shards: list[Any], num_segments: int) -> None:
    import ray

    for episode in range(num_segments):
        shard = shards[episode % len(shards)]
        assert ray.get(shard.insert.remote([make_segment(spec, episode)], 1.0)) == ""


def test_three_shards_draw_each_item_as_often_as_one_table(make_spec: MakeSpec) -> None:
    spec = make_spec({"samples_per_insert": None, "stored_before_train": 40}, {"replay_shards": 3})
    shards = start_shards(spec)
    fill(spec, shards, 9)
    replay = connect_replay(spec, shards)
    counts = np.zeros((9, 20))
    draws = 150
    for _ in range(draws):
        batch = replay.sample(40, 5)
        check_batch(batch, 5)
        first = batch.observation[:, 0].astype(int)
        np.add.at(counts, (first[:, 1], first[:, 2]), 1)
        expected = (1.0 + first[:, 2]) / (9 * 210)
        np.testing.assert_allclose(batch.probability, expected, rtol=1e-9)
        assert batch.num_items == 180
        np.testing.assert_array_equal(batch.age, 3 * ((8 - first[:, 1]) // 3 * 20 + 19 - first[:, 2]))
    expected_counts = np.broadcast_to(np.arange(1, 21) / (9 * 210), (9, 20)) * draws * 40
    chi_square = ((counts - expected_counts) ** 2 / expected_counts).sum()
    assert chi_square < 250, chi_square  # 179 degrees of freedom: the 99.9 % quantile is 243; strata make it smaller


def test_priorities_reach_the_shard_that_owns_the_item(make_spec: MakeSpec) -> None:
    import ray

    spec = make_spec({"samples_per_insert": None, "stored_before_train": 40}, {"replay_shards": 2})
    shards = start_shards(spec)
    fill(spec, shards, 4)
    replay = connect_replay(spec, shards)
    for _ in range(30):
        batch = replay.sample(40, 5)
        wanted = batch.observation[:, 0, 1] == 3.0
        replay.update_priorities(batch.key, np.where(wanted, 1.0, 0.0))
    time_out = time.monotonic() + 10
    while time.monotonic() < time_out:
        masses = [ray.get(shard.status.remote(0, 0)).mass for shard in shards]
        if masses[0] == 0.0 and 0 < masses[1] <= 20.0:
            break
    assert masses[0] == 0.0
    batch = replay.sample(40, 5)
    batch = replay.sample(40, 5)
    batch = replay.sample(40, 5)
    assert (batch.observation[:, 0, 1] == 3.0).all()


def test_inserts_wait_while_replay_is_ahead_and_go_on_after_samples(make_spec: MakeSpec) -> None:
    import ray

    section = {"samples_per_insert": 1.0, "stored_before_train": 20, "batch_size": 4}
    spec = make_spec(section, {"replay_shards": 1})
    shards = start_shards(spec)
    reason, stored = "", 0
    while not reason:
        reason = ray.get(shards[0].insert.remote([make_segment(spec, stored)], 0.05))
        stored += not reason
    assert "samples per insert" in reason
    allowed = 20 + spec.store.error_buffer
    assert allowed - 20 <= 20 * stored <= allowed
    waiting = shards[0].insert.remote([make_segment(spec, stored)], 30.0)
    replay = connect_replay(spec, shards)
    for _ in range(8):
        replay.sample(4, 5)
    assert ray.get(waiting, timeout=20) == ""


def test_a_sample_that_cannot_be_served_says_what_is_missing(make_spec: MakeSpec) -> None:
    spec = make_spec({"stored_before_train": 500}, {"replay_shards": 2})
    shards = start_shards(spec)
    fill(spec, shards, 2)
    replay = connect_replay(spec, shards)
    replay.deadline = time.monotonic() + 0.2
    with pytest.raises(ReplayNotReady, match=r"40 of 500 items \(min_size_to_sample\)"):
        replay.sample(16, 5)
    assert replay.save()["sampled"] == 0


def test_a_shard_continues_from_what_it_saved(make_spec: MakeSpec, tmp_path: Path) -> None:
    import asyncio

    from rlsys.runtime.workers.shard import ReplayShard

    async def session() -> None:
        spec = make_spec()
        first = ReplayShard(spec, 0)
        for episode in range(12):
            assert await first.insert([make_segment(spec, episode)], 0.0) == ""
        positions = np.linspace(0, 0.99, 16)
        await first.sample(positions, 5, None, 0, 64)
        second = ReplayShard(spec, 0)
        checkpoints = Checkpoints(tmp_path, keep=1)
        with checkpoints.begin(7) as draft:
            draft.add(await first.save_to(draft.place, 7, None))
            draft.commit({})
        assert await second.restore(str(tmp_path), 7) == 240
        assert await second.insert([make_segment(spec, 11)], 0.0) == ""  # known: not stored twice
        expected, status = await first.sample(positions, 5, None, 0, 80)
        batch, other = await second.sample(positions, 5, None, 0, 80)
        np.testing.assert_array_equal(batch.key, expected.key)
        np.testing.assert_array_equal(batch.observation, expected.observation)
        assert (other.num_items, other.mass, other.inserted_items) == (240, status.mass, 240)

    asyncio.run(session())


def test_one_table_and_its_halves_draw_the_same_items_at_the_same_positions(make_spec: MakeSpec) -> None:
    spec = make_spec({"samples_per_insert": None, "stored_before_train": 40}, {"replay_shards": 2})
    whole = Table(spec.store, spec.env_spec, spec.cut)
    for episode in (0, 2, 4, 1, 3, 5):  # the order in which the two halves lie side by side
        whole.insert(make_segment(spec, episode))
    shards = start_shards(spec)
    fill(spec, shards, 6)
    replay = connect_replay(spec, shards)
    strata = (np.arange(32) + np.random.default_rng(0).random(32)) / 32  # what the reader draws from its seed 0
    expected = whole.sample(32, 5, None, strata)
    batch = replay.sample(32, 5)
    np.testing.assert_array_equal(batch.observation, expected.observation)
    np.testing.assert_allclose(batch.probability, expected.probability)
