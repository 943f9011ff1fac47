"""The DeepMind Control Suite as our environments, beside the suite itself."""

import importlib
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from rlsys.config import read_env
from rlsys.envs import offscreen
from rlsys.envs.families.dm_control import TASKS, ControlConfig, task_of
from rlsys.envs.make import env_spec, make
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import RlsysError

CAN_DRAW = offscreen.choose()
suite = importlib.import_module("dm_control.suite")  # which reads what was chosen
CHEETAH = ControlConfig(id="dm_control/cheetah-run")


def flat(parts: Any) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in parts.values()]).astype(np.float32)


def test_the_table_has_the_tasks_of_the_suite() -> None:
    ours = {(domain, task) for domain, tasks in TASKS.items() for task in tasks}
    assert ours == set(suite.ALL_TASKS)
    assert task_of("dm_control/ball_in_cup-catch") == ("ball_in_cup", "catch")
    assert task_of("cheetah-run") is task_of("dm_control/cheetah") is task_of("dm_control/cheetah-walk") is None


@pytest.mark.parametrize("repeat", [1, 4])
def test_a_decision_is_so_many_steps_of_the_suite_and_sums_their_rewards(repeat: int) -> None:
    env = make(CHEETAH.model_copy(update={"action_repeat": repeat}), 7)
    theirs = suite.load("cheetah", "run", task_kwargs={"random": 7})
    observation, _ = env.reset()
    assert np.array_equal(observation, flat(theirs.reset().observation))
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1, 1, 6).astype(np.float32)
        steps = [theirs.step(action) for _ in range(repeat)]
        observation, reward, terminated, truncated, _ = env.step(action)
        assert np.array_equal(observation, flat(steps[-1].observation))
        assert float(reward) == pytest.approx(sum(step.reward for step in steps))
        assert not terminated and not truncated
    assert env_spec(CHEETAH.model_copy(update={"action_repeat": repeat})).frames_per_step == repeat


