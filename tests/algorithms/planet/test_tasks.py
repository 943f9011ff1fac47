"""The tasks of upstream and of its fork, as their table has them, in the experiments that are shipped."""

import pytest

from rlsys import config
from rlsys.envs.make import env_spec

FIVE = ("-1", "-0.25", "0", "0.25", "1")
NINE = ("-1", "-0.25", "-0.05", "-0.01", "0", "0.01", "0.05", "0.25", "1")
NUMBERS = {
    "cartpole-balance": ("dm_control/cartpole-balance", 8, 1),
    "cartpole-swingup-full": ("dm_control/cartpole-swingup", 8, 1),
    "finger-spin": ("dm_control/finger-spin", 2, 2),
    "cheetah-run": ("dm_control/cheetah-run", 4, 6),
    "cup-catch": ("dm_control/ball_in_cup-catch", 4, 2),
    "walker-walk": ("dm_control/walker-walk", 2, 6),
    "humanoid-walk": ("dm_control/humanoid-walk", 2, 21),
    "reacher-easy": ("dm_control/reacher-easy", 4, 2),
    "gym-cheetah": ("HalfCheetah-v5", 2, 6),
    "gym-racecar": ("CarRacing-v3", 2, 3),
}
"""Experiment -> environment, repeats and numbers of an action."""
PUSHES = {
    "cartpole-balance-da": ("dm_control/cartpole-balance", FIVE),
    "cartpole-swingup-da": ("dm_control/cartpole-swingup", FIVE),
    "cartpole-balance-daf": ("dm_control/cartpole-balance", NINE),
    "cartpole-swingup-daf": ("dm_control/cartpole-swingup", NINE),
    "cartpole-swingupsparse-daf": ("dm_control/cartpole-swingup_sparse", NINE),
}
GAMES = {"gym-breakout": ((64, 64), 4, 4), "gym-freeway": ((3, 64, 64), 3, 3), "gym-qbert": ((3, 64, 64), 3, 6)}
"""Experiment -> shape of a frame, frames of a step, actions."""


@pytest.mark.parametrize("name", NUMBERS)
def test_a_task_by_pixels_acts_with_its_own_numbers(name: str) -> None:
    env_id, repeats, numbers = NUMBERS[name]
    spec = env_spec(config.load(f"planet-{name}").experiment.env)
    assert (spec.id, spec.frames_per_step, spec.action.shape) == (env_id, repeats, (numbers,))
    assert spec.observation.shape == (3, 64, 64)


@pytest.mark.parametrize("name", PUSHES)
def test_a_discretised_task_has_the_forks_actions(name: str) -> None:
    env_id, pushes = PUSHES[name]
    spec = env_spec(config.load(f"planet-{name}").experiment.env)
    assert (spec.id, spec.frames_per_step, spec.action_meanings) == (env_id, 4, pushes)
    assert spec.observation.shape == (3, 64, 64)


@pytest.mark.parametrize("name", GAMES)
def test_a_game_is_played_as_by_the_fork(name: str) -> None:
    shape, frames, actions = GAMES[name]
    env = config.load(f"planet-{name}").experiment.env
    spec = env_spec(env)
    assert (spec.observation.shape, spec.frames_per_step, spec.num_actions) == (shape, frames, actions)
    assert env.max_episode_steps == 1_000 and not spec.clips_rewards
    untouched = ("noop_reset", "episode_life", "fire_reset", "full_action_space")
    assert not any(getattr(env, setting) for setting in untouched)


def test_one_agent_of_all_tasks_acts_as_widely_as_the_widest() -> None:
    spec = env_spec(config.load("planet-all-tasks").experiment.env)
    assert len(spec.tasks) == 6
    assert (spec.action.shape, spec.observation.shape) == ((6,), (3, 64, 64))
    assert spec.frames_per_step == pytest.approx((8 + 8 + 2 + 4 + 4 + 2) / 6)


def test_debug_mode_plays_each_of_the_tasks() -> None:
    loaded = config.load("planet-all-tasks", overrides=["debug=true"])
    assert loaded.experiment.runtime.environments_per_worker == 6
    assert config.load("planet-cheetah-run", overrides=["debug=true"]).experiment.runtime.environments_per_worker == 4
