"""Episodes in several shards look like those of one table to every learner rank."""

import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rlsys import registry
from rlsys.api import NothingToDraw, ReplayNotReady, SequenceQuery, TurnTooSmall
from rlsys.config import load
from rlsys.runs.resolve import resolve
from rlsys.runs.spec import RunSpec
from rlsys.types import Segment, Source

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.xdist_group("ray")]

SETTINGS = ["debug=true", "simple.num_real_env_frames=1024", "runtime.rollout_workers=2", "runtime.replay_shards=2"]
ROWS, EPISODE = 8, 6
"""Of each environment in a turn, and of an episode: 6 rows of the first one, 2 of one that goes on in the next turn."""


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    loaded = load("simple-catch", overrides=SETTINGS)
    return resolve(loaded, registry.get_algorithm("simple", "a test"), num_cpus=2, num_gpus=0)


@pytest.fixture
def shards(spec: RunSpec) -> list[Any]:
    import ray

    from rlsys.runtime.workers.shard import ReplayShard

    kind = ray.remote(ReplayShard).options(num_cpus=0, max_concurrency=100)
    return [kind.remote(spec, index) for index in range(2)]


def play(spec: RunSpec, shards: list[Any], turn: int) -> None:
    """Lets both workers collect a turn: pictures show environment, episode and row in their first three pixels."""
    import ray

    size = spec.environments_per_worker
    for worker, shard in enumerate(shards):
        for count in range(turn * ROWS, (turn + 1) * ROWS):
            for environment in range(worker * size, (worker + 1) * size):
                episode, row = divmod(count, EPISODE)
                frames = np.zeros((2, *spec.env_spec.observation.shape), np.uint8)
                frames.reshape(2, -1)[:, :3] = [(environment, episode, row), (environment, episode, row + 1)]
                segment = Segment(
                    observation=frames,
                    action=np.zeros(1, np.int64),
                    reward=np.full(1, float(row), np.float32),
                    terminated=np.array([row == EPISODE - 1]),
                    truncated=np.zeros(1, np.bool_),
                    extras={name: np.zeros(2, np.float32) for name in spec.cut.extras},
                    first_item=0,
                    num_items=1,
                    priority=None,
                    weights_version=turn,
                    source=Source(worker, 0, count * size + environment % size),
                    environment=environment,
                    episode=episode,
                    row=row,
                    turn=turn,
                )
                assert ray.get(shard.insert.remote([segment], 1.0)) == ""
        ray.get(shard.end_turn.remote(worker, turn))


def connect(spec: RunSpec, shards: list[Any], rank: int = 0, num_ranks: int = 1, workers: int = 2) -> Any:
    from rlsys.runtime.workers.remote_replay import RemoteReplay

    replay = RemoteReplay(
        shards, spec.store, rank=rank, num_ranks=num_ranks, in_flight=2, seed=rank, takes_turns_with=workers
    )
    replay.deadline = time.monotonic() + 30
    return replay


def test_windows_come_from_all_shards_alike_and_run_on_from_turn_to_turn(spec: RunSpec, shards: list[Any]) -> None:
    for turn in range(3):
        play(spec, shards, turn)
    replay = connect(spec, shards)
    replay.turn = 2
    query, found = SequenceQuery(64, 4), Counter[tuple[int, ...]]()
    for _ in range(20):
        windows = replay.sequences(query)
        assert windows.mask.all()
        frames = windows.observation.reshape(64, 5, -1)[:, :, :3].astype(int)
        assert (frames[:, :, :2] == frames[:, :1, :2]).all()
        assert (np.diff(frames[:, :, 2], axis=1) == 1).all()
        assert (windows.reward == frames[:, :-1, 2]).all()
        found.update(map(tuple, frames[:, 0].tolist()))
        np.testing.assert_allclose(windows.probability, 1 / (spec.num_environments * 12))
    assert len(found) == spec.num_environments * 12, "4 episodes of 6 rows, with 3 windows of 4 each"
    assert max(found.values()) < 2.5 * min(found.values())
    newest = replay.sequences(SequenceQuery(32, 2, turns=(2, 3), by="episode"))
    assert (newest.weights_version == 2).all()


