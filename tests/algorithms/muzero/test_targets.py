"""Targets against their definition over whole episodes, through a real replay table."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

from rlsys.algorithms.muzero.actions import action_code
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.requirements import ROOT_VALUE, VISITS, cut, store
from rlsys.algorithms.muzero.targets import Targets, make_targets, window_length, window_rows
from rlsys.replay.table import Table
from rlsys.replay.writer import SegmentWriter
from rlsys.types import Array, ArraySpec, Batch, EnvSpec

ENV = EnvSpec("episode", ArraySpec((2,), "float32"), ArraySpec((), "int64"), num_actions=3)
CODE = action_code(MuZeroConfig(), ENV)
GAMMA = 0.9


@dataclass
class Episode:
    """An episode of T decisions; observation t is (episode, t)."""

    action: Array
    reward: Array
    visits: Array
    root_value: Array
    is_truncated: bool

    @property
    def length(self) -> int:
        return len(self.action)


def make_episodes(seed: int, count: int = 12) -> list[Episode]:
    rng = np.random.default_rng(seed)
    episodes = []
    for _ in range(count):
        length = int(rng.integers(1, 30))
        visits = rng.random((length + 1, 3)).astype(np.float32)
        episodes.append(
            Episode(
                action=rng.integers(0, 3, length),
                reward=rng.normal(size=length).astype(np.float32),
                visits=visits / visits.sum(axis=1, keepdims=True),
                root_value=rng.normal(size=length + 1).astype(np.float32),
                is_truncated=bool(rng.integers(2)),
            )
        )
    return episodes


def fill(config: MuZeroConfig, episodes: list[Episode]) -> Table:
    writer = SegmentWriter(cut(config, ENV), ENV, worker=0, incarnation=0, num_environments=1)
    replay = Table(store(config, ENV), ENV, cut(config, ENV))
    for number, episode in enumerate(episodes):
        for t in range(episode.length):
            is_last = t == episode.length - 1
            for segment in writer.append_batch(
                observation=np.array([[number, t]], np.float32),
                action=episode.action[t : t + 1],
                reward=episode.reward[t : t + 1],
                terminated=np.array([is_last and not episode.is_truncated]),
                truncated=np.array([is_last and episode.is_truncated]),
                extras={VISITS: episode.visits[t : t + 1], ROOT_VALUE: episode.root_value[t : t + 1]},
                priority=None,
                weights_version=0,
                next_observation=np.array([[number, t + 1]], np.float32),
                bootstrap_extras={VISITS: episode.visits[t + 1 : t + 2], ROOT_VALUE: episode.root_value[t + 1 : t + 2]},
            ):
                replay.insert(segment)
    return replay


def naive_value(episode: Episode, i: int, n: int, players: int = 1) -> float:
    """The definition for one player, or for whoever of two decides in row i: what the other gets counts against it."""

    def weight(j: int) -> float:
        return GAMMA**j * (-1.0 if players == 2 and j % 2 else 1.0)

    end = episode.length
    if i >= end:
        return float(episode.root_value[end]) if episode.is_truncated and i == end else 0.0
    value = sum(weight(j) * float(episode.reward[i + j]) for j in range(n) if i + j < end)
    if i + n < end:
        return value + weight(n) * float(episode.root_value[i + n])
    return value + (weight(end - i) * float(episode.root_value[end]) if episode.is_truncated else 0.0)


def sample(
    num_unroll_steps: int, td_steps: int, seed: int, players: Literal[1, 2] = 1, **lengths: Array
) -> tuple[list[Episode], Batch, Targets]:
    config = MuZeroConfig(
        discount=GAMMA,
        players=players,
        num_unroll_steps=num_unroll_steps,
        td_steps=td_steps,
        max_history_length=9,
        window_size=500,
        stored_before_train=1,
    )
    episodes = make_episodes(seed)
    replay = fill(config, episodes)
    assert replay.num_items == sum(episode.length for episode in episodes)
    length, rows = window_length(num_unroll_steps, td_steps), window_rows(num_unroll_steps, td_steps)
    batch = replay.sample(200, length, rows)
    rng = np.random.default_rng(seed)
    targets = make_targets(
        batch,
        CODE,
        num_unroll_steps=num_unroll_steps,
        td_steps=td_steps,
        discount=config.signed_discount,
        rng=rng,
        **lengths,
    )
    return episodes, batch, targets


@pytest.mark.parametrize(("num_unroll_steps", "td_steps"), [(5, 10), (1, 1), (3, 40), (8, 2)])
@pytest.mark.parametrize(("seed", "players"), [(0, 1), (1, 1), (0, 2)])
def test_targets_equal_the_definition(num_unroll_steps: int, td_steps: int, seed: int, players: Literal[1, 2]) -> None:
    episodes, batch, targets = sample(num_unroll_steps, td_steps, seed, players)
    for b, (number, start) in enumerate(batch.observation[:, 0].astype(int)):
        episode = episodes[number]
        for k in range(num_unroll_steps + 1):
            i = start + k
            is_known = i <= episode.length or not episode.is_truncated
            assert targets.mask[b, k] == is_known
            if not is_known:
                continue
            assert targets.value[b, k] == pytest.approx(naive_value(episode, i, td_steps, players), rel=1e-5, abs=1e-6)
            if k > 0:
                assert targets.reward[b, k - 1] == (episode.reward[i - 1] if i <= episode.length else 0.0)
            has_policy = i < episode.length or (episode.is_truncated and i == episode.length)
            assert np.array_equal(targets.policy[b, k], episode.visits[i] if has_policy else np.zeros(3, np.float32))
            if k < num_unroll_steps and i < episode.length:
                assert targets.action[b, k] == episode.action[i]


@pytest.mark.parametrize("players", [1, 2])
def test_each_window_can_have_returns_of_its_own_length(players: Literal[1, 2]) -> None:
    length_B = np.random.default_rng(0).integers(0, 7, 200)
    episodes, batch, targets = sample(5, 6, 1, players, return_length_B=length_B)
    for b, (number, start) in enumerate(batch.observation[:, 0].astype(int)):
        for k in np.flatnonzero(targets.mask[b]):
            due = naive_value(episodes[number], start + k, int(length_B[b]), players)
            assert targets.value[b, k] == pytest.approx(due, rel=1e-5, abs=1e-6)


def test_all_kinds_of_ends_occur_in_these_samples() -> None:
    episodes, batch, targets = sample(5, 10, seed=0)
    number, start = batch.observation[:, 0].astype(int).T
    left = np.array([episode.length for episode in episodes])[number] - start
    truncated = np.array([episode.is_truncated for episode in episodes])[number]
    for is_truncated in (False, True):
        assert (truncated[left <= 5] == is_truncated).any()
        assert (truncated[left > 15] == is_truncated).any()
    assert 0.0 < 1.0 - targets.mask.mean() < 0.5


def test_actions_in_absorbing_states_are_uniformly_random() -> None:
    _, batch, targets = sample(8, 2, seed=3)
    absorbing = targets.action[np.arange(8) >= batch.num_rows[:, None]]
    shares = np.bincount(absorbing, minlength=3) / len(absorbing)
    assert len(absorbing) > 300
    assert np.abs(shares - 1 / 3).max() < 0.1


def test_the_batch_is_left_alone() -> None:
    config = MuZeroConfig(window_size=500, stored_before_train=1)
    replay = fill(config, make_episodes(0))
    batch = replay.sample(50, window_length(5, 10), window_rows(5, 10))
    before = {"reward": batch.reward.copy(), "action": batch.action.copy(), ROOT_VALUE: batch.extras[ROOT_VALUE].copy()}
    make_targets(batch, CODE, num_unroll_steps=5, td_steps=10, discount=GAMMA, rng=np.random.default_rng(0))
    assert np.array_equal(batch.reward, before["reward"])
    assert np.array_equal(batch.action, before["action"])
    assert np.array_equal(batch.extras[ROOT_VALUE], before[ROOT_VALUE])
