"""`BatchedEnv` against environments that are stepped one by one, and against environments that misbehave."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from rlsys.config import EnvConfig
from rlsys.envs.families.atari import AtariConfig
from rlsys.envs.make import make
from rlsys.envs.vector import BatchedEnv
from rlsys.envs.wrappers import Reset, Step
from rlsys.errors import EnvError

CONFIGS = {
    "RAM Breakout": AtariConfig(
        id="Breakout-ramNoFrameskip-v4",
        sticky_actions=4,
        stack_states=2,
        noop_reset=True,
        episode_life=True,
        fire_reset=True,
        clip_rewards=True,
    ),
    "CartPole": EnvConfig(id="CartPole-v1", stack_states=3, max_episode_steps=20),
    "counting": EnvConfig(id="rlsys/Counting-v0"),
}


class Misbehaving(gymnasium.Env):
    """Breaks its contract at the third step of an episode, in the way that `fault` names."""

    action_space = Discrete(2)
    observation_space = Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self._count = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        super().reset(seed=seed)
        self._count = 0
        return np.zeros(2, np.float32), {}

    def step(self, action: Any) -> Step:
        self._count += 1
        broken = self._count == 3
        observation, reward = np.zeros(2, np.float32), 0.0
        if broken and self._fault == "raise":
            raise ZeroDivisionError("division\nby zero")
        if broken and self._fault == "observation":
            observation[1] = np.nan
        if broken and self._fault == "reward":
            reward = float("inf")
        if broken and self._fault == "shape":
            observation = np.zeros(1, np.float32)
        return observation, reward, False, False, {}


for _fault in ("raise", "observation", "reward", "shape"):
    gymnasium.register(f"rlsys-test/Misbehaving-{_fault}-v0", entry_point=Misbehaving, kwargs={"fault": _fault})


@pytest.mark.parametrize("name", CONFIGS)
def test_a_batch_is_its_environments_stepped_one_by_one(name: str) -> None:
    config, seeds = CONFIGS[name], (3, 1, 4)
    batch = BatchedEnv(config, seeds)
    singles = [make(config, seed) for seed in seeds]
    current = []
    for env in singles:
        env.begin_game()
        current.append(env.begin_game()[0])
    batch.reset_all()
    rng = np.random.default_rng(0)
    num_ends = 0
    for _ in range(120):
        assert np.array_equal(batch.observation, current)
        action = rng.integers(0, batch.spec.num_actions, 3)
        result = batch.step(action)
        assert np.array_equal(result.action, action)
        for index, env in enumerate(singles):
            observation, reward, terminated, truncated, _ = env.step(int(action[index]))
            assert np.array_equal(result.observation[index], observation)
            assert (result.reward[index], result.raw_reward[index]) == (reward, env.record.raw_reward)
            assert (result.terminated[index], result.truncated[index]) == (terminated, truncated and not terminated)
            current[index] = env.reset()[0] if terminated or truncated else observation
            num_ends += terminated or truncated
            assert result.first[index] == (terminated or truncated)
    assert num_ends > 3


def test_games_of_the_counting_environment_have_the_lengths_and_returns_that_they_counted() -> None:
    batch = BatchedEnv(EnvConfig(id="rlsys/Counting-v0", sticky_actions=2), (0, 1, 2))
    for _ in range(200):
        result = batch.step(np.zeros(3, np.int64))
        assert [game.environment for game in result.games] == np.flatnonzero(result.first).tolist()
        for game in result.games:
            count = int(result.observation[game.environment, 2])
            assert game.episode_return == count * (count + 1) / 2
            assert game.length_env_steps == -(-count // 2)
            assert game.length_frames == 2 * game.length_env_steps


def test_a_game_is_reported_once_with_the_rewards_of_all_its_lives() -> None:
    batch = BatchedEnv(CONFIGS["RAM Breakout"], (1, 2))
    rng = np.random.default_rng(3)
    returns, lives, reported = np.zeros(2), np.zeros(2, int), 0
    for _ in range(600):
        result = batch.step(rng.integers(0, 4, 2))
        returns += result.raw_reward
        lives += result.terminated
        for game in result.games:
            reported += 1
            assert game.episode_return == returns[game.environment]
            assert lives[game.environment] == 5
            returns[game.environment] = lives[game.environment] = 0
    assert reported >= 4


def test_an_episode_that_both_terminates_and_is_truncated_counts_as_terminated() -> None:
    batch = BatchedEnv(EnvConfig(id="rlsys/Counting-v0", max_episode_steps=15), np.arange(16).tolist())
    both = 0
    for _ in range(300):
        result = batch.step(np.zeros(16, np.int64))
        at_limit = result.observation[:, 2] == 15
        both += int((result.terminated & at_limit).sum())
        assert np.array_equal(result.truncated, at_limit & ~result.terminated)
    assert both > 0


def test_avoid_repeat_reports_the_action_that_was_executed() -> None:
    config = EnvConfig(id="Freeway-ramNoFrameskip-v4", sticky_actions=50, avoid_repeat=True)
    batch = BatchedEnv(config, (0, 1))
    executed = np.concatenate([batch.step(np.full(2, 2)).action for _ in range(150)])
    assert set(executed[:20]) == {2}
    assert {0, 1} <= set(executed)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raise", r"raised ZeroDivisionError in step: division by zero \(test_vector\.py, line \d+\)\."),
        ("observation", "returned an observation that is not finite"),
        ("reward", "returned a reward that is not finite: inf"),
        ("shape", r"observed float32 \(1,\); its space says float32 \(2,\)"),
    ],
)
def test_an_environment_that_misbehaves_is_named(fault: str, words: str) -> None:
    name = f"rlsys-test/Misbehaving-{fault}-v0"
    batch = BatchedEnv(EnvConfig(id=name), (0, 1))
    for _ in range(2):
        batch.step(np.zeros(2, np.int64))
    with pytest.raises(EnvError, match=rf"environment 0 \('{name}'\) {words}"):
        batch.step(np.zeros(2, np.int64))


@pytest.mark.parametrize("action", [np.array([0, 2]), np.array([0, -1]), np.array([0.0, 0.5]), np.array([0.0, np.nan])])
def test_an_action_outside_of_the_space_is_named(action: np.ndarray) -> None:
    batch = BatchedEnv(EnvConfig(id="CartPole-v1"), (0, 1))
    with pytest.raises(EnvError, match=r"environment 1 \('CartPole-v1'\) got action"):
        batch.step(action)


def test_a_continuous_action_outside_of_the_space_is_named() -> None:
    batch = BatchedEnv(EnvConfig(id="LunarLanderContinuous-v3"), (0, 1))
    batch.step(np.ones((2, 2), np.float32))
    with pytest.raises(EnvError, match=r"environment 0 .* got action"):
        batch.step(np.array([[0.0, 1.5], [0.0, 0.0]], np.float32))


def test_actions_of_another_shape_are_refused() -> None:
    batch = BatchedEnv(EnvConfig(id="CartPole-v1"), (0, 1))
    with pytest.raises(EnvError, match=r"actions have shape \(3,\)"):
        batch.step(np.zeros(3, np.int64))


def test_loading_continues_the_score_of_a_running_game() -> None:
    batch, copy = (BatchedEnv(CONFIGS["counting"], seeds) for seeds in ((1, 2), (8, 9)))
    for _ in range(13):
        batch.step(np.zeros(2, np.int64))
    assert copy.load(batch.save()).all()
    for _ in range(60):
        assert batch.step(np.zeros(2, np.int64)).games == copy.step(np.zeros(2, np.int64)).games
        assert np.array_equal(batch.observation, copy.observation)


def test_loading_what_cannot_be_saved_begins_new_games_and_says_which_continued() -> None:
    batch = BatchedEnv(EnvConfig(id="LunarLander-v2"), (1, 2))
    batch.step(np.zeros(2, np.int64))
    before = batch.observation.copy()
    assert not batch.load(batch.save()).any()
    assert not np.array_equal(batch.observation, before)


def test_loading_another_number_of_environments_is_refused() -> None:
    saved = BatchedEnv(CONFIGS["counting"], (1, 2)).save()
    with pytest.raises(EnvError, match="2 environments, here are 3"):
        BatchedEnv(CONFIGS["counting"], (1, 2, 3)).load(saved)
