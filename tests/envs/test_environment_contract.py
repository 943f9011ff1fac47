"""Every environment keeps the contract, with the wrappers that it can have.

Families are found by themselves; of a setting that a family or a wrapper brings along, one of the configurations here
makes use.
"""

import sys

import pytest

from rlsys.config import EnvConfig
from rlsys.envs import offscreen
from rlsys.envs.families.atari import AtariConfig
from rlsys.envs.families.boards import BoardConfig
from rlsys.envs.families.classic import GymnasiumConfig
from rlsys.envs.families.dm_control import ControlConfig
from rlsys.envs.families.dmlab import DMLabConfig
from rlsys.envs.families.procgen import ProcGenConfig
from rlsys.envs.family import Family
from rlsys.envs.table import FAMILIES
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
    "ProcGen": ProcGenConfig(id="procgen-starpilot", num_levels=10, start_level=3, distribution_mode="easy"),
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
        id="catch",
        max_episode_steps=30,
        sticky_actions=2,
        stack_states=4,
        clip_rewards=True,
        avoid_repeat=True,
        observation_noise=0.05,
    ),
    "2048": EnvConfig(id="2048", kwargs={"size": 3}),
    "board, all": BoardConfig(
        id="openspiel/connect_four",
        kwargs={"rows": 5, "columns": 5},
        opponent="mcts",
        opponent_simulations=5,
        stack_states=2,
        max_episode_steps=12,
        clip_rewards=True,
    ),
    "board for two": BoardConfig(id="openspiel/othello"),
    "LunarLander": EnvConfig(id="LunarLander-v2"),
    "LunarLander, continuous": EnvConfig(id="LunarLanderContinuous-v2", sticky_actions=2),
    "CarRacing by pixels": GymnasiumConfig(
        id="CarRacing-v3", observation="pixels", action_repeat=2, action_set=((0, 1, 0), (-1, 0, 0), (1, 0, 0))
    ),
    "CartPole, both": GymnasiumConfig(
        id="CartPole-v1", observation="both", frame_size=(32, 32), action_repeat=3, stack_states=2, avoid_repeat=True
    ),
    "HalfCheetah by pixels": GymnasiumConfig(
        id="HalfCheetah-v5", observation="pixels", frame_size=(32, 48), drawing="coarse"
    ),
    "Pendulum, a set": EnvConfig(
        id="Pendulum-v1", action_set=((-2,), (0,), (2,)), max_episode_steps=30, avoid_repeat=True
    ),
    "Pendulum": EnvConfig(id="Pendulum-v1", max_episode_steps=30, stack_states=2),
    "Taxi": EnvConfig(id="Taxi-v3", max_episode_steps=30),
    "Taxi, moves that are any": GymnasiumConfig(id="Taxi-v3", max_episode_steps=30, action_mask=True),
    "Blackjack": EnvConfig(id="Blackjack-v1"),
    "FrozenLake, stacked": EnvConfig(id="FrozenLake-v1", stack_states=3),
    "choices": EnvConfig(id="rlsys/Choices-v0", sticky_actions=2),
    "parts": EnvConfig(id="rlsys/Parts-v0", avoid_repeat=True),
    "parts, stacked": EnvConfig(id="rlsys/Parts-v0", stack_states=3, clip_rewards=True),
    "nested parts": EnvConfig(id="rlsys/Nested-v0", stack_states=2),
    "a tuple": EnvConfig(id="rlsys/Tuple-v0"),
    "integers that begin elsewhere": EnvConfig(id="rlsys/Start-v0", stack_states=2, avoid_repeat=True),
    "RAM Breakout": AtariConfig(
        id="Breakout-ramNoFrameskip-v4", sticky_actions=4, norm_states=True, state_range=(0, 255), **ALL_WRAPPERS
    ),
    "RAM Pong": AtariConfig(
        id="Pong-ramNoFrameskip-v4",
        sticky_actions=4,
        stack_states=2,
        full_action_space=True,
        noop_max=8,
        **ALL_WRAPPERS,
    ),
    "pixel Pong": AtariConfig(id="PongNoFrameskip-v4", stack_states=4, **ALL_WRAPPERS),
    "pixel Breakout in colour": AtariConfig(
        id="BreakoutNoFrameskip-v4", grayscale=False, frame_size=(48, 64), stack_states=2, **ALL_WRAPPERS
    ),
    "pixel Breakout of v5": AtariConfig(id="ALE/Breakout-v5", frame_skip=1, kwargs={"difficulty": 1}),
    "pixel Breakout without its score": AtariConfig(
        id="BreakoutNoFrameskip-v4", crop=(17, 210, 0, 160), frame_size=(64, 64), max_episode_steps=100
    ),
    "Freeway in colour": AtariConfig(
        id="FreewayNoFrameskip-v4",
        frame_skip=3,
        grayscale=False,
        frame_size=(32, 32),
        repeat_action_probability=0.25,
        max_episode_steps=100,
    ),
    "HalfCheetah": EnvConfig(id="HalfCheetah-v5", max_episode_steps=30, kwargs={"forward_reward_weight": 2.0}),
    "tasks": AtariConfig(
        id="Pong-ramNoFrameskip-v4", tasks=("Pong-ramNoFrameskip-v4", {"id": "Breakout-ramNoFrameskip-v4"})
    ),
    "tasks that are shown": EnvConfig(
        id="tmaze-3", tasks=("tmaze-3", {"max_episode_steps": 9}), task_in_observation=True, stack_states=2
    ),
    "one of the tasks": EnvConfig(id="tmaze-3", tasks=("tmaze-3", "tmaze-4"), task=1),
    "DMLab": DMLabConfig(
        id="dmlab-rooms_watermaze", dmlab_size=(6, 8), frame_skip=2, stack_states=2, clip_rewards=True
    ),
    "dm_control, state": ControlConfig(id="dm_control/reacher-easy", action_repeat=2, kwargs={"time_limit": 0.4}),
    "dm_control, pixels": ControlConfig(
        id="dm_control/cheetah-run", observation="pixels", camera=1, frame_size=(24, 32), stack_states=2
    ),
    "dm_control, a set": ControlConfig(
        id="dm_control/cartpole-balance",
        observation="pixels",
        action_repeat=4,
        action_set=((-1,), (0,), (1,)),
        frame_size=(32, 32),
        drawing="flat",
    ),
    "dm_control, both": ControlConfig(id="dm_control/point_mass-hard", observation="both", frame_size=(16, 16)),
}

