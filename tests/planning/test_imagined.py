"""A world model as a gymnasium vector environment, with a model that knows its game."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec, make
from rlsys.errors import EnvError
from rlsys.planning.imagined import ImaginedEnv, latest, to_array, to_tensors
from rlsys.testing.environment_contract import check_environment
from rlsys.testing.worlds import ACTIONS, HEIGHT, WIDTH, DotWorld, RecurrentWorld
from rlsys.types import ArraySpec, EnvSpec, Part

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
    env = ImaginedEnv(DotWorld(), env_spec(config(num_stack)), 5, begin=history)
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
    env = ImaginedEnv(DotWorld(), env_spec(config(2)), 4, begin=history, max_steps=30)
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
    env = RecordEpisodeStatistics(ImaginedEnv(DotWorld(), env_spec(config(2)), 3, begin=history, max_steps=10))
    env.reset(seed=0)
    for _ in range(10):
        _, _, _, truncated, info = env.step(np.full(3, RIGHT))
    assert truncated.all()
    assert info["episode"]["r"].tolist() == [10.0] * 3
    assert info["episode"]["l"].tolist() == [10] * 3


def test_equal_seeds_begin_from_equal_frames() -> None:
    first, second = (ImaginedEnv(DotWorld(), env_spec(config(2)), 3, begin=history) for _ in range(2))
    assert np.array_equal(first.reset(seed=5)[0], second.reset(seed=5)[0])
    assert not np.array_equal(first.reset()[0], first.reset()[0])
    assert np.array_equal(first.reset(seed=5)[0], second.reset(seed=5)[0])


FRAMES = np.zeros((2, 4, HEIGHT, WIDTH), np.uint8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (None, "an imagined episode has nothing to begin from"),
        (
            {"observation": FRAMES[:, :3], "action": np.zeros((2, 2), np.int64)},
            r"observation .* \(2, 3, 30, 40\); .* takes \[M, R, \*\(30, 40\)\] with R = 4 and M that divides 2",
        ),
        (
            {"observation": FRAMES, "action": np.zeros((2, 3), np.int64), "reset_mask": np.array([True, False])},
            r"observation .* \(2, 4, 30, 40\); .* M that divides 1",
        ),
        ({"observation": FRAMES, "action": np.zeros((2, 4), np.int64)}, r"action .* \(2, 4\).*takes \(2, 3\)"),
    ],
)
def test_what_it_cannot_begin_from_is_refused(options: dict[str, Any] | None, message: str) -> None:
    with pytest.raises(EnvError, match=message):
        ImaginedEnv(DotWorld(), env_spec(config(1)), 2).reset(options=options)


def test_some_episodes_begin_again_while_others_go_on() -> None:
    env = ImaginedEnv(DotWorld(), env_spec(config(2)), 3, begin=history, max_steps=4, seed=0)
    env.reset()
    for _ in range(3):
        before, *_ = env.step(np.full(3, RIGHT))
    observation, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    assert np.array_equal(observation[[0, 2]], before[[0, 2]])
    assert not np.array_equal(observation[1], before[1])
    _, _, _, truncated, _ = env.step(np.full(3, RIGHT))
    assert truncated.tolist() == [True, False, True]


def test_each_beginning_is_that_of_as_many_copies_as_there_are_for_it() -> None:
    frames, actions = history(np.random.default_rng(0), 2)
    env = ImaginedEnv(DotWorld(), env_spec(config(1)), 6)
    observation, _ = env.reset(options={"observation": frames, "action": actions})
    assert np.array_equal(observation, frames[:, -1].repeat(3, axis=0))
    moved, *_ = env.step(np.array([NOOP, RIGHT, RIGHT] * 2))
    assert np.array_equal(moved[[1, 4]], moved[[2, 5]]) and not np.array_equal(moved[0], moved[1])


ARM = EnvSpec(
    "arm", ArraySpec((2, 3), "uint8"), ArraySpec((2,), "float32"), 0, action_low=(-2.0, 0.0), action_high=(2.0, 1.0)
)


def imagine(env: ImaginedEnv, rows: int = 3) -> list[np.ndarray]:
    """What an arm sees and is rewarded with after a history of so many rows, all copies alike."""
    frames = np.arange(5 * 6, dtype=np.uint8).reshape(1, 5, 2, 3)[:, -rows:]
    env.reset(options={"observation": frames, "action": np.ones((1, rows - 1, 2), np.float32)})
    steps = [env.step(np.full((env.num_envs, 2), 0.5))[:2] for _ in range(4)]
    return [array for step in steps for array in step]


def same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_environments_share_a_world_and_draw_apart() -> None:
    world = RecurrentWorld(ARM)
    alone = imagine(ImaginedEnv(world, ARM, 2, seed=1))
    ours, other = ImaginedEnv(world, ARM, 2, seed=1), ImaginedEnv(world, ARM, 2, seed=2)
    assert not same(imagine(other), alone)
    assert same(imagine(ours), alone)
    ours.reset(
        seed=1, options={"reset_mask": np.zeros(2, bool), "observation": np.zeros((1, 1, 2, 3), np.uint8)} | NONE
    )
    assert same(imagine(ours), alone)
    assert not same(imagine(ours), alone), "another episode is another one"


NONE = {"action": np.zeros((1, 0, 2), np.float32)}


def test_a_model_that_remembers_makes_use_of_more_history() -> None:
    found = [imagine(ImaginedEnv(RecurrentWorld(ARM), ARM, seed=0), rows) for rows in (1, 2, 5)]
    assert not same(found[0], found[1]) and not same(found[1], found[2])
    with pytest.raises(EnvError, match=r"R = 1 to 6 and M that divides 1"):
        ImaginedEnv(RecurrentWorld(ARM), ARM).reset(options={"observation": np.zeros((1, 7, 2, 3), np.uint8)} | NONE)


def test_numbers_have_the_bounds_of_the_game() -> None:
    space = ImaginedEnv(RecurrentWorld(ARM), ARM, 3).single_action_space
    assert isinstance(space, Box)
    assert (space.low.tolist(), space.high.tolist(), space.dtype) == ([-2.0, 0.0], [2.0, 1.0], np.float32)


def test_named_parts_are_one_structured_array_here_and_a_tensor_each_for_the_world() -> None:
    spec = ArraySpec((), np.dtype([("place", "<f4", (2,)), ("field", "u1", (2, 3)), ("card", "<i8")]))
    parts = (
        Part("place", ArraySpec((2,), "float32")),
        Part("field", ArraySpec((2, 3), "uint8")),
        Part("card", ArraySpec((), "int64"), (10,)),
    )
    env = EnvSpec("parts", spec, ArraySpec((2,), "int64"), 0, parts=parts, action_choices=(3, 4))
    array = np.zeros((5, 2), spec.dtype)
    array["place"] = np.random.default_rng(0).normal(size=(5, 2, 2))
    tensors = to_tensors(array, torch.device("cpu"))
    assert {name: (tuple(part.shape), part.dtype) for name, part in tensors.items()} == {
        "place": ((5, 2, 2), torch.float32),
        "field": ((5, 2, 2, 3), torch.uint8),
        "card": ((5, 2), torch.int64),
    }
    assert np.array_equal(to_array({name: part[:, 0] for name, part in tensors.items()}, spec), array[:, 0])
    imagined = ImaginedEnv(DotWorld(), env, 2)
    bounds = Box(-np.inf, np.inf, (2,), np.float32), Box(0, 255, (2, 3), np.uint8), Discrete(10)
    assert imagined.single_observation_space == Dict(list(zip(spec.dtype.names or (), bounds, strict=True)))
    assert imagined.single_action_space == MultiDiscrete([3, 4])


def test_the_latest_frames_are_filled_up_with_the_oldest() -> None:
    frames = np.arange(6).reshape(2, 3)
    assert latest(frames, 2, axis=1).tolist() == [[1, 2], [4, 5]]
    assert latest(frames, 5, axis=1).tolist() == [[0, 0, 0, 1, 2], [3, 3, 3, 4, 5]]
    assert latest(frames, 2).tolist() == frames.tolist()