def test_a_turn_is_put_together_for_each_rank_and_asked_for_again_where_a_part_is_lost(
    spec: RunSpec, shards: list[Any]
) -> None:
    import ray

    play(spec, shards, 0)
    ranks = [connect(spec, shards, rank, 2) for rank in range(2)]
    seen = []
    for replay in ranks:
        replay.turn = 0
        batch = replay.collected(2, ROWS // 2)
        assert batch.observation.shape[:2] == (2 * spec.num_environments // 2, ROWS // 2 + 1)
        assert batch.turn == 0
        assert batch.terminated.sum() == spec.num_environments // 2
        seen.append(set(batch.environment.tolist()))
    assert seen[0] | seen[1] == set(range(spec.num_environments)) and not seen[0] & seen[1]
    assert ray.get(shards[0].collected.remote(2, ROWS // 2, 0, 3, 4)) == (None, ""), "none of its environments are here"
    waiting = ranks[0]
    waiting.turn, waiting.deadline = 1, time.monotonic() + 0.2
    with pytest.raises(ReplayNotReady, match="turn 1, of which 0 of 2 rollout workers have collected"):
        waiting.collected(2, ROWS // 2)
    waiting.deadline = time.monotonic() + 30
    for worker, shard in enumerate(shards):  # as if the shards had been begun again without what came
        ray.get(shard.end_turn.remote(worker, 1))
    with pytest.raises(TurnTooSmall, match=r"turn 1 once more, of which 0 of 8 rows of environment 0 are there"):
        waiting.collected(2, ROWS // 2)
    for rank in range(4):  # of which each shard's environments are those of two
        with pytest.raises(TurnTooSmall):
            other = connect(spec, shards, rank, 4)
            other.turn = 1
            other.collected(2, ROWS // 2)
    shares = [ray.get(shards[0].collected.remote(2, ROWS // 2, 1, rank, 4)) for rank in range(4)]
    assert all(batch is None and lost for batch, lost in shares), "whoever asks hears of a loss"


def test_what_no_shard_has_is_said_within_a_turn_and_waited_for_without_turns(spec: RunSpec, shards: list[Any]) -> None:
    play(spec, shards, 0)
    query = SequenceQuery(4, 50)
    replay = connect(spec, shards)
    replay.turn = 0
    with pytest.raises(NothingToDraw, match="50 rows in a row of an episode"):
        replay.sequences(query)
    assert replay.sequences(replace(query, length=3)).mask.all()
    patient = connect(spec, shards, workers=0)
    patient.deadline = time.monotonic() + 0.5
    with pytest.raises(ReplayNotReady, match="50 rows in a row of an episode"):
        patient.sequences(query)


def test_what_is_on_its_way_of_one_question_survives_that_a_shard_was_lost_while_another_was_asked(
    spec: RunSpec, shards: list[Any]
) -> None:
    play(spec, shards, 0)
    replay = connect(spec, shards)
    replay.turn = 0
    first, second = SequenceQuery(8, 2), SequenceQuery(8, 3)
    for query in (first, second):
        replay.sequences(query)
    replay._forget(next(iter(replay._draws)))  # as where a call to a shard fails
    for query in (second, first):
        assert replay.sequences(query).mask.all()


def test_what_is_held_out_is_neither_waited_for_nor_counted(spec: RunSpec, shards: list[Any]) -> None:
    play(spec, shards, 0)
    replay = connect(spec, shards, workers=0)
    held = SequenceQuery(8, 4, held_out_every=2, part="held_out")
    began = time.monotonic()
    with pytest.raises(NothingToDraw, match="in what is held out"):
        replay.sequences(held)
    assert time.monotonic() - began < 10.0
    play(spec, shards, 1)
    time.sleep(1.5)  # what there was nothing of is looked for again after a second
    windows = replay.sequences(held)
    assert (windows.observation.reshape(8, 5, -1)[:, :, 1] == 1).all(), "the second episode"
    assert replay.stats()["sampled"] == 0
    learned = replay.sequences(replace(held, part="learned"))
    assert (learned.observation.reshape(8, 5, -1)[:, :, 1] != 1).all()
    assert replay.stats()["sampled"] > 0
