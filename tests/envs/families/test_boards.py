"""Board games of OpenSpiel's: rules, rewards, sides and opponents."""

import itertools
from typing import Any

import numpy as np
import pytest

from rlsys.config import read_env
from rlsys.envs.families.boards import BoardConfig
from rlsys.envs.make import env_spec, make
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import ConfigError, EnvError

TIC_TAC_TOE, CONNECT_FOUR = "openspiel/tic_tac_toe", "openspiel/connect_four"


def returns(opponent: str, choose: Any, games: int, env_id: str = TIC_TAC_TOE, **fields: Any) -> list[float]:
    env, found = BatchedEnv(BoardConfig(id=env_id, opponent=opponent, **fields), range(8)), list[float]()
    while len(found) < games:
        action = np.array([choose(row) for row in env.observation])
        found += [game.episode_return for game in env.step(action).games]
    return found


def first_legal(row: Any) -> int:
    return int(row["action_mask"].argmax())


def randomly(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return lambda row: rng.choice(np.flatnonzero(row["action_mask"]))


def test_whoever_moves_is_rewarded_and_sees_the_board_and_who_that_is() -> None:
    env = make(BoardConfig(id=TIC_TAC_TOE), 0)
    observation, info = env.reset()
    for move, (action, reward) in enumerate([(0, 0.0), (3, 0.0), (1, 0.0), (4, 0.0), (2, 1.0)]):
        assert (observation["observation"][-1] == move % 2).all() and info["player"] == move % 2
        assert observation["action_mask"][action] == 1
        assert observation["action_mask"].sum() == 9 - move
        assert observation["observation"][0].sum() == 9 - move, "the first plane is of empty cells"
        observation, earned, terminated, truncated, info = env.step(action)
        assert (earned, terminated, truncated) == (reward, move == 4, False)
    with pytest.raises(EnvError, match="action 5 is illegal"):
        env.step(5)


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("connect_four", (3, 4, 3, 2)),
        ("tic_tac_toe", (4, 0, 8, 2)),
        ("go", (10, 60, 12, 80)),
        ("othello", (19, 18, 17)),
    ],
)
def test_own_stones_are_always_on_the_same_plane(name: str, moves: tuple[int, ...]) -> None:
    env = make(BoardConfig(id=f"openspiel/{name}"), 0)
    planes = [env.reset()[0]["observation"]]
    planes += [env.step(move)[0]["observation"] for move in moves]
    own_last = {(plane, other) for plane in range(3) for other in range(3) if plane != other}
    for before, after in itertools.pairwise(planes):
        gained = {
            (plane, other)
            for plane, other in own_last
            if after[other].sum() > before[plane].sum() and (after[other] >= before[plane]).all()
        }
        own_last &= gained
    assert len(own_last) == 1, "who has moved has one stone more, which the other then sees as the other's"


def test_a_full_board_is_a_draw() -> None:
    env = make(BoardConfig(id=TIC_TAC_TOE), 0)
    env.reset()
    rewards = [env.step(action)[1:3] for action in (0, 1, 2, 4, 3, 5, 7, 6, 8)]
    assert [reward for reward, _ in rewards] == [0.0] * 9
    assert [ended for _, ended in rewards] == [False] * 8 + [True]


def test_against_an_opponent_sides_change_and_defeats_count() -> None:
    env = make(BoardConfig(id=TIC_TAC_TOE, opponent="one_ply"), 3)
    outcomes, choose = set(), randomly(1)
    for game in range(40):
        observation, info = env.reset()
        stones = 9 - observation["action_mask"].sum()
        assert stones == (game + 1) % 2, "who begins changes with each game, and the first one of an odd seed is theirs"
        assert "player" not in info
        total, terminated = 0.0, False
        while not terminated:
            observation, reward, terminated, _, _ = env.step(choose(observation))
            total += float(reward)
        outcomes.add(total)
    assert outcomes == {-1.0, 0.0, 1.0}


def test_who_looks_ahead_beats_who_moves_at_random() -> None:
    against_random = np.mean(returns("random", randomly(0), 80))
    against_one_ply = np.mean(returns("one_ply", randomly(0), 80))
    against_search = np.mean(returns("mcts", randomly(0), 40, opponent_simulations=200))
    assert abs(against_random) < 0.3
    assert against_search < against_one_ply < -0.3
    assert against_search < -0.8


def test_moves_of_an_opponent_are_drawn_from_the_seed_and_survive_a_snapshot() -> None:
    for opponent in ("random", "mcts"):
        config = BoardConfig(id=CONNECT_FOUR, opponent=opponent, opponent_simulations=5)
        first, second = BatchedEnv(config, [5]), BatchedEnv(config, [9])
        for _ in range(3):
            first.step(np.array([first_legal(first.observation[0])]))
        assert second.load(first.save()).all()
        for _ in range(30):
            action = np.array([first_legal(first.observation[0])])
            ours, theirs = first.step(action), second.step(action)
            assert np.array_equal(ours.observation, theirs.observation) and ours.games == theirs.games


def test_parameters_of_a_game_are_kwargs() -> None:
    spec = env_spec(BoardConfig(id="openspiel/go", kwargs={"board_size": 5}))
    assert (spec.num_actions, spec.parts[0].spec.shape[1:], spec.num_players) == (26, (5, 5), 2)
    assert env_spec(BoardConfig(id=CONNECT_FOUR)).max_steps == 42
    assert env_spec(BoardConfig(id=CONNECT_FOUR, opponent="random")).max_steps == 21
    assert env_spec(BoardConfig(id=CONNECT_FOUR, opponent="random")).num_players == 1


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("tictactoe", {}, "OpenSpiel has no game 'tictactoe'. Did you mean 'tic_tac_toe'"),
        ("kuhn_poker", {}, "'openspiel/kuhn_poker' is no board game for two"),
        ("backgammon", {}, "leave nothing to chance; only such are supported"),
        ("go", {"board": 5}, "whose constructor says SpielError: Unknown parameter 'board'"),
    ],
)
def test_what_is_no_board_game_is_refused_in_one_line(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message) as error:
        env_spec(BoardConfig(id=f"openspiel/{name}", kwargs=kwargs))
    assert "\n" not in str(error.value)


def test_a_game_whose_players_do_not_take_turns_is_named() -> None:
    with pytest.raises(EnvError, match="is to move twice in a row"):
        returns("self", first_legal, 20, "openspiel/dots_and_boxes")


def test_an_opponent_for_a_game_that_has_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"env.opponent = 'random' with 'CartPole-v1'; only board games have it"):
        read_env({"id": "CartPole-v1", "opponent": "random"})
