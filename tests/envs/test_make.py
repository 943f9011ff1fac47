"""Ids, specs and refusals of `rlsys.envs.make`."""

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Sequence, Text, Tuple

from rlsys.config import EnvConfig, read_env
from rlsys.envs.families.atari import AtariConfig
from rlsys.envs.make import env_spec, make
from rlsys.envs.vector import BatchedEnv
from rlsys.envs.wrappers import most_steps
from rlsys.errors import ConfigError, EnvError
from rlsys.types import ArraySpec


def test_importing_the_package_imports_no_simulator_and_making_one_no_torch() -> None:
    program = (
        "import sys, rlsys.envs; assert not {'gymnasium', 'ale_py', 'torch'} & sys.modules.keys()\n"
        "import rlsys.envs.vector; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_old_lunar_lander_is_the_new_one() -> None:
    old, new = (make(EnvConfig(id=name), 7) for name in ("LunarLander-v2", "LunarLander-v3"))
    assert np.array_equal(old.reset()[0], new.reset()[0])
    for action in (0, 1, 2, 3) * 5:
        assert np.array_equal(old.step(action)[0], new.step(action)[0])


def test_a_seed_decides_the_first_episode() -> None:
    first, same, other = (make(EnvConfig(), seed).reset()[0] for seed in (3, 3, 4))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Breakout-ramNoFrameskp-v4", "'Breakout-ramNoFrameskip-v4'"),
        ("CartPol-v1", "'CartPole-v1'"),
        ("CartPole", "'CartPole-v1'"),
        ("ALE/Breakuot-v5", "'ALE/Breakout-v5'"),
        ("LunarLander-v1", "'LunarLander-v2'"),
        ("qqqq", "pprint_registry"),
    ],
)
def test_an_unknown_id_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(EnvError, match=f"no environment '{name}'") as caught:
        make(EnvConfig(id=name), 0)
    assert nearest in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("procgen:procgen-coinrun-v0", "rlsys[procgen]"),
        ("dm_control/cheetah-run", "rlsys[control]"),
        ("dmlab:rooms_watermaze", "deepmind_lab"),
        ("HalfCheetah-v5", "needs mujoco, which is not installed. Install rlsys[control]"),
        ("no_such_package:Some-v0", "no_such_package"),
    ],
)
def test_a_missing_package_is_named_with_the_way_to_get_it(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("procgen", "dm_control", "deepmind_lab", "mujoco"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EnvError) as caught:
        make(EnvConfig(id=name), 0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "flag", ["noop_reset", "episode_life", "fire_reset", "full_action_space", "repeat_action_probability"]
)
def test_what_only_atari_has_is_refused_elsewhere(flag: str) -> None:
    with pytest.raises(ConfigError, match=f"env.{flag}"):
        read_env({"id": "CartPole-v1", flag: 0.25 if flag == "repeat_action_probability" else True})
    with pytest.raises(EnvError, match=r"env\.noop_reset = True with 'catch'; only Atari games have it"):
        make(AtariConfig(id="catch", noop_reset=True), 0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"id": "LunarLanderContinuous-v3", "avoid_repeat": True}, "env.avoid_repeat"),
        (
            {"id": "FrozenLake-v1", "norm_states": True, "state_range": (0, 15)},
            "env.norm_states = True with 'FrozenLake-v1', which observes integers",
        ),
        ({"id": "rlsys/Parts-v0", "norm_states": True, "state_range": (0, 1)}, "which observes 'clock', 'picture'"),
        ({"id": "CartPole-v1", "norm_states": True, "state_range": (0, 1, 0, 1)}, "env.state_range has 2 pairs"),
    ],
)
def test_what_no_policy_could_handle_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(EnvError, match=words):
        env_spec(EnvConfig(**settings))


def test_a_spec_tells_frames_stacks_and_bounds_apart() -> None:
    described = env_spec(
        EnvConfig(
            id="CartPole-v1",
            stack_states=3,
            sticky_actions=2,
            norm_states=True,
            state_range=(-1, 1, -2, 2, -3, 3, -4, 4),
        )
    )
    assert described.observation == ArraySpec((4,), "float32")
    assert described.policy_observation == ArraySpec((3, 4), "float32")
    assert described.action == ArraySpec((), "int64")
    assert (described.num_actions, described.num_stack, described.frames_per_step) == (2, 3, 2)
    assert described.observation_low == (-1, -2, -3, -4)
    assert described.observation_high == (1, 2, 3, 4)


def test_without_norm_states_there_are_no_bounds() -> None:
    assert env_spec(EnvConfig(state_range=(0, 255))).observation_low == ()


def test_continuous_actions_have_a_shape_bounds_and_no_number() -> None:
    described = env_spec(EnvConfig(id="LunarLanderContinuous-v2"))
    assert described.action == ArraySpec((2,), "float32")
    assert described.num_actions == 0
    assert (described.action_low, described.action_high) == ((-1.0, -1.0), (1.0, 1.0))
    pendulum = env_spec(EnvConfig(id="Pendulum-v1"))
    assert (pendulum.action_low, pendulum.action_high) == ((-2.0,), (2.0,))


@pytest.mark.filterwarnings("ignore:.*render_mode")
@pytest.mark.parametrize("name", ["Breakout-ramNoFrameskip-v4", "CartPole-v1"])
def test_a_render_mode_that_the_environment_lacks_is_refused(name: str) -> None:
    with pytest.raises(EnvError, match=r"cannot be made.*ansi"):
        make(EnvConfig(id=name), 0, render_mode="ansi")


