"""Random actions in every space."""

import numpy as np
import pytest

from rlsys.api import PolicyContext
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.envs.vector import BatchedEnv
from rlsys.evaluation.agents.random_policy import RandomPolicy
from rlsys.types import Array, ArraySpec, EnvSpec, Part

OBSERVATION, SIZE = ArraySpec((1,), "float32"), 4_000


def drawn(env: EnvSpec, size: int = SIZE) -> Array:
    policy = RandomPolicy(PolicyContext(None, env, seed=3))
    return policy.act(np.zeros((size, 1), np.float32), policy.initial_state(size), explore=False).action


def test_every_combination_of_choices_is_drawn_about_as_often() -> None:
    actions = drawn(EnvSpec("x", OBSERVATION, ArraySpec((2,), "int64"), 0, action_choices=(3, 2)))
    assert actions.shape == (SIZE, 2)
    counts = np.bincount(2 * actions[:, 0] + actions[:, 1])
    assert len(counts) == 6 and counts.min() > 0.8 * SIZE / 6


def test_numbers_lie_evenly_between_their_bounds_and_spread_where_there_are_none() -> None:
    low, high = (-2.0, -np.inf, 1.0, -np.inf), (3.0, np.inf, np.inf, -1.0)
    env = EnvSpec("x", OBSERVATION, ArraySpec((2, 2), "float32"), 0, action_low=low, action_high=high)
    actions = drawn(env).reshape(SIZE, 4)
    assert actions.dtype == np.float32
    assert (actions >= np.array(low)).all() and (actions <= np.array(high)).all()
    bounded = np.histogram(actions[:, 0], 5, (-2.0, 3.0))[0]
    assert bounded.min() > 0.8 * SIZE / 5
    assert np.abs(actions.mean(axis=0) - np.array([0.5, 0.0, 2.0, -2.0])).max() < 0.1


def test_whole_numbers_are_drawn_with_both_bounds() -> None:
    env = EnvSpec("x", OBSERVATION, ArraySpec((1,), "uint8"), 0, action_low=(3.0,), action_high=(5.0,))
    actions = drawn(env)
    assert actions.dtype == np.uint8 and set(actions.ravel().tolist()) == {3, 4, 5}


@pytest.mark.parametrize(
    "name",
    [
        "Pendulum-v1",
        "LunarLanderContinuous-v3",
        "HalfCheetah-v5",
        "Taxi-v3",
        "Blackjack-v1",
        "FrozenLake-v1",
        "rlsys/Choices-v0",
    ]
    + [f"rlsys/{name}-v0" for name in ("Parts", "Nested", "Tuple", "Start")],
)
def test_an_environment_takes_what_is_drawn(name: str) -> None:
    env = BatchedEnv(EnvConfig(id=name), (1, 2))
    policy = RandomPolicy(PolicyContext(None, env_spec(EnvConfig(id=name)), seed=1))
    for _ in range(30):
        env.step(policy.act(env.observation, {}, explore=True).action)
    env.close()


def test_illegal_actions_are_never_drawn_and_legal_ones_about_as_often() -> None:
    mask = Part("action_mask", ArraySpec((4,), "int8"), (2,) * 4)
    record = np.dtype([("observation", "f4", (1,)), ("action_mask", "i1", (4,))])
    parts = (Part("observation", OBSERVATION), mask)
    env = EnvSpec("x", ArraySpec((), record), ArraySpec((), "int64"), 4, parts=parts)
    observation = np.zeros(SIZE, record)
    observation["action_mask"] = [1, 0, 1, 1]
    policy = RandomPolicy(PolicyContext(None, env, seed=3))
    counts = np.bincount(policy.act(observation, {}, explore=True).action, minlength=4)
    assert counts[1] == 0 and counts[[0, 2, 3]].min() > 0.8 * SIZE / 3
