"""A world model as a gymnasium vector environment, with a model that knows its game."""

from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from rlsys.config import EnvConfig
from rlsys.envs.imagined import ImaginedEnv, latest
from rlsys.envs.make import env_spec, make
from rlsys.errors import EnvError
from rlsys.testing.environment_contract import check_environment
from rlsys.testing.worlds import ACTIONS, HEIGHT, WIDTH, DotWorld

RIGHT, NOOP = ACTIONS.index("RIGHT"), ACTIONS.index("NOOP")


def config(num_stack: int) -> EnvConfig:
    return EnvConfig(id="rlsys/Dot-v0", stack_states=num_stack)


def history(rng: np.random.Generator, size: int, rows: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """What `size` real games went through in their first steps, with random actions."""
    actions = rng.integers(0, len(ACTIONS), (size, rows - 1))
    frames = []
    for row in actions:
        env = make(config(1), int(rng.integers(1_000)))
        frames.append([env.reset()[0], *(env.step(int(action))[0] for action in row)])
    return np.array(frames), actions


def test_the_game_keeps_the_contract_of_environments() -> None:
    check_environment(config(2))


@pytest.mark.parametrize("num_stack", [1, 3])
def test_spaces_and_arrays_are_as_gymnasium_has_them(num_stack: int) -> None:
    env = ImaginedEnv(DotWorld(5), env_spec(config(num_stack)), history)
    real = make(config(num_stack), 0)
    assert env.single_observation_space == real.observation_space
    assert env.single_action_space == real.action_space
    assert env.observation_space == batch_space(real.observation_space, 5)
    assert env.action_space == batch_space(real.action_space, 5)
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    env.action_space.seed(0)
    observation, info = env.reset(seed=3)
    for _ in range(10):
        assert observation in env.observation_space
        assert isinstance(info, dict)
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert reward.shape == (5,) and reward.dtype == np.float32
        assert terminated.shape == truncated.shape == (5,) and terminated.dtype == truncated.dtype == np.bool_
    env.close()


@pytest.mark.parametrize("num_stack", [1, 2, 4, 6])
def test_a_right_model_imagines_what_happens(num_stack: int) -> None:
    real = make(config(1), 7)
    frames, actions = [real.reset()[0]], []
    env = ImaginedEnv(DotWorld(), env_spec(config(num_stack)))
    rng = np.random.default_rng(0)
    for action in rng.integers(0, len(ACTIONS), 3).tolist():
        actions.append(action)
        frames.append(real.step(action)[0])
    observation, _ = env.reset(options={"observation": np.array(frames)[None], "action": np.array(actions)[None]})
    for action in rng.integers(0, len(ACTIONS), 12).tolist():
        seen = np.array([frames[0]] * num_stack + frames)[-num_stack:]  # the oldest is repeated where there are fewer
        assert np.array_equal(observation[0], seen if num_stack > 1 else seen[0])
        frame, reward, terminated, _, _ = real.step(action)
        frames.append(frame)
        frames = frames[-max(4, num_stack) :] if len(frames) > 4 + num_stack else frames
        observation, imagined_reward, imagined_end, truncated, _ = env.step(np.array([action]))
        assert (imagined_reward[0], imagined_end[0], truncated[0]) == (reward, terminated, False)


def test_an_episode_that_is_over_stays_where_it_ended_until_all_begin_again() -> None:
    env = ImaginedEnv(DotWorld(4), env_spec(config(2)), history, max_steps=30)
    observation, _ = env.reset(seed=1)
    columns = observation[:, -1].max(axis=1).argmax(axis=1)
    assert len(set(columns)) > 1
    go = np.full(4, RIGHT)
    ended_at = np.zeros(4, np.int64)
    total = np.zeros(4)
    for step in range(1, 31):
        before = observation
        observation, reward, terminated, truncated, _ = env.step(go)
        total += reward
        over = ended_at > 0
        assert np.array_equal(observation[over], before[over])
        ended_at[terminated & ~over] = step
        assert truncated.tolist() == ((~terminated) if step == 30 else np.zeros(4, bool)).tolist()
        if terminated.all():
            break
    reached = ended_at > 0
    assert np.array_equal(ended_at[reached], WIDTH - 1 - columns[reached])
    assert np.array_equal(total[reached], WIDTH - 1 - columns[reached])
    with pytest.raises(AssertionError, match="reset first"):
        for _ in range(31):
            env.step(go)
    env.reset()
    assert not env.step(np.full(4, NOOP))[2].any()


def test_gymnasium_wraps_it() -> None:
    env = RecordEpisodeStatistics(ImaginedEnv(DotWorld(3), env_spec(config(2)), history, max_steps=10))
    env.reset(seed=0)
    for _ in range(10):
        _, _, _, truncated, info = env.step(np.full(3, RIGHT))
    assert truncated.all()
    assert info["episode"]["r"].tolist() == [10.0] * 3
    assert info["episode"]["l"].tolist() == [10] * 3


def test_equal_seeds_begin_from_equal_frames() -> None:
    first, second = (ImaginedEnv(DotWorld(3), env_spec(config(2)), history) for _ in range(2))
    assert np.array_equal(first.reset(seed=5)[0], second.reset(seed=5)[0])
    assert not np.array_equal(first.reset()[0], first.reset()[0])
    assert np.array_equal(first.reset(seed=5)[0], second.reset(seed=5)[0])


FRAMES = np.zeros((2, 4, HEIGHT, WIDTH), np.uint8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, "an imagined episode has nothing to begin from"),
        ({"observation": FRAMES[:, :3], "action": np.zeros((2, 3), np.int64)}, r"observation .* \(2, 3, 30, 40\)"),
        ({"observation": FRAMES, "action": np.zeros((2, 4), np.int64)}, r"action .* \(2, 4\).*takes \(2, 3\)"),
        ({"reset_mask": np.array([True, False])}, "begins all copies at once"),
    ],
)
def test_what_it_cannot_begin_from_is_refused(options: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(EnvError, match=message):
        ImaginedEnv(DotWorld(2), env_spec(config(1))).reset(options=options)


def test_the_latest_frames_are_filled_up_with_the_oldest() -> None:
    frames = np.arange(6).reshape(2, 3)
    assert latest(frames, 2, axis=1).tolist() == [[1, 2], [4, 5]]
    assert latest(frames, 5, axis=1).tolist() == [[0, 0, 0, 1, 2], [3, 3, 3, 4, 5]]
    assert latest(frames, 2).tolist() == frames.tolist()