ODD_SPACES = {
    "observes arrays of shape \\(\\)": (Box(0.0, 1.0, ()), Discrete(2)),
    "observes arrays of shape \\(0,\\)": (Box(0.0, 1.0, (0,)), Discrete(2)),
    "observes arrays of shape \\(2, 0\\)": (Box(0.0, 1.0, (2, 0)), Discrete(2)),
    "observes in 'a' Text": (Dict({"a": Text(3)}), Discrete(2)),
    "observes in 'a/1' arrays of shape \\(0,\\)": (Dict({"a": Tuple([Discrete(2), Box(0.0, 1.0, (0,))])}), Discrete(2)),
    "observes parts named \\[\\]": (Dict({}), Discrete(2)),
    "observes parts named \\['a/b', 'a/b'\\]": (Dict({"a": Dict({"b": Discrete(2)}), "a/b": Discrete(2)}), Discrete(2)),
    "observes Sequence": (Sequence(Discrete(2)), Discrete(2)),
    "acts with Dict": (Box(0.0, 1.0, (2,)), Dict({"a": Discrete(2)})),
    "observes Discrete\\(1000000000000\\); each of 1,000,000,000,000 values": (Discrete(10**12), Discrete(2)),
    "acts with MultiDiscrete\\(\\[1000000000 2\\]\\); each of": (Box(0.0, 1.0, (2,)), MultiDiscrete([10**9, 2])),
    "acts with Text": (Box(0.0, 1.0, (2,)), Text(3)),
    "acts with Box": (Box(0.0, 1.0, (2,)), Box(0.0, 1.0, (0,))),
}


class _Odd(gymnasium.Env):
    """Has spaces that are not supported."""

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space


@pytest.mark.parametrize("words", ODD_SPACES)
def test_spaces_that_are_not_supported_are_refused(words: str) -> None:
    seen, done = ODD_SPACES[words]
    gymnasium.register(
        "tests/Odd-v0", _Odd, kwargs={"observation_space": seen, "action_space": done}, disable_env_checker=True
    )
    with pytest.raises(EnvError, match=words):
        env_spec(EnvConfig(id="tests/Odd-v0"))
    del gymnasium.registry["tests/Odd-v0"]


def test_whatever_a_constructor_raises_is_told_in_one_line() -> None:
    def broken() -> gymnasium.Env:
        raise RuntimeError("no licence\nfound.")

    gymnasium.register("tests/Broken-v0", broken, disable_env_checker=True)
    with pytest.raises(EnvError) as caught:
        make(EnvConfig(id="tests/Broken-v0"), 0)
    del gymnasium.registry["tests/Broken-v0"]
    assert str(caught.value) == (
        "'tests/Broken-v0' cannot be made: RuntimeError: no licence found. Correct it, or choose another environment."
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"id": "CartPole-v1", "kwargs": {"sutton_bartor_reward": True}}, "Did you mean 'sutton_barto_reward'?"),
        (
            {"id": "CartPole-v1", "kwargs": {"render_mode": "human"}},
            "env.kwargs has 'render_mode', which cannot be given",
        ),
        ({"id": "LunarLander-v3", "kwargs": {"gravity": 3.0}}, "env.kwargs = {'gravity': 3.0} with 'LunarLander-v3'"),
        ({"id": "BreakoutNoFrameskip-v4", "kwargs": {"frameskip": 2}}, "its constructor takes mode, difficulty"),
        (
            {"id": "BreakoutNoFrameskip-v4", "kwargs": {"difficulty": 77}},
            "constructor says RuntimeError: Invalid difficulty",
        ),
        ({"id": "catch", "kwargs": {"rows": 3}}, "env.kwargs = {'rows': 3} with 'catch'; only Atari games and "),
    ],
)
def test_what_a_constructor_does_not_know_is_refused_in_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(EnvError) as caught:
        make(read_env(settings), 0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_constructor_is_given_its_arguments_also_where_many_could_be_stepped_at_once() -> None:
    env = make(EnvConfig(kwargs={"sutton_barto_reward": True}), 0)
    env.reset()
    assert env.step(0)[1] == 0.0
    batch = BatchedEnv(EnvConfig(kwargs={"sutton_barto_reward": True}), (0, 1))
    assert batch.step(np.zeros(2, np.int64)).reward.tolist() == [0.0, 0.0]


def test_what_others_call_max_steps_is_no_time_limit() -> None:
    env = gymnasium.make("CartPole-v1", max_episode_steps=-1)
    env.unwrapped.max_steps = "as many as there are"  # type: ignore[attr-defined]
    assert most_steps(env, 1) is None


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"id": "CartPole-v1"}, 500),
        ({"id": "CartPole-v1", "max_episode_steps": 90, "sticky_actions": 4}, 23),
        ({"id": "catch", "max_episode_steps": 7}, 7),
        ({"id": "MountainCar-v0", "sticky_actions": 3}, 67),
        ({"id": "dm_control/cartpole-swingup", "action_repeat": 8}, 125),
        ({"id": "dm_control/cartpole-swingup", "action_repeat": 30}, 34),
        ({"id": "dm_control/cartpole-swingup", "action_repeat": 8, "max_episode_steps": 100}, 12),
        ({"id": "Breakout-ramNoFrameskip-v4", "sticky_actions": 4}, 27_000),
        ({"id": "BreakoutNoFrameskip-v4", "frame_skip": 3, "max_episode_steps": 100}, 34),
        ({"tasks": [{"id": "CartPole-v1"}, {"id": "CartPole-v0"}]}, 200),
    ],
)
def test_a_time_limit_is_known_in_decisions(settings: dict[str, Any], most: int) -> None:
    spec = env_spec(read_env(settings))
    assert spec.max_steps == most
    if most < 100:
        env = make(read_env(settings), 0)
        env.reset()
        lengths = [env.step(env.action_space.sample())[2:4] for _ in range(most)]
        assert any(map(any, lengths)), "an episode ends there, if not before"
