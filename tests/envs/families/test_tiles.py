"""2048 against its rules, written one tile after the other."""

import numpy as np
import pytest

from rlsys.config import EnvConfig
from rlsys.envs.families.tiles import slide
from rlsys.envs.make import env_spec, make
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import EnvError

LEFT, RIGHT, UP, DOWN = range(4)


def pushed(line: list[int]) -> tuple[list[int], int]:
    """Moves one line of exponents to its beginning, as a person does."""
    tiles, result, reward = [tile for tile in line if tile], [], 0
    while tiles:
        tile = tiles.pop(0)
        if tiles and tiles[0] == tile:
            tiles.pop(0)
            tile += 1
            reward += 2**tile
        result.append(tile)
    return result + [0] * (len(line) - len(result)), reward


def naive(board: np.ndarray, action: int) -> tuple[np.ndarray, int]:
    lines = board if action in (LEFT, RIGHT) else board.T
    lines = lines[:, ::-1] if action in (RIGHT, DOWN) else lines
    pairs = [pushed(line.tolist()) for line in lines]
    after = np.array([line for line, _ in pairs])
    after = after[:, ::-1] if action in (RIGHT, DOWN) else after
    return (after if action in (LEFT, RIGHT) else after.T), sum(reward for _, reward in pairs)


def exponents(observation: np.ndarray) -> np.ndarray:
    return observation["observation"].argmax(axis=-3)


@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_tiles_slide_and_merge_as_a_person_would_move_them(size: int) -> None:
    rng = np.random.default_rng(size)
    board = rng.integers(0, 4, (200, size, size)) * (rng.random((200, size, size)) < 0.7)
    after, reward = slide(board)
    for action in range(4):
        for e in range(200):
            expected, merged = naive(board[e], action)
            assert after[action, e].tolist() == expected.tolist()
            assert reward[action, e] == merged
    assert pushed([1, 1, 1, 1]) == ([2, 2, 0, 0], 8)
    assert pushed([2, 1, 1, 0]) == ([2, 2, 0, 0], 4), "a tile merges once in a move"


def test_a_tile_appears_after_each_move_that_changes_something_and_only_then() -> None:
    batch, rng = BatchedEnv(EnvConfig(id="2048"), range(8)), np.random.default_rng(0)
    new, legal, illegal = [], 0, 0
    for _ in range(400):
        before, mask = exponents(batch.observation), batch.observation["action_mask"].copy()
        action = rng.integers(4, size=8)
        step = batch.step(action)
        for e in range(8):
            moved, merged = naive(before[e], action[e])
            assert step.reward[e] == merged
            assert mask[e, action[e]] == (moved != before[e]).any()
            seen = exponents(step.observation)[e] if step.terminated[e] else exponents(batch.observation)[e]
            if step.terminated[e]:
                continue
            changed = seen != moved
            assert changed.sum() == mask[e, action[e]]
            legal, illegal = legal + mask[e, action[e]], illegal + (1 - mask[e, action[e]])
            new += seen[changed].tolist()
    assert set(new) == {1, 2}
    assert new.count(2) / len(new) == pytest.approx(0.1, abs=0.02)
    assert legal > 1_000
    assert illegal > 100


def test_a_game_is_over_when_nothing_is_legal() -> None:
    env, rng = make(EnvConfig(id="2048", kwargs={"size": 3}), 5), np.random.default_rng(5)
    observation, _ = env.reset()
    assert (exponents(observation) > 0).sum() == 2
    terminated = False
    while not terminated:
        assert observation["action_mask"].any()
        action = int(rng.choice(np.flatnonzero(observation["action_mask"])))
        observation, _, terminated, truncated, _ = env.step(action)
        assert not truncated
    assert not observation["action_mask"].any()
    assert (exponents(observation) > 0).all()


def test_random_legal_moves_come_to_what_is_said_of_them() -> None:
    batch, rng = BatchedEnv(EnvConfig(id="2048", kwargs={"size": 3}), range(300)), np.random.default_rng(0)
    first: dict[int, float] = {}
    for _ in range(200):
        chance = rng.random((300, 4)) * batch.observation["action_mask"].copy()
        for game in batch.step(chance.argmax(axis=1)).games:
            first.setdefault(game.environment, game.episode_return)
    assert len(first) == 300
    assert np.mean(list(first.values())) == pytest.approx(178, abs=20)


def test_planes_have_room_for_every_tile() -> None:
    spec = env_spec(EnvConfig(id="2048", kwargs={"size": 3}))
    assert spec.observation.dtype.fields["observation"][0].shape == (11, 3, 3)
    assert spec.action_meanings == ("LEFT", "RIGHT", "UP", "DOWN")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 1}, r"env\.kwargs\.size = 1 with '2048'; a side has 2 to 6 cells"),
        ({"size": 7}, "size = 7"),
        ({"size": "4"}, "size = '4'"),
        ({"size": True}, "size = True"),
        ({"side": 4}, r"env\.kwargs has .side., which cannot be given to .2048.; its constructor takes size"),
    ],
)
def test_other_boards_are_refused(kwargs: dict, message: str) -> None:
    with pytest.raises(EnvError, match=message):
        make(EnvConfig(id="2048", kwargs=kwargs), 0)
