"""Simulators of many environments against the same environments one by one."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from rlsys.config import EnvConfig
from rlsys.envs.families.cartpole import CartPoles
from rlsys.envs.loop import Loop
from rlsys.envs.make import env_spec, make, make_simulator
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import EnvError

SEEDS = (3, 1, 4, 1, 5)

CONFIGS = {
    "CartPole": EnvConfig(id="CartPole-v1"),
    "CartPole, its old limit": EnvConfig(id="CartPole-v0"),
    "CartPole, cut and stacked": EnvConfig(id="CartPole-v1", stack_states=3, max_episode_steps=20, clip_rewards=True),
    "catch": EnvConfig(id="catch", stack_states=4),
    "2048": EnvConfig(id="2048", kwargs={"size": 2}),
    "2048, cut": EnvConfig(id="2048", max_episode_steps=20),
    "T-maze": EnvConfig(id="tmaze-3"),
    "T-maze, cut and stacked": EnvConfig(id="tmaze-4", stack_states=2, max_episode_steps=9, clip_rewards=True),
}


def assert_same_step(left: BatchedEnv, right: BatchedEnv, action: np.ndarray) -> int:
    """Steps both, compares all that comes out and returns the number of games that ended."""
    one, other = left.step(action), right.step(action)
    for name in ("observation", "reward", "raw_reward", "terminated", "truncated", "action"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
        assert getattr(one, name).dtype == getattr(other, name).dtype, name
    assert one.games == other.games
    assert np.array_equal(left.observation, right.observation)
    return len(one.games)


def looped(config: EnvConfig, seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, **options: Any) -> BatchedEnv:
    """Returns the batch that steps one by one."""
    with monkeypatch.context() as patched:
        patched.setattr("rlsys.envs.vector.make_simulator", lambda *_, **__: None)
        batch = BatchedEnv(config, seeds, **options)
    assert isinstance(batch._batch, Loop)
    return batch


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_simulator_does_bit_by_bit_what_its_environments_do_one_by_one(
    name: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIGS[name]
    at_once = BatchedEnv(config, SEEDS, training=training)
    one_by_one = looped(config, SEEDS, monkeypatch, training=training)
    assert not isinstance(at_once._batch, Loop)
    rng = np.random.default_rng(0)
    games = 0
    for step in range(400):
        if step % 150 == 149:
            at_once.reset_all()
            one_by_one.reset_all()
        assert np.array_equal(at_once.observation, one_by_one.observation)
        games += assert_same_step(at_once, one_by_one, rng.integers(0, at_once.spec.num_actions, len(SEEDS)))
    assert games > 10


def test_cartpole_falls_as_gymnasiums_from_the_same_states_to_the_last_bit() -> None:
    size = 8
    poles = CartPoles("CartPole-v1", range(size), 500)
    poles.reset()
    singles = [gymnasium.make("CartPole-v1").unwrapped for _ in range(size)]
    rng = np.random.default_rng(1)
    falls = 0
    for index, single in enumerate(singles):
        single.reset(seed=0)
        single.state = poles.get_state()["state"][:, index].copy()
    for _ in range(2000):
        action = rng.integers(0, 2, size)
        _, terminated, truncated = poles.step(action)
        assert not truncated.any()
        after = poles.get_state()["state"]
        for index, single in enumerate(singles):
            observation, reward, fell, _, _ = single.step(int(action[index]))
            assert np.array_equal(poles.last_observation[index], observation)
            assert (terminated[index], 1.0) == (fell, reward)
            if fell:
                falls += 1
                single.reset()
                single.state = after[:, index].copy()
            else:
                assert np.array_equal(after[:, index], single.state), "float64 state"
    assert falls > 100


@pytest.mark.parametrize("name", CONFIGS)
def test_an_environment_of_a_simulator_does_not_depend_on_its_neighbours(name: str) -> None:
    few, many = BatchedEnv(CONFIGS[name], (7,)), BatchedEnv(CONFIGS[name], (1, 7, 2))
    rng = np.random.default_rng(2)
    for _ in range(200):
        action = rng.integers(0, few.spec.num_actions, 3)
        alone, beside = few.step(action[1:2]), many.step(action)
        assert np.array_equal(alone.observation[0], beside.observation[1])
        assert np.array_equal(few.observation[0], many.observation[1])
        assert alone.reward[0] == beside.reward[1]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_loaded_simulator_goes_on_identically_whatever_it_did_before(name: str) -> None:
    batch, copy = BatchedEnv(CONFIGS[name], SEEDS), BatchedEnv(CONFIGS[name], (9, 9, 8, 8, 8))
    rng = np.random.default_rng(3)
    draw = lambda: rng.integers(0, batch.spec.num_actions, len(SEEDS))  # noqa: E731 - one line, used thrice
    for _ in range(57):
        batch.step(draw())
        copy.step(draw())
    assert copy.load(batch.save()).all()
    assert sum(assert_same_step(batch, copy, draw()) for _ in range(300)) > 10


def test_a_saved_state_is_not_touched_by_playing_on() -> None:
    batch = BatchedEnv(CONFIGS["CartPole, cut and stacked"], SEEDS)
    saved = batch.save()
    before = str(saved)
    for _ in range(30):
        batch.step(np.ones(5, np.int64))
    assert str(saved) == before


def test_a_snapshot_of_the_loop_is_refused_by_the_simulator_and_the_other_way_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = CONFIGS["CartPole"]
    at_once, one_by_one = BatchedEnv(config, SEEDS), looped(config, SEEDS, monkeypatch)
    with pytest.raises(EnvError, match="step one by one; these step at once"):
        at_once.load(one_by_one.save())
    with pytest.raises(EnvError, match="step at once; these step one by one"):
        one_by_one.load(at_once.save())


def test_a_snapshot_of_another_environment_is_refused() -> None:
    saved = BatchedEnv(EnvConfig(id="tmaze-3"), SEEDS).save()
    with pytest.raises(EnvError, match="of 'tmaze-3'; this is 'tmaze-4'"):
        BatchedEnv(EnvConfig(id="tmaze-4"), SEEDS).load(saved)


@pytest.mark.parametrize(
    ("settings", "at_once"),
    [
        ({}, True),
        ({"stack_states": 4, "clip_rewards": True, "max_episode_steps": 9}, True),
        ({"sticky_actions": 2}, False),
        ({"avoid_repeat": True}, False),
    ],
)
def test_wrappers_that_need_single_environments_get_them(settings: dict[str, Any], at_once: bool) -> None:
    config = EnvConfig(id="CartPole-v1", **settings)
    assert (make_simulator(config, SEEDS) is not None) == at_once
    assert isinstance(BatchedEnv(config, SEEDS)._batch, Loop) != at_once


def test_avoid_repeat_does_nothing_in_evaluation_and_so_needs_no_single_environments() -> None:
    assert make_simulator(EnvConfig(id="CartPole-v1", avoid_repeat=True), SEEDS, training=False) is not None


def test_rewards_and_ends_of_a_step_stay_as_they_are_when_the_next_one_comes() -> None:
    batch = BatchedEnv(EnvConfig(id="tmaze-3"), SEEDS)
    result = batch.step(np.full(5, 1))
    kept = [result.reward.copy(), result.raw_reward.copy(), result.terminated.copy(), result.truncated.copy()]
    batch.step(np.full(5, 0))
    for before, after in zip(
        kept, (result.reward, result.raw_reward, result.terminated, result.truncated), strict=True
    ):
        assert np.array_equal(before, after)


def test_a_single_environment_of_a_simulator_cannot_be_seeded_again() -> None:
    env = make(EnvConfig(id="tmaze-3"), 0)
    with pytest.raises(EnvError, match="seed = 7"):
        env.reset(seed=7)


def test_the_spec_of_a_batch_is_that_of_its_single_environments() -> None:
    for config in CONFIGS.values():
        batch = BatchedEnv(config, SEEDS)
        assert batch.spec == env_spec(config)
        assert batch.observation.shape == (5, *batch.spec.policy_observation.shape)
