"""A restored environment, made with another seed, goes on as the original does."""

import json
from typing import Any

import numpy as np
import pytest

from rlsys.config import EnvConfig
from rlsys.envs.families.atari import AtariConfig
from rlsys.envs.make import make
from rlsys.envs.snapshot import can_snapshot, get_state, set_state
from rlsys.envs.step import action_of
from rlsys.envs.wrappers import Environment
from rlsys.errors import EnvError

ALL = {
    "noop_reset": True,
    "episode_life": True,
    "fire_reset": True,
    "avoid_repeat": True,
    "clip_rewards": True,
    "repeat_action_probability": 0.25,
}

CONFIGS = {
    "RAM Breakout": AtariConfig(id="Breakout-ramNoFrameskip-v4", sticky_actions=4, stack_states=2, **ALL),
    "pixel Breakout": AtariConfig(id="BreakoutNoFrameskip-v4", stack_states=4, **ALL),
    "pixel Breakout, truncated": AtariConfig(id="BreakoutNoFrameskip-v4", max_episode_steps=203, **ALL),
    "pixel Seaquest in colour": AtariConfig(
        id="SeaquestNoFrameskip-v4", grayscale=False, frame_skip=2, max_episode_steps=500, **ALL
    ),
    "RAM Breakout, random skip": AtariConfig(id="Breakout-ram-v0", episode_life=True, repeat_action_probability=0.25),
    "CartPole": EnvConfig(id="CartPole-v1", stack_states=3, sticky_actions=2, max_episode_steps=40, avoid_repeat=True),
    "counting": EnvConfig(id="rlsys/Counting-v0", stack_states=2),
    "Pendulum": EnvConfig(id="Pendulum-v1", max_episode_steps=100),
    "HalfCheetah": EnvConfig(id="HalfCheetah-v5", max_episode_steps=100),
    "Taxi": EnvConfig(id="Taxi-v3", stack_states=2),
    "Blackjack": EnvConfig(id="Blackjack-v1"),
    "parts": EnvConfig(id="rlsys/Parts-v0", stack_states=3),
    "choices": EnvConfig(id="rlsys/Choices-v0"),
}


def play(env: Environment, actions: np.ndarray) -> list[Any]:
    """Plays and returns all that can be seen."""
    seen: list[Any] = []
    for index in range(len(actions)):
        observation, reward, terminated, truncated, _ = env.step(action_of(actions, index))
        seen.append((observation.tobytes(), float(reward), terminated, truncated, env.record.raw_reward))
        if terminated or truncated:
            observation, _ = env.reset()
            seen.append((observation.tobytes(), env.record.running_game[1]))
    return seen


def through_json(value: Any) -> Any:
    """Returns the state after a trip through JSON, arrays apart, as a checkpoint makes it."""
    if isinstance(value, dict):
        return {name: through_json(item) for name, item in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else json.loads(json.dumps(value))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_copy_with_another_seed_goes_on_identically_over_several_games(name: str) -> None:
    env, copy = make(CONFIGS[name], 1), make(CONFIGS[name], 999)
    env.reset()
    copy.reset()
    env.action_space.seed(2)
    actions = np.array([env.action_space.sample() for _ in range(700)])
    play(env, actions[:50])
    play(copy, actions[:9])
    set_state(copy, through_json(get_state(env)))
    seen = play(env, actions)
    assert seen == play(copy, actions)
    assert sum(len(row) == 2 and row[1] <= 2 for row in seen) >= 2, "at least two new games"


@pytest.mark.parametrize("name", ["RAM Breakout", "RAM Breakout, random skip"])
def test_a_copy_repeats_the_action_that_the_original_would_repeat(name: str) -> None:
    env, copy = make(CONFIGS[name], 1), make(CONFIGS[name], 999)
    env.reset()
    copy.reset()
    rng = np.random.default_rng(3)
    for _ in range(40):
        play(env, rng.integers(0, 4, 5))
        play(copy, rng.integers(0, 4, 5))
        set_state(copy, get_state(env))
        actions = rng.integers(0, 4, 2)
        assert play(env, actions) == play(copy, actions)


def test_restoring_twice_plays_twice_the_same() -> None:
    env = make(CONFIGS["RAM Breakout"], 1)
    env.reset()
    state = get_state(env)
    actions = np.random.default_rng(2).integers(0, 4, 200)
    first = play(env, actions)
    set_state(env, state)
    assert play(env, actions) == first


def test_a_state_is_not_touched_by_playing_on() -> None:
    env = make(CONFIGS["pixel Breakout"], 1)
    env.reset()
    play(env, np.ones(10, np.int64))
    state = get_state(env)
    before = json.dumps(state, default=lambda array: array.tobytes().hex(), sort_keys=True)
    play(env, np.arange(60) % 4)
    set_state(make(CONFIGS["pixel Breakout"], 2), state)
    assert json.dumps(state, default=lambda array: array.tobytes().hex(), sort_keys=True) == before


def test_lunar_lander_cannot_be_saved_and_says_so() -> None:
    env = make(EnvConfig(id="LunarLander-v2"), 0)
    env.reset()
    assert not can_snapshot(env)
    with pytest.raises(EnvError, match=r"LunarLander.*cannot be saved"):
        get_state(env)


def test_a_game_that_is_over_must_be_reset_before_it_is_saved() -> None:
    env = make(EnvConfig(id="Breakout-ramNoFrameskip-v4", max_episode_steps=3), 0)
    env.reset()
    for _ in range(3):
        env.step(0)
    with pytest.raises(EnvError, match="'breakout' is over"):
        get_state(env)


def test_a_snapshot_of_another_game_or_configuration_is_refused() -> None:
    breakout = make(EnvConfig(id="Breakout-ramNoFrameskip-v4"), 0)
    breakout.reset()
    state = get_state(breakout)
    with pytest.raises(EnvError, match="of 'breakout'; this is 'pong'"):
        set_state(make(EnvConfig(id="Pong-ramNoFrameskip-v4"), 0), state)
    with pytest.raises(EnvError, match="ActionRepeat in GameRecord"):
        set_state(make(EnvConfig(id="Breakout-ramNoFrameskip-v4", sticky_actions=4), 0), state)
