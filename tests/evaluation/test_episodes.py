"""Whole episodes: which are played, what they come to, and how sure that is."""

import itertools
import math

import numpy as np
import pytest
from support.games import COUNTING, ZeroPolicy, checking_policy, played_alone

from rlsys.api import Decision, Policy
from rlsys.config import EnvConfig
from rlsys.envs.families.atari import AtariConfig
from rlsys.evaluation.episodes import bootstrap_interval, play_episodes
from rlsys.testing.environments import CountingEnv
from rlsys.viewer.film import FilmLimits


@pytest.mark.parametrize("max_environments", [1, 3, 32])
def test_each_seed_is_played_once_to_its_end_however_many_play_at_once(max_environments):
    statistics = play_episodes(checking_policy(), COUNTING, 9, seed=40, max_environments=max_environments)
    expected = [played_alone(COUNTING, seed) for seed in range(40, 49)]
    assert statistics.returns.tolist() == [total for total, _ in expected]
    assert statistics.lengths.tolist() == [length for _, length in expected]
    assert len(set(statistics.lengths.tolist())) > 2, "the games must differ in length for this to say something"


def test_rewards_are_raw_games_are_whole_and_repeated_actions_are_several_frames():
    config = EnvConfig(id="rlsys/Counting-v0", clip_rewards=True, sticky_actions=3)
    statistics = play_episodes(ZeroPolicy(), config, 4, seed=0)
    for index in range(4):
        frames = played_alone(COUNTING, index)[1]
        assert statistics.returns[index] == frames * (frames + 1) / 2
        assert statistics.lengths[index] == math.ceil(frames / 3)
    assert (statistics.frames == 3 * statistics.lengths).all()


class _AlwaysRight(Policy):
    """Never presses FIRE by itself."""

    def initial_state(self, batch_size):
        return {}

    def act(self, observation, state, *, explore):
        return Decision(np.full(len(observation), 2, np.int64), state)

    def set_weights(self, weights):
        raise AssertionError("no weights here")

    def weights(self):
        return {}


def test_fire_is_pressed_after_each_lost_life_so_that_games_come_to_their_end():
    config = AtariConfig(
        id="Breakout-ramNoFrameskip-v4", sticky_actions=4, episode_life=True, fire_reset=True, max_episode_steps=8_000
    )
    statistics = play_episodes(_AlwaysRight(), config, 2, seed=0)
    assert (statistics.frames < 4_000).all(), "without FIRE the game would wait until the limit"


def test_traces_hold_each_step_of_each_episode():
    statistics = play_episodes(checking_policy(), COUNTING, 5, seed=7, traces=True, max_environments=2)
    for index, trace in enumerate(statistics.traces):
        length = statistics.lengths[index]
        assert trace.reward.tolist() == list(range(1, length + 1))
        assert trace.returns[-1] == statistics.returns[index]
        assert trace.extras["seen"][:, 0].tolist() == [7 + index] * length
        assert trace.extras["value"].tolist() == list(range(length))


def test_the_first_episode_alone_is_shown_from_its_first_to_its_last_frame():
    pictures, decisions = [], []
    statistics = play_episodes(
        checking_policy(),
        COUNTING,
        4,
        seed=3,
        on_frame=lambda picture: pictures.append(picture[0, :, 0].astype(bool).sum()),
        on_decision=[lambda episodes, decision: decisions.append([(e.index, e.length) for e in episodes])],
    )
    assert pictures == list(range(statistics.lengths[0] + 1))
    assert sorted(itertools.chain.from_iterable(decisions)) == [
        (index, step) for index in range(4) for step in range(statistics.lengths[index])
    ]


@pytest.mark.parametrize(
    ("limits", "shown", "why"),
    [
        (FilmLimits(3, 100.0), 3, "video_frames = 3"),
        (FilmLimits(100, 0.0), 0, "video_seconds = 0"),
        (FilmLimits(100, 100.0, lambda: True), 0, "interrupted"),
    ],
)
def test_where_a_film_ends_the_game_is_played_on_unseen(limits, shown, why, monkeypatch):
    drawn, pictures = [], []
    render = CountingEnv.render
    monkeypatch.setattr(CountingEnv, "render", lambda env: drawn.append(None) or render(env))
    statistics = play_episodes(checking_policy(), COUNTING, 4, seed=3, on_frame=pictures.append, limits=limits)
    assert len(drawn) == len(pictures) == shown
    unseen = play_episodes(checking_policy(), COUNTING, 4, seed=3)
    assert statistics.returns.tolist() == unseen.returns.tolist()
    assert statistics.shortened == (f"the film is the first {shown} of {statistics.lengths[0] + 1} pictures, {why}",)
    assert unseen.shortened == ()
    whole = FilmLimits(int(statistics.lengths[0]) + 1, 100.0)
    assert not play_episodes(checking_policy(), COUNTING, 4, seed=3, on_frame=print, limits=whole).shortened


def test_statistics_are_those_of_the_returns():
    statistics = play_episodes(checking_policy(), COUNTING, 6, seed=0)
    values = statistics.returns
    assert statistics.mean == pytest.approx(sum(values) / 6)
    assert statistics.median == pytest.approx((sorted(values)[2] + sorted(values)[3]) / 2)
    assert statistics.std == pytest.approx(math.sqrt(sum((v - values.mean()) ** 2 for v in values) / 5))
    assert statistics.mean_length == pytest.approx(statistics.lengths.sum() / 6)
    assert statistics.interval == bootstrap_interval(values)
    assert play_episodes(checking_policy(), COUNTING, 1, seed=0).std == 0.0


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_the_bootstrap_interval_of_many_values_is_the_normal_one(confidence):
    quantile = {0.8: 1.2816, 0.95: 1.95996}[confidence]
    for seed in range(5):
        values = np.random.default_rng(seed).normal(3.0, 2.0, 400)
        half = quantile * values.std() / math.sqrt(400)
        low, high = bootstrap_interval(values, confidence=confidence)
        assert low == pytest.approx(values.mean() - half, abs=0.08 * half)
        assert high == pytest.approx(values.mean() + half, abs=0.08 * half)


def test_the_bootstrap_interval_moves_and_stretches_with_the_values_and_repeats_exactly():
    values = np.random.default_rng(1).exponential(size=7)
    low, high = bootstrap_interval(values)
    assert values.min() <= low < values.mean() < high <= values.max()
    assert bootstrap_interval(values) == (low, high)
    assert np.allclose(bootstrap_interval(10 - 2 * values), (10 - 2 * high, 10 - 2 * low), atol=0.03)
    assert np.allclose(bootstrap_interval(5 + 3 * values), (5 + 3 * low, 5 + 3 * high))
    assert bootstrap_interval(np.array([4.0])) == (4.0, 4.0)


def test_resampling_in_pieces_is_as_good_as_at_once():
    values = np.random.default_rng(2).normal(size=3_000)
    half = 1.96 * values.std() / math.sqrt(3_000)
    low, high = bootstrap_interval(values, resamples=1_000)
    assert (low, high) == (
        pytest.approx(values.mean() - half, abs=0.2 * half),
        pytest.approx(values.mean() + half, abs=0.2 * half),
    )
