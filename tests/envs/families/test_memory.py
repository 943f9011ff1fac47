"""The T-maze against its rules, and its known returns."""

import numpy as np
import pytest

from rlsys.config import EnvConfig
from rlsys.envs.families.memory import FORWARD, LEFT, RIGHT
from rlsys.envs.make import env_spec, make
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import EnvError
from rlsys.types import ArraySpec

CUE_LEFT, CUE_RIGHT, CORRIDOR, JUNCTION = range(4)


def games_of(batch: BatchedEnv, choose, num_games: int) -> list:
    """Plays until so many games have ended; `choose` maps (bits that are set, cues of the episodes) to actions."""
    games = []
    cue = np.zeros(batch.num_environments, int)
    while len(games) < num_games:
        bit = batch.observation.argmax(axis=1)
        cue = np.where(bit <= CUE_RIGHT, bit, cue)
        games += batch.step(choose(bit, cue)).games
    return games


def test_the_cue_is_seen_at_the_start_alone_and_the_junction_after_as_many_steps_as_the_corridor_is_long() -> None:
    env = make(EnvConfig(id="tmaze-7"), 0)
    cues = set()
    for _ in range(20):
        observation, _ = env.reset()
        cues.add(int(observation.argmax()))
        seen = [int(observation.argmax())]
        for _ in range(7):
            observation, reward, terminated, truncated, _ = env.step(FORWARD)
            assert observation.sum() == 1.0
            assert (reward, terminated, truncated) == (0.0, False, False)
            seen.append(int(observation.argmax()))
        assert seen == [seen[0], *[CORRIDOR] * 6, JUNCTION]
        _, reward, terminated, truncated, _ = env.step(RIGHT)
        assert (reward, terminated, truncated) == (1.0 if seen[0] == CUE_RIGHT else -1.0, True, False)
    assert cues == {CUE_LEFT, CUE_RIGHT}


def test_walls_cost_a_tenth_and_do_not_move_the_agent() -> None:
    env = make(EnvConfig(id="tmaze-1"), 0)
    first, _ = env.reset()
    for action in (LEFT, RIGHT):
        observation, reward, terminated, _, _ = env.step(action)
        assert np.array_equal(observation, first)
        assert (reward, terminated) == (pytest.approx(-0.1), False)
    env.step(FORWARD)
    observation, reward, terminated, _, _ = env.step(FORWARD)
    assert (observation.argmax(), reward, terminated) == (JUNCTION, pytest.approx(-0.1), False)


def test_memory_reaches_one_in_length_and_one_steps() -> None:
    batch = BatchedEnv(EnvConfig(id="tmaze-20"), range(16))
    games = games_of(batch, lambda bit, cue: np.where(bit == JUNCTION, LEFT + cue, FORWARD), 100)
    assert {game.episode_return for game in games} == {1.0}
    assert {game.length_env_steps for game in games} == {21}


@pytest.mark.parametrize("turn", [LEFT, RIGHT])
def test_without_memory_the_turn_is_chance(turn: int) -> None:
    batch = BatchedEnv(EnvConfig(id="tmaze-5"), range(64))
    games = games_of(batch, lambda bit, cue: np.where(bit == JUNCTION, turn, FORWARD), 4000)
    assert abs(np.mean([game.episode_return for game in games])) < 5 / np.sqrt(4000)


def test_random_play_has_the_return_that_the_documentation_says() -> None:
    batch = BatchedEnv(EnvConfig(id="tmaze-10"), range(64))
    rng = np.random.default_rng(0)
    returns = [game.episode_return for game in games_of(batch, lambda bit, cue: rng.integers(0, 3, 64), 4000)]
    expected = -0.1 * (2 * 10 + 0.5)
    assert abs(np.mean(returns) - expected) < 5 * np.std(returns) / np.sqrt(len(returns))


def test_an_agent_that_stays_is_cut_off_after_ten_steps_per_cell() -> None:
    batch = BatchedEnv(EnvConfig(id="tmaze-4"), (0, 1))
    for step in range(1, 51):
        result = batch.step(np.full(2, LEFT))
        assert not result.terminated.any()
        assert result.truncated.all() == (step == 50)
    assert [game.episode_return for game in result.games] == pytest.approx([-5.0, -5.0])


def test_the_spec_has_four_bits_and_three_actions() -> None:
    described = env_spec(EnvConfig(id="tmaze-100"))
    assert described.observation == ArraySpec((4,), "float32")
    assert (described.num_actions, described.frames_per_step) == (3, 1)


def test_seeds_decide_the_cues() -> None:
    def cues(seed: int) -> list[int]:
        env = make(EnvConfig(id="tmaze-1"), seed)
        return [int(env.reset()[0].argmax()) for _ in range(40)]

    assert cues(1) == cues(1) != cues(2)


@pytest.mark.parametrize("name", ["tmaze", "tmaze-0", "tmaze-x", "tmaze--3"])
def test_a_length_that_is_none_is_an_unknown_id(name: str) -> None:
    with pytest.raises(EnvError, match=f"no environment '{name}'. Did you mean 'tmaze-"):
        make(EnvConfig(id=name), 0)
