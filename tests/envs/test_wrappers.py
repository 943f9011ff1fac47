"""Wrappers against their definitions, around an environment that plays from a script."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsys.envs.wrappers import (
    ActionRepeat,
    AvoidRepeat,
    Environment,
    EpisodeLife,
    FireReset,
    GameRecord,
    NoopReset,
    Reset,
    Step,
)


@dataclass
class Frame:
    """What one step of a scripted game brings."""

    reward: float = 0.0
    lives: int = 3
    terminated: bool = False
    truncated: bool = False


class ScriptedEnv(gymnasium.Env):
    """Plays the same frames in each game; observes (game, frame); remembers the actions."""

    action_space = Discrete(4)
    observation_space = Box(0.0, 1e6, (2,), np.float32)

    def __init__(self, script: Sequence[Frame]) -> None:
        self.script = script
        self.games = -1
        self.frame = 0
        self.lives = 0
        self.actions: list[int] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        super().reset(seed=seed)
        self.games += 1
        self.frame = 0
        self.lives = self.script[0].lives
        return self._observation(), {}

    def step(self, action: Any) -> Step:
        self.actions.append(action)
        frame = self.script[self.frame]
        self.frame += 1
        self.lives = frame.lives
        return self._observation(), frame.reward, frame.terminated, frame.truncated, {}

    def _observation(self) -> np.ndarray:
        return np.array([self.games, self.frame], np.float32)


def with_lives(env: gymnasium.Env, *, lost_point_ends: bool = False) -> EpisodeLife:
    """Ends episodes with lives of the scripted environment inside."""
    base = env.unwrapped
    assert isinstance(base, ScriptedEnv)
    return EpisodeLife(env, count_lives=lambda: base.lives, lost_point_ends=lost_point_ends)


def avoiding(base: gymnasium.Env, frames_per_step: int) -> AvoidRepeat:
    record = GameRecord(base)
    return AvoidRepeat(record, record, num_actions=4, frames_per_step=frames_per_step, seed=0)


def executed(env: AvoidRepeat, count: int) -> list[int]:
    """Asks for action 3 so often; returns what was executed."""
    actions = []
    for _ in range(count):
        env.step(3)
        actions.append(env.executed)
    return actions


def endless(reward: float = 0.0) -> list[Frame]:
    return [Frame(reward=reward)] * 10_000


def scripts() -> st.SearchStrategy[list[Frame]]:
    """Games of 1 to 30 frames that end in a terminated or truncated frame, lives falling from 3."""

    def build(rewards: list[int], losses: list[bool], terminated: bool) -> list[Frame]:
        lives = 3 - np.cumsum(losses[: len(rewards)])
        frames = [Frame(float(reward), max(0, int(left))) for reward, left in zip(rewards, lives, strict=True)]
        frames[-1].terminated, frames[-1].truncated = terminated, not terminated
        return frames

    rewards = st.lists(st.integers(-1, 2), min_size=1, max_size=30)
    return st.builds(build, rewards, st.lists(st.booleans(), min_size=30, max_size=30), st.booleans())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(script=scripts(), num_repeats=st.integers(1, 5))
def test_action_repeat_sums_the_rewards_of_a_run_of_frames_and_stops_at_the_end(
    script: list[Frame], num_repeats: int
) -> None:
    env = ActionRepeat(ScriptedEnv(script), num_repeats)
    env.reset(seed=0)
    for start in range(0, len(script), num_repeats):
        run = script[start : start + num_repeats]
        observation, reward, terminated, truncated, _ = env.step(1)
        assert observation[1] == start + len(run)
        assert reward == sum(frame.reward for frame in run)
        assert (terminated, truncated) == (run[-1].terminated, run[-1].truncated)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(script=scripts(), lost_point_ends=st.booleans())
def test_episode_life_ends_an_episode_exactly_where_a_life_or_a_point_is_lost(
    script: list[Frame], lost_point_ends: bool
) -> None:
    base = ScriptedEnv(script)
    env = with_lives(base, lost_point_ends=lost_point_ends)
    env.reset(seed=0)
    lives = script[0].lives
    while base.games == 0:
        frame = script[base.frame]
        _, reward, terminated, truncated, _ = env.step(2)
        life_lost = 0 < frame.lives < lives or (lost_point_ends and frame.reward < 0)
        assert (reward, truncated) == (frame.reward, frame.truncated)
        assert terminated == (frame.terminated or life_lost)
        lives = frame.lives
        if terminated or truncated:
            game_over = frame.terminated or frame.truncated
            at = base.frame
            observation, _ = env.reset()
            if game_over or script[at].terminated or script[at].truncated:
                assert observation.tolist() == [1, 0], "a new game"
            else:
                assert observation.tolist() == [0, at + 1], "one step further in the same game"
                assert base.actions[-1] == 0, "that step is NOOP"
                lives = script[at].lives


def test_a_new_game_can_be_asked_for_while_lives_are_left() -> None:
    life = with_lives(record := GameRecord(ScriptedEnv(endless())))
    env = Environment(life, record, None)
    env.reset(seed=0)
    env.step(1)
    assert env.reset()[0].tolist() == [0, 2]
    assert env.begin_game()[0].tolist() == [1, 0]
    assert env.reset(seed=3)[0].tolist() == [2, 0]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(script=scripts())
def test_the_game_record_is_of_whole_games_whatever_the_episodes_are(script: list[Frame]) -> None:
    base = ScriptedEnv(script)
    record = GameRecord(base)
    env = with_lives(record, lost_point_ends=True)
    env.reset(seed=0)
    while base.games < 3:
        _, _, terminated, truncated, _ = env.step(1)
        assert record.raw_reward == script[base.frame - 1].reward
        assert record.running_game[1] == base.frame
        if terminated or truncated:
            env.reset()
    total = sum(frame.reward for frame in script)
    assert record.finished_games == [(total, len(script))] * 3


def test_noop_reset_draws_every_number_of_noops_from_0_to_noop_max_alike() -> None:
    base = ScriptedEnv(endless())
    env = NoopReset(base, noop_max=4)
    env.reset(seed=0)
    counts = np.zeros(5)
    for _ in range(2_000):
        counts[int(env.reset()[0][1])] += 1
    assert set(base.actions) == {0}
    assert abs(counts / 2_000 - 0.2).max() < 0.04


def test_noop_reset_begins_again_where_the_game_ends_meanwhile() -> None:
    env = NoopReset(ScriptedEnv([Frame(), Frame(truncated=True)]), noop_max=30)
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        assert observation[1] < 2, "the last frame of a game is never where an episode begins"


def test_fire_reset_presses_fire_and_then_the_action_after_it() -> None:
    base = ScriptedEnv(endless())
    observation, _ = FireReset(base).reset(seed=0)
    assert base.actions == [1, 2]
    assert observation.tolist() == [0, 2]


def test_fire_reset_begins_again_where_the_game_ends_meanwhile() -> None:
    observation, _ = FireReset(ScriptedEnv([Frame(), Frame(terminated=True)])).reset(seed=0)
    assert observation.tolist() == [1, 0]


def test_avoid_repeat_replaces_one_action_in_twenty_after_500_frames_without_a_reward() -> None:
    base = ScriptedEnv(endless())
    env = avoiding(base, frames_per_step=4)
    env.reset(seed=0)
    actions = executed(env, 8_000)
    assert actions == base.actions, "what is reported is what was done"
    assert actions[:126] == [3] * 126, "500 frames are 125 steps of 4, and they must have passed"
    replaced = np.mean(np.array(actions[126:]) != 3)
    assert abs(replaced - 0.05 * 3 / 4) < 0.007


def test_avoid_repeat_never_replaces_where_rewards_keep_coming() -> None:
    base = ScriptedEnv(([Frame()] * 400 + [Frame(reward=-1.0)]) * 20)
    env = avoiding(base, frames_per_step=1)
    env.reset(seed=0)
    assert set(executed(env, 8_000)) == {3}


@pytest.mark.parametrize("new_game", [False, True])
def test_avoid_repeat_counts_across_lives_but_not_across_games(new_game: bool) -> None:
    life = with_lives(record := GameRecord(ScriptedEnv(endless())))
    avoid = AvoidRepeat(life, record, num_actions=4, frames_per_step=1, seed=0)
    env = Environment(avoid, record, avoid)
    env.reset(seed=0)
    executed(avoid, 495)
    env.begin_game() if new_game else env.reset()
    assert (set(executed(avoid, 450)) != {3}) is not new_game