def test_a_time_limit_truncates_and_a_discount_of_zero_terminates() -> None:
    env = make(ControlConfig(id="dm_control/cheetah-run", action_repeat=7, kwargs={"time_limit": 0.2}), 0)
    env.reset()
    ends = [env.step(np.zeros(6, np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (False, True)]  # 20 steps of 0.01 s
    env = make(ControlConfig(id="dm_control/lqr-lqr_2_1"), 0)
    env.reset()
    physics = env.unwrapped._physics  # type: ignore[attr-defined]
    physics.data.qpos[:] = physics.data.qvel[:] = 0.0
    physics.forward()
    assert env.step(np.zeros(1, np.float32))[2:4] == (True, False)


def test_raw_steps_are_limited_too() -> None:
    env = make(CHEETAH.model_copy(update={"action_repeat": 4, "max_episode_steps": 12}), 0)
    env.reset()
    assert [env.step(np.zeros(6, np.float32))[3] for _ in range(3)] == [False, False, True]


@pytest.mark.skipif(not CAN_DRAW, reason="MuJoCo has nothing to draw with: neither EGL nor OSMesa")
def test_pictures_are_planes_of_a_camera() -> None:
    pixels = CHEETAH.model_copy(update={"observation": "pixels", "frame_size": (48, 64)})
    env = make(pixels, 3)
    observation, _ = env.reset()
    assert (observation.shape, observation.dtype) == ((3, 48, 64), np.uint8)
    theirs = suite.load("cheetah", "run", task_kwargs={"random": 3})
    theirs.reset()
    assert np.array_equal(observation.transpose(1, 2, 0), theirs.physics.render(48, 64, camera_id=0))
    other, _ = make(pixels.model_copy(update={"camera": 1}), 3).reset()
    assert not np.array_equal(observation, other)


@pytest.mark.skipif(not CAN_DRAW, reason="MuJoCo has nothing to draw with: neither EGL nor OSMesa")
def test_a_cheaper_drawing_leaves_out_shadows_and_then_smooth_edges() -> None:
    theirs = suite.load("cartpole", "swingup", task_kwargs={"random": 3})
    theirs.reset()
    flat = {"shadow": False, "reflection": False}
    expected = [theirs.physics.render(32, 32, camera_id=0, render_flag_overrides=flags) for flags in ({}, dict(flat))]
    seen = []
    for drawing in ("full", "flat", "coarse"):
        env = make(
            ControlConfig(id="dm_control/cartpole-swingup", observation="pixels", frame_size=(32, 32), drawing=drawing),
            3,
            render_mode="rgb_array",
        )
        seen.append(env.reset()[0].transpose(1, 2, 0))
        assert env.render().shape == (240, 320, 3)
    for ours, same in zip(seen, expected, strict=False):
        assert np.array_equal(ours, same)
    colours = [len(np.unique(picture.reshape(-1, 3), axis=0)) for picture in seen]
    assert colours[2] < colours[1], "pixels at edges are no mixtures"


@pytest.mark.parametrize("name", ["reacher-easy", "finger-turn_hard", "walker-walk", "point_mass-hard", "fish-swim"])
def test_a_snapshot_holds_what_an_episode_has_changed_of_the_model(name: str) -> None:
    config = ControlConfig(id=f"dm_control/{name}", kwargs={"time_limit": 0.5})
    env, copy = BatchedEnv(config, (1, 2)), BatchedEnv(config, (3, 4))
    actions = np.random.default_rng(0).uniform(-1, 1, (90, 2, *env.spec.action.shape)).astype(np.float32)
    for action in actions[:30]:
        env.step(action)
    assert copy.load(env.save()).all()
    for action in actions[30:]:
        ours, theirs = env.step(action), copy.step(action)
        assert np.array_equal(ours.observation, theirs.observation)
        assert np.array_equal(ours.reward, theirs.reward)
        assert np.array_equal(env.observation, copy.observation)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"id": "dm_control/cheetah-rum"}, "Did you mean 'dm_control/cheetah-run'"),
        ({"action_repeat": 2, "sticky_actions": 2}, "repeated twice: env.action_repeat = 2 and env.sticky_actions = 2"),
        ({"camera": 2}, "env.camera = 2 with 'dm_control/cheetah-run', which has 2. Give one from 0 to 1."),
        ({"kwargs": {"time_limits": 3}}, "its constructor takes time_limit. Did you mean 'time_limit'?"),
        ({"kwargs": {"time_limit": "long"}}, "env.kwargs = {'time_limit': 'long'} with 'dm_control/cheetah-run'"),
        ({"kwargs": {"random": 3}}, "env.kwargs has 'random', which cannot be given"),
        ({"fire_reset": True}, "only Atari games have it"),
    ],
)
def test_what_cannot_be_is_an_error_of_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(RlsysError) as caught:
        make(read_env({"id": "dm_control/cheetah-run", **settings}), 0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


WITHOUT_OPENGL = """
import ctypes.util
ctypes.util.find_library = lambda name: None
from rlsys.envs.families.dm_control import ControlConfig
from rlsys.envs.make import make
from rlsys.errors import EnvError

env = make(ControlConfig(id="dm_control/cartpole-swingup"), 0)
env.reset()
assert env.step(env.action_space.sample())[0].shape == (5,)
for config, mode in (
    (ControlConfig(id="dm_control/cartpole-swingup", observation="pixels"), None),
    (ControlConfig(id="dm_control/cartpole-swingup"), "rgb_array"),
):
    try:
        make(config, 0, render_mode=mode)
    except EnvError as error:
        print(error)
"""


def test_without_opengl_there_are_numbers_and_no_pictures() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in (offscreen.VARIABLE, "DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENGL], capture_output=True, text=True, check=True, env=environment
    )
    pixels, drawn = done.stdout.splitlines()
    assert pixels.startswith("env.observation = 'pixels' with 'dm_control/cartpole-swingup'; pictures need OpenGL")
    assert pixels.endswith("Install libegl1 or libosmesa6, or set env.observation=state.")
    assert drawn.startswith("'dm_control/cartpole-swingup' cannot be drawn")


def test_where_nothing_can_be_drawn_with_what_was_chosen_it_is_named() -> None:
    program = """
from rlsys.envs.families.dm_control import ControlConfig
from rlsys.envs.make import make
from rlsys.errors import EnvError

try:
    make(ControlConfig(id="dm_control/cartpole-swingup"), 0)
except EnvError as error:
    print(error)
"""
    environment = {**os.environ, offscreen.VARIABLE: "crayons"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith(
        "'dm_control/cartpole-swingup' cannot be made: dm_control does not start with MUJOCO_GL"
    )
    assert done.stdout.endswith("Set it to egl, osmesa, or disable to draw nothing.\n")


@pytest.mark.parametrize(
    ("libraries", "chosen"), [({"EGL", "OSMesa"}, "egl"), ({"OSMesa"}, "osmesa"), (set(), "disable")]
)
def test_egl_is_chosen_before_osmesa_and_nothing_where_something_is_set(
    monkeypatch: pytest.MonkeyPatch, libraries: set[str], chosen: str
) -> None:
    monkeypatch.setattr("ctypes.util.find_library", lambda name: name if name in libraries else None)
    monkeypatch.setenv(offscreen.VARIABLE, "")
    assert offscreen.choose() is (chosen != "disable")
    assert os.environ[offscreen.VARIABLE] == chosen
    monkeypatch.setenv(offscreen.VARIABLE, "glfw")
    assert offscreen.choose() and os.environ[offscreen.VARIABLE] == "glfw"
