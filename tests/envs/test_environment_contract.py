"""Every environment keeps the contract, with the wrappers that it can have.

Families are found by themselves; of a setting that a family or a wrapper brings along, one of the configurations here
makes use.
"""

import sys

import pytest

from rlsys.config import EnvConfig
from rlsys.envs.family import Family
from rlsys.envs.make import FAMILIES
from rlsys.testing import deepmind_lab
from rlsys.testing.environment_contract import check_environment

ALL_WRAPPERS = {
    "noop_reset": True,
    "episode_life": True,
    "fire_reset": True,
    "avoid_repeat": True,
    "clip_rewards": True,
    "repeat_action_probability": 0.25,
}

CONFIGS = {
    "counting": EnvConfig(id="rlsys/Counting-v0"),
    "counting, all": EnvConfig(
        id="rlsys/Counting-v0",
        max_episode_steps=7,
        sticky_actions=2,
        stack_states=3,
        clip_rewards=True,
        avoid_repeat=True,
    ),
    "CartPole": EnvConfig(id="CartPole-v1", norm_states=True, state_range=(-5, 5)),
    "CartPole, stacked": EnvConfig(id="CartPole-v1", stack_states=4, max_episode_steps=30),
    "CartPole, repeated": EnvConfig(id="CartPole-v1", sticky_actions=2, avoid_repeat=True, max_episode_steps=30),
    "T-maze, all": EnvConfig(
        id="tmaze-3", max_episode_steps=20, sticky_actions=2, stack_states=3, clip_rewards=True, avoid_repeat=True
    ),
    "T-maze, stacked": EnvConfig(id="tmaze-2", stack_states=3, clip_rewards=True),
    "ProcGen": EnvConfig(id="procgen-starpilot", num_levels=10, start_level=3, distribution_mode="easy"),
    "ProcGen, stacked": EnvConfig(id="procgen:procgen-starpilot-v0", stack_states=2, clip_rewards=True),
    "ProcGen, all": EnvConfig(
        id="procgen-leaper-v0",
        max_episode_steps=30,
        sticky_actions=2,
        stack_states=2,
        clip_rewards=True,
        avoid_repeat=True,
    ),
    "catch, all": EnvConfig(
        id="catch", max_episode_steps=30, sticky_actions=2, stack_states=4, clip_rewards=True, avoid_repeat=True
    ),
    "LunarLander": EnvConfig(id="LunarLander-v2"),
    "LunarLander, continuous": EnvConfig(id="LunarLanderContinuous-v2", sticky_actions=2),
    "Pendulum": EnvConfig(id="Pendulum-v1", max_episode_steps=30, stack_states=2),
    "Taxi": EnvConfig(id="Taxi-v3", max_episode_steps=30),
    "Blackjack": EnvConfig(id="Blackjack-v1"),
    "FrozenLake, stacked": EnvConfig(id="FrozenLake-v1", stack_states=3),
    "choices": EnvConfig(id="rlsys/Choices-v0", sticky_actions=2),
    "parts": EnvConfig(id="rlsys/Parts-v0", avoid_repeat=True),
    "parts, stacked": EnvConfig(id="rlsys/Parts-v0", stack_states=3, clip_rewards=True),
    "nested parts": EnvConfig(id="rlsys/Nested-v0", stack_states=2),
    "a tuple": EnvConfig(id="rlsys/Tuple-v0"),
    "integers that begin elsewhere": EnvConfig(id="rlsys/Start-v0", stack_states=2, avoid_repeat=True),
    "RAM Breakout": EnvConfig(
        id="Breakout-ramNoFrameskip-v4", sticky_actions=4, norm_states=True, state_range=(0, 255), **ALL_WRAPPERS
    ),
    "RAM Pong": EnvConfig(
        id="Pong-ramNoFrameskip-v4",
        sticky_actions=4,
        stack_states=2,
        full_action_space=True,
        noop_max=8,
        **ALL_WRAPPERS,
    ),
    "pixel Pong": EnvConfig(id="PongNoFrameskip-v4", stack_states=4, **ALL_WRAPPERS),
    "pixel Breakout in colour": EnvConfig(
        id="BreakoutNoFrameskip-v4", grayscale=False, frame_size=(48, 64), stack_states=2, **ALL_WRAPPERS
    ),
    "pixel Breakout of v5": EnvConfig(id="ALE/Breakout-v5", frame_skip=1),
    "DMLab": EnvConfig(id="dmlab-rooms_watermaze", dmlab_size=(6, 8), stack_states=2, clip_rewards=True),
}

OF_MACHINES = {"dmlab_renderer", "dmlab_level_cache"}
"""Settings that change where something is computed or kept, and nothing that can be seen."""


@pytest.fixture(autouse=True)
def fake_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepmind_lab", deepmind_lab)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_keeps_the_contract(family: Family) -> None:
    check_environment(EnvConfig(id=next(iter(family.ids()))), num_steps=40)


def test_every_setting_is_in_some_configuration() -> None:
    used = set().union(*(config.model_fields_set for config in CONFIGS.values()))
    assert set(EnvConfig.model_fields) - used == OF_MACHINES


@pytest.mark.parametrize("name", CONFIGS)
def test_environment_keeps_the_contract(name: str) -> None:
    check_environment(CONFIGS[name], num_steps=100)
