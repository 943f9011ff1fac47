"""ProcGen through the real package: against bare gym3, one by one, saved, at its time limits and with wrong levels."""

import itertools
import struct
import sys
from typing import Any

import numpy as np
import pytest
from procgen import ProcgenGym3Env
from procgen.env import ENV_NAMES, EXPLORATION_LEVEL_SEEDS
from procgen.env import ProcgenGym3Env as Package

from rlsys.config import EnvConfig, read_env
from rlsys.envs.families.procgen import ACTIONS, GAMES, MODE_GAMES, ProcGenConfig, time_limit
from rlsys.envs.loop import Loop
from rlsys.envs.make import env_spec, make
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import EnvError, RlsysError
from rlsys.types import ArraySpec

NOOP = ACTIONS.index("NOOP")
CONFIG = ProcGenConfig(id="procgen-chaser", num_levels=20, start_level=5, distribution_mode="easy")


def random_actions(size: int, num_steps: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 15, (num_steps, size))


def levels_of(config: EnvConfig, num_episodes: int) -> list[int]:
    """Returns the level seeds of the first episodes of two environments, as the package tells them."""
    batch = BatchedEnv(config, (1, 2))
    games = batch._batch._simulator._games  # type: ignore[attr-defined]
    levels = [info["level_seed"] for info in games.get_info()]
    while len(levels) < num_episodes:
        result = batch.step(np.full(2, NOOP))
        levels += [games.get_info()[row]["level_seed"] for row in np.flatnonzero(result.first)]
    return levels


@pytest.mark.parametrize("game", GAMES)
def test_every_game_has_the_same_spec_under_all_its_ids(game: str) -> None:
    described = [env_spec(EnvConfig(id=name)) for name in (f"procgen-{game}", f"procgen:procgen-{game}-v0")]
    assert described[0].observation == described[1].observation == ArraySpec((3, 64, 64), "uint8")
    assert described[0].num_actions == 15
    assert described[0].frames_per_step == 1


def test_games_and_modes_are_those_of_the_package() -> None:
    assert list(GAMES) == ENV_NAMES
    assert set(MODE_GAMES["exploration"]) == set(EXPLORATION_LEVEL_SEEDS)
    named = [" ".join(keys) if keys else "NOOP" for keys in Package.get_combos(None)]
    assert list(ACTIONS) == named


def test_one_environment_is_bare_gym3_with_planes_first() -> None:
    seed = 11
    bare = ProcgenGym3Env(
        1, "chaser", rand_seed=seed, num_threads=0, num_levels=20, start_level=5, distribution_mode="easy"
    )
    batch = BatchedEnv(CONFIG, (seed,))
    ends = 0
    for action in random_actions(1, 500):
        assert np.array_equal(batch.observation, bare.observe()[1]["rgb"].transpose(0, 3, 1, 2))
        before = batch.observation.copy()
        bare.act(action)
        reward, _, first = bare.observe()
        result = batch.step(action)
        assert np.array_equal(result.reward, reward)
        assert np.array_equal(result.first, first)
        assert np.array_equal(result.observation, before if first[0] else batch.observation)
        ends += int(first[0])
    assert ends >= 2


@pytest.mark.parametrize("settings", [{}, {"stack_states": 2, "clip_rewards": True}])
def test_many_at_once_are_the_same_games_one_by_one(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    config, seeds = CONFIG.model_copy(update={"id": "procgen-starpilot", **settings}), (3, 1, 4)
    at_once = BatchedEnv(config, seeds)
    with monkeypatch.context() as patched:
        patched.setattr("rlsys.envs.vector.make_simulator", lambda *_, **__: None)
        one_by_one = BatchedEnv(config, seeds)
    assert isinstance(one_by_one._batch, Loop)
    games = 0
    for step, action in enumerate(random_actions(3, 400)):
        if step == 200:
            at_once.reset_all()
            one_by_one.reset_all()
        assert np.array_equal(at_once.observation, one_by_one.observation)
        left, right = at_once.step(action), one_by_one.step(action)
        for name in ("observation", "reward", "raw_reward", "terminated", "truncated"):
            assert np.array_equal(getattr(left, name), getattr(right, name)), name
        assert left.games == right.games
        games += len(left.games)
    assert games > 5


def test_a_copy_with_other_seeds_goes_on_identically() -> None:
    batch, copy = BatchedEnv(CONFIG, (1, 2)), BatchedEnv(CONFIG, (8, 9))
    for action in random_actions(2, 40):
        batch.step(action)
    assert copy.load(batch.save()).all()
    games = 0
    for action in random_actions(2, 400, seed=1):
        left, right = batch.step(action), copy.step(action)
        assert np.array_equal(left.observation, right.observation)
        assert left.games == right.games
        assert np.array_equal(batch.observation, copy.observation)
        games += len(left.games)
    assert games >= 2


def test_levels_are_those_that_were_asked_for() -> None:
    assert set(levels_of(ProcGenConfig(id="procgen-leaper", num_levels=3, start_level=40), 12)) == {40, 41, 42}
    assert len(set(levels_of(ProcGenConfig(id="procgen-leaper"), 6))) == 6


def test_seeds_choose_the_order_of_levels() -> None:
    config = ProcGenConfig(id="procgen-maze", num_levels=1000)
    first = [make(config, seed).reset()[0] for seed in (1, 1, 2)]
    assert np.array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])


