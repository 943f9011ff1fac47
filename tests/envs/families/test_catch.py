"""Catch against its rules, and its known returns."""

import numpy as np
import pytest

from rlsys.config import EnvConfig
from rlsys.envs.make import make
from rlsys.envs.vector import BatchedEnv

NOOP, LEFT, RIGHT = range(3)
BALL, PADDLE = 255, 128


def places(picture: np.ndarray) -> tuple[int, int, int]:
    """Returns the ball's row and column and the column of the paddle's middle, in cells; the ball may hide a part."""
    cells = picture[::2, ::2]
    row, column = np.argwhere(cells == BALL)[0]
    paddle = np.flatnonzero(cells[-1] == PADDLE)
    hidden = [column] if len(paddle) < 3 else []
    return int(row), int(column), int(np.mean([*paddle, *hidden]))


def play(choose, games: int) -> list[float]:
    batch, returns = BatchedEnv(EnvConfig(id="catch"), range(8)), []
    while len(returns) < games:
        actions = np.array([choose(*places(picture)) for picture in batch.observation])
        returns += [game.episode_return for game in batch.step(actions).games]
    return returns


def test_a_ball_falls_a_row_a_step_and_counts_when_it_lands() -> None:
    env = make(EnvConfig(id="catch"), 0)
    observation, _ = env.reset()
    rows, rewards = [places(observation)[0]], []
    for _ in range(99):
        observation, reward, terminated, truncated, _ = env.step(NOOP)
        row, ball, paddle = places(observation)
        assert reward == (0.0 if row < 9 else 1.0 if abs(ball - paddle) <= 1 else -1.0)
        assert not (terminated or truncated)
        rows.append(row)
        rewards.append(reward)
    assert rows == list(range(10)) * 10
    assert env.step(NOOP)[3], "a game has 100 steps"


def test_who_follows_the_ball_gets_ten_points_and_who_does_not_look_loses() -> None:
    best = play(lambda row, ball, paddle: NOOP if abs(ball - paddle) <= 1 else RIGHT if ball > paddle else LEFT, 20)
    assert set(best) == {10.0}
    rng = np.random.default_rng(0)
    blind = play(lambda *_: int(rng.integers(3)), 300)
    assert np.mean(blind) == pytest.approx(-2.5, abs=0.5)
