"""The archive against the rows that went in, for environments that end, are cut short and are begun again."""

from typing import Any

import numpy as np
import pytest

from rlsys.api import QueueSpec, Unrolls
from rlsys.config import EnvConfig
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import ReplayError
from rlsys.replay.archive import EpisodeArchive
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.unrolls import UnrollWriter
from rlsys.types import ArraySpec, Batch

LENGTH, ENVIRONMENTS, UNROLLS = 7, 3, 4
SPECS = ArraySpec((3,), "float32"), ArraySpec((), "int64")


def collect(epochs: int, stack: int = 1, max_episode_steps: int = 11) -> list[Batch]:
    """Returns a batch per epoch of the environment whose observation is (environment, episode, step)."""
    config = EnvConfig(id="rlsys/Counting-v0", stack_states=stack, max_episode_steps=max_episode_steps)
    env = BatchedEnv(config, range(ENVIRONMENTS))
    segments = Unrolls(length=LENGTH)
    writer = UnrollWriter(segments, env.spec, 0, 0, ENVIRONMENTS)
    size = ENVIRONMENTS * UNROLLS
    queue = UnrollQueue(QueueSpec(max_size=10 * size, batch_size=size), env.spec, segments)
    batches = []
    rng = np.random.default_rng(0)
    while len(batches) < epochs:
        observation = env.observation.copy()
        result = env.step(rng.integers(env.spec.num_actions, size=ENVIRONMENTS))
        for block in writer.append_batch(
            observation=observation,
            action=result.action,
            reward=result.reward,
            terminated=result.terminated,
            truncated=result.truncated,
            extras={},
            state={},
            weights_version=0,
            next_observation=result.observation,
        ):
            queue.insert(block)
        if queue.num_items >= size:
            batches.append(queue.sample(size))
    return batches


def filled(batches: list[Batch]) -> EpisodeArchive:
    archive = EpisodeArchive(*SPECS)
    for batch in batches:
        archive.add(batch)
        archive.close_epoch()
    return archive


def check_windows(archive: EpisodeArchive, length: int, **which: Any) -> int:
    """Asserts that every window counts on within its episode; returns how many there are."""
    starts = archive.starts(length, **which)
    windows = archive.gather(starts, length)
    steps = np.arange(length, dtype=np.float32)
    for frame, reward in zip(windows.frame, windows.reward, strict=True):
        assert (frame[:, :2] == frame[0, :2]).all(), frame
        assert (frame[:, 2] == frame[0, 2] + steps).all(), frame
        assert (reward[:-1] == frame[:-1, 2] + 1).all(), "the reward is what the action at that step caused"
    return len(starts)


@pytest.mark.parametrize("stack", [1, 4])
@pytest.mark.parametrize("length", [1, 4, 9])
def test_windows_are_consecutive_rows_of_one_episode(length: int, stack: int) -> None:
    archive = filled(collect(3, stack))
    assert archive.newest_epoch == 2
    found = check_windows(archive, length) + check_windows(archive, length, held_out=True)
    assert found > 0
    by_epoch = sum(check_windows(archive, length, epoch=epoch) for epoch in range(3))
    assert by_epoch == check_windows(archive, length)
    if length == 1:
        assert found == len(archive)


def test_the_last_frame_of_a_time_limit_is_seen() -> None:
    archive = filled(collect(2, max_episode_steps=5))
    frames = archive.gather(archive.starts(1), 1).frame
    assert frames[:, 0, 2].max() == 5, "an episode of 5 steps has 6 observations"


def test_about_an_eleventh_is_held_out() -> None:
    archive = filled(collect(2))
    assert archive.starts(1, held_out=True).size == pytest.approx(len(archive) / 11, rel=0.2)


def test_an_environment_that_begins_again_begins_an_episode() -> None:
    batches = collect(2)
    archive = EpisodeArchive(*SPECS)
    archive.add(batches[0])
    second = batches[1]
    second.position = second.position - second.position.min()  # as after a restart of its worker
    archive.add(second)
    archive.close_epoch()
    last = {int(environment): index for index, environment in enumerate(batches[0].environment)}
    for index in last.values():
        seen = batches[0].observation[index, -1]
        windows = archive.gather(archive.starts(2), 2)
        follows = (windows.frame[:, 1] == seen).all(axis=1) & (windows.frame[:, 0, 2] == seen[2] - 1)
        assert not follows.any(), "the first row of a new incarnation does not follow on the last one"


def test_draws_by_episode_do_not_favour_long_ones() -> None:
    archive = filled(collect(1))
    windows = archive.draw(np.random.default_rng(0), 4_000, 2, by_episode=True, epoch=0)
    episodes = [tuple(key) for key in windows.frame[:, 0, :2].astype(int)]
    counts = np.array([episodes.count(key) for key in set(episodes)])
    assert counts.max() / counts.min() < 1.6
    lengths = archive.draw(np.random.default_rng(0), 4_000, 2, epoch=0)
    assert lengths.frame.shape == (4_000, 2, 3)


def test_it_goes_on_from_what_it_saved() -> None:
    batches = collect(3)
    archive, resumed = filled(batches[:2]), EpisodeArchive(*SPECS)
    archive.add(batches[2])
    resumed.load(archive.save())
    for each in (archive, resumed):
        each.close_epoch()
    ours, theirs = (each.draw(np.random.default_rng(1), 50, 5) for each in (archive, resumed))
    assert np.array_equal(ours.frame, theirs.frame)
    assert np.array_equal(ours.action, theirs.action)
    assert np.array_equal(ours.reward, theirs.reward)


def test_what_cannot_be_drawn_is_said() -> None:
    archive = filled(collect(1))
    with pytest.raises(ReplayError, match="no episode in what is learned from of epoch 0 has 500 rows in a row"):
        archive.draw(np.random.default_rng(0), 2, 500, epoch=0)
    with pytest.raises(ReplayError, match="an epoch ended without a row"):
        archive.close_epoch()
