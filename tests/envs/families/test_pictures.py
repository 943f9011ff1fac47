"""gymnasium's environments by what they draw, beside the same environments drawn by gymnasium."""

import os
import subprocess
import sys
from typing import Any

import cv2
import gymnasium
import numpy as np
import pytest

from rlsys.config import read_env
from rlsys.envs import offscreen
from rlsys.envs.families.classic import GymnasiumConfig
from rlsys.envs.families.pictures import Pictures
from rlsys.envs.make import env_spec, make
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import EnvError, RlsysError
from rlsys.testing.environments import CountingEnv

CAN_DRAW = offscreen.choose()
by_mujoco = pytest.mark.skipif(not CAN_DRAW, reason="MuJoCo has nothing to draw with: neither EGL nor OSMesa")
CAR = GymnasiumConfig(id="CarRacing-v3", observation="pixels", action_repeat=2)
"""PlaNet's gym_racecar."""
CHEETAH = GymnasiumConfig(id="HalfCheetah-v5", observation="pixels")


def planes(picture: np.ndarray, size: int) -> np.ndarray:
    return np.moveaxis(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), 2, 0)


@pytest.mark.parametrize("size", [64, 32])
def test_a_car_is_seen_as_it_is_drawn_after_the_last_of_the_repeats(size: int) -> None:
    env = make(CAR.model_copy(update={"frame_size": (size, size)}), 3)
    theirs: Any = gymnasium.make("CarRacing-v3", render_mode="rgb_array", disable_env_checker=True)
    theirs.reset(seed=3), theirs.reset()
    observation, _ = env.reset()
    assert np.array_equal(observation, planes(theirs.render(), size))
    for _ in range(3):
        action = np.array([0.2, 1.0, 0.0], np.float32)
        rewards = [theirs.step(action)[1] for _ in range(2)]
        observation, reward, *_ = env.step(action)
        assert (observation.shape, observation.dtype) == ((3, size, size), np.uint8)
        assert np.array_equal(observation, planes(theirs.render(), size))
        assert float(reward) == pytest.approx(sum(rewards))
    assert env.render().shape == (400, 600, 3)
    assert env_spec(CAR).frames_per_step == 2


def test_what_is_observed_can_be_seen_beside_the_picture() -> None:
    spec = env_spec(GymnasiumConfig(id="CartPole-v1", observation="both", frame_size=(16, 24)))
    assert [(part.name, part.spec.shape) for part in spec.parts] == [("state", (4,)), ("pixels", (3, 16, 24))]
    env = make(GymnasiumConfig(id="CartPole-v1", observation="both"), 1)
    state, _ = make(GymnasiumConfig(id="CartPole-v1"), 1).reset()
    assert np.array_equal(env.reset()[0]["state"], state)
    assert [part.name for part in env_spec(GymnasiumConfig(id="rlsys/Parts-v0", observation="both")).parts][
        -1
    ] == "pixels"


def test_what_steps_at_once_draws_nothing() -> None:
    for settings in ({"observation": "pixels"}, {"action_repeat": 2}):
        batch = BatchedEnv(read_env({"id": "CartPole-v1", **settings}), (0, 1))
        assert type(batch._batch).__name__ == "Loop"


@by_mujoco
def test_mujoco_draws_at_the_size_that_is_seen_and_films_at_its_own() -> None:
    env = make(CHEETAH, 3, render_mode="rgb_array")
    small = gymnasium.make("HalfCheetah-v5", render_mode="rgb_array", width=64, height=64)
    large = gymnasium.make("HalfCheetah-v5", render_mode="rgb_array")
    observation, _ = env.reset()
    for theirs in (small, large):
        theirs.reset(seed=3), theirs.reset()
    assert np.array_equal(observation, np.moveaxis(np.asarray(small.render()), 2, 0))
    assert env.render().shape == (480, 480, 3)
    action = np.full(6, 0.5, np.float32)
    for _ in range(2):
        observation, *_ = env.step(action)
        small.step(action)
        small.unwrapped.mujoco_renderer.viewer.make_context_current()  # type: ignore[attr-defined]
        assert np.array_equal(observation, np.moveaxis(np.asarray(small.render()), 2, 0))
    env.close()


@by_mujoco
def test_environments_of_different_models_draw_their_own() -> None:
    names = ("HalfCheetah-v5", "Hopper-v5")
    configs = [GymnasiumConfig(id=name, observation="pixels", drawing="coarse", frame_size=(32, 32)) for name in names]
    together = [make(config, 0) for config in configs]
    seen = [env.reset()[0] for env in together]
    again = [env.step(np.zeros(env.action_space.shape, np.float32))[0] for env in together]
    for config, first, second in zip(configs, seen, again, strict=True):
        alone = make(config, 0)
        assert np.array_equal(alone.reset()[0], first)
        assert np.array_equal(alone.step(np.zeros(alone.action_space.shape, np.float32))[0], second)


class Colourless(CountingEnv):
    def render(self) -> np.ndarray:  # type: ignore[override]
        return np.zeros((8, 8))


def test_what_draws_no_pictures_is_refused() -> None:
    env = Colourless()
    env.reset(seed=0)
    with pytest.raises(
        EnvError, match=r"draws none: `render` returns float64 of shape \(8, 8\), not uint8 \[H, W, 3\]"
    ):
        Pictures(env, (8, 8), alone=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"action_repeat": 2, "sticky_actions": 2}, "repeated twice: env.action_repeat = 2"),
        (
            {"observation": "pixels", "drawing": "flat"},
            "'flat' with 'CartPole-v1', which MuJoCo does not draw",
        ),
        ({"camera": 1}, "env.camera = 1 with 'CartPole-v1'; only dm_control tasks have it"),
    ],
)
def test_what_cannot_be_seen_is_refused_in_one_line(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(RlsysError) as caught:
        make(read_env({"id": "CartPole-v1", **settings}), 0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


WITHOUT = """
import sys
sys.modules["{module}"] = None
from rlsys.config import read_env
from rlsys.envs.make import env_spec
from rlsys.errors import EnvError

try:
    env_spec(read_env({{"id": "{env_id}", "observation": "pixels"}}))
except EnvError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "env_id", "words"),
    [
        ("pygame", "CartPole-v1", "'CartPole-v1' cannot be made: pygame is not installed"),
        ("pygame", "CarRacing-v3", "'CarRacing-v3' cannot be made: pygame is not installed"),
        ("Box2D", "CarRacing-v3", "'CarRacing-v3' cannot be made: Box2D is not installed"),
        ("mujoco", "HalfCheetah-v5", "'HalfCheetah-v5' needs mujoco, which is not installed. Install rlsys[control]."),
    ],
)
def test_a_package_that_is_missing_is_one_line_before_anything_starts(module: str, env_id: str, words: str) -> None:
    program = WITHOUT.format(module=module, env_id=env_id)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    assert line.startswith(words)


def test_without_opengl_mujoco_shows_no_pictures() -> None:
    program = WITHOUT.format(module="nothing", env_id="HalfCheetah-v5")
    environment = {**os.environ, offscreen.VARIABLE: "disable"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    (line,) = done.stdout.splitlines()
    assert line.startswith("env.observation = 'pixels' with 'HalfCheetah-v5'; pictures need OpenGL without a screen")