def test_an_episode_that_runs_out_of_time_is_truncated_and_keeps_what_was_seen_before_its_last_step() -> None:
    batch = BatchedEnv(ProcGenConfig(id="procgen-maze", distribution_mode="easy", num_levels=5), (0, 1))
    for _ in range(499):
        result = batch.step(np.full(2, NOOP))
        assert not result.first.any()
    before = batch.observation.copy()
    result = batch.step(np.full(2, NOOP))
    assert result.truncated.all()
    assert not result.terminated.any()
    assert np.array_equal(result.observation, before)
    assert [game.length_env_steps for game in result.games] == [500, 500]


def test_an_episode_that_ends_before_its_time_is_terminated() -> None:
    batch = BatchedEnv(ProcGenConfig(id="procgen-starpilot"), range(8))
    ends = 0
    for action in random_actions(8, 300):
        result = batch.step(action)
        assert not result.truncated.any()
        ends += int(result.terminated.sum())
    assert ends > 5


def saved_time_limit(state: bytes) -> int:
    """Reads the limit out of a game's saved state: a version, a name, 17 options, two generators, ten values."""
    position = 4

    def skip_text() -> None:
        nonlocal position
        position += 4 + struct.unpack_from("<i", state, position)[0]

    skip_text()
    position += 4 * 17
    for _ in range(2):
        position += 4
        skip_text()
    return struct.unpack_from("<i", state, position + 4 * 4)[0]


@pytest.mark.parametrize("mode", ["easy", "hard", "extreme", "memory"])
def test_time_limits_are_those_that_the_games_save(mode: str) -> None:
    for game in MODE_GAMES[mode]:
        bare = ProcgenGym3Env(1, game, rand_seed=0, num_threads=0, distribution_mode=mode)
        assert saved_time_limit(bare.get_state()[0]) == time_limit(game, mode), game
        bare.close()


def test_max_episode_steps_cuts_episodes_one_by_one() -> None:
    batch = BatchedEnv(CONFIG.model_copy(update={"max_episode_steps": 7}), (1, 2))
    cuts = [batch.step(np.full(2, NOOP)).truncated.all() for _ in range(21)]
    assert cuts == list(itertools.islice(itertools.cycle([False] * 6 + [True]), 21))


@pytest.mark.parametrize("mode", ["extreme", "memory", "exploration"])
def test_a_mode_that_the_game_has_plays(mode: str) -> None:
    game = MODE_GAMES[mode][0]
    batch = BatchedEnv(ProcGenConfig(id=f"procgen-{game}", distribution_mode=mode), (0, 1))
    batch.step(np.full(2, NOOP))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_levels": 2, "start_level": 2**31 - 2}, "numbered from 0 to 2147483646"),
        ({"start_level": 500}, "env.start_level = 500 with env.num_levels = 0"),
        ({"distribution_mode": "memory"}, "only caveflyer, dodgeball, heist, jumper, maze, miner have that mode"),
        ({"distribution_mode": "exploration"}, "env.distribution_mode = 'exploration' with 'procgen-chaser'"),
        ({"id": "procgen-maze", "distribution_mode": "exploration", "num_levels": 3}, "one fixed level"),
        ({"id": "procgen-maze", "distribution_mode": "extreme"}, "env.distribution_mode = 'extreme'"),
        ({"episode_life": True}, "env.episode_life = True with 'procgen-chaser'; only Atari games"),
        ({"id": "CartPole-v1", "num_levels": 3}, "env.num_levels = 3 with 'CartPole-v1'; only ProcGen games"),
        ({"id": "procgen-coinrum"}, "Did you mean 'procgen-coinrun'"),
    ],
)
def test_what_cannot_be_is_an_error_of_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(RlsysError) as caught:
        BatchedEnv(read_env({"id": "procgen-chaser", **settings}), (0, 1))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "procgen", None)
    with pytest.raises(EnvError, match=r"needs procgen, which is not installed. Install rlsys\[procgen\]"):
        make(ProcGenConfig(id="procgen-chaser"), 0)


def test_a_game_made_for_drawing_draws_large() -> None:
    env = make(CONFIG, 0, render_mode="rgb_array")
    env.reset()
    assert env.render().shape == (512, 512, 3)