DRAWN = (
    "dm_control, pixels",
    "dm_control, both",
    "dm_control, a set",
    "CarRacing by",
    "HalfCheetah by",
    "CartPole, both",
)
"""What draws every step, which takes a while without a GPU."""
FEW_STEPS = 5

OF_MACHINES = {"dmlab_renderer", "dmlab_level_cache"}
"""Settings that change where something is computed or kept, and nothing that can be seen."""


def skip_where_nothing_draws(name: str) -> None:
    if name.startswith(("dm_control", "HalfCheetah")) and not offscreen.choose():
        pytest.skip("what MuJoCo draws with is not here: neither EGL nor OSMesa")


@pytest.fixture(autouse=True)
def fake_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepmind_lab", deepmind_lab)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_keeps_the_contract(family: Family) -> None:
    skip_where_nothing_draws(family.name)
    check_environment(EnvConfig(id=next(iter(family.ids()))), num_steps=40)


def test_every_setting_is_in_some_configuration() -> None:
    used = set().union(*({(type(config), name) for name in config.model_fields_set} for config in CONFIGS.values()))
    of_all = {(EnvConfig, name) for name in EnvConfig.model_fields}
    of_families = {
        (family.config_type, name)
        for family in FAMILIES
        for name in family.config_type.model_fields
        if name not in EnvConfig.model_fields
    }
    somewhere = {(EnvConfig, name) for _, name in used}
    unused = (of_all - somewhere) | (of_families - used)
    assert {name for _, name in unused} == OF_MACHINES


@pytest.mark.parametrize("name", CONFIGS)
def test_environment_keeps_the_contract(name: str) -> None:
    skip_where_nothing_draws(name)
    check_environment(CONFIGS[name], num_steps=FEW_STEPS if name.startswith(DRAWN) else 100)
