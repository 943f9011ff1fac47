"""What else a player can be asked for: the game alone, reconstructions, a header, and what to keep."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from viewer.playing.tapping import press, step

from rlsys.testing.worlds import ACTIONS
from rlsys.viewer.header import HEADER_HEIGHT, with_header
from rlsys.viewer.playing.player import Player

MakePlayer = Callable[..., Player]


def recorded(player: Player) -> dict[str, np.ndarray]:
    with np.load(f"{player.recorded[-1]}.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("key", ["r", "return"])
def test_a_new_episode_begins_with_either_key(make_player: MakePlayer, key: str) -> None:
    player = make_player()
    step(player, "d")
    press(player, key)
    assert "step 0" in player.status and len(player.recorded) == 1
    assert ("R RETURN", "new episode") in player.legend
    player.close()


def test_without_a_model_the_game_is_played_alone(make_player: MakePlayer) -> None:
    player = make_player(num_context=1, has_model=False, policy_plays=True)
    player.tick()
    press(player, "p", "x")
    step(player, "s")
    assert player.picture.shape[1] < 300, "one column"
    player.close()
    arrays = recorded(player)
    assert arrays.keys() == {"observation", "action", "reward", "raw_reward", "by_policy"}
    assert [ACTIONS[action] for action in arrays["action"]] == ["RIGHT", "DOWN"]
    assert "x" not in {key.lower() for key, _ in player.legend}


def test_a_reconstruction_is_what_the_model_shows_of_where_it_begins(make_player: MakePlayer) -> None:
    player = make_player(has_model=False, reconstructs=True, zoom=8.0)
    step(player, "d")
    height, width = 8 * 30, 8 * 40
    seen, made_of_it = (player.picture[-height:, left : left + width] for left in (width + 6, 2 * (width + 6)))
    assert player.picture.shape[1] == 3 * width + 2 * 6, "as it is drawn, as it is seen, as it is reconstructed"
    assert np.array_equal(seen, made_of_it), "this model keeps frames as they are"
    assert seen.std() > 0
    player.close()


def test_a_header_tells_what_was_done_and_what_came_of_it(make_player: MakePlayer) -> None:
    plain, player = make_player(), make_player(has_header=True)
    above = player.picture.shape[0] - plain.picture.shape[0]
    assert above == HEADER_HEIGHT
    before = player.picture[:above].copy()
    step(player, "d")
    expected = with_header(player.picture[above:], "action RIGHT   reward 1   over False", "step 1   return 1")
    assert np.array_equal(player.picture, expected)
    assert not np.array_equal(player.picture[:above], before)
    plain.close()
    player.close()


@pytest.mark.parametrize(("answer", "kept"), [("y", True), ("return", True), ("n", False)])
def test_who_is_asked_decides_what_is_kept(make_player: MakePlayer, tmp_path: Path, answer: str, kept: bool) -> None:
    player = make_player(asks=True, episode_steps=2)
    step(player, "d")
    step(player, "d")
    assert player.status.endswith("keep this episode? Y / N") and not player.recorded
    step(player, "d")
    assert "step 2" in player.status, "nothing goes on before it is answered"
    step(player, answer)
    assert "keep" not in player.status
    assert [stem.name for stem in player.recorded] == ["played-0001"] * kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["played-0001.mp4", "played-0001.npz"] * kept
    step(player, "d")
    assert "step 0" in player.status, "the next episode"
    player.close()


def test_an_episode_that_nobody_was_asked_about_any_more_is_kept(make_player: MakePlayer) -> None:
    player = make_player(asks=True, episode_steps=1)
    step(player, "d")
    player.close()
    assert len(recorded(player)["action"]) == 1
