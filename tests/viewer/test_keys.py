"""Which action a chord of keys means."""

import pytest

from rlsys.config import EnvConfig
from rlsys.envs.families.procgen import ACTIONS as PROCGEN
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.types import ArraySpec, EnvSpec
from rlsys.viewer.keys import ActionKeys


def env(*names: str, num_actions: int = 0) -> EnvSpec:
    picture = ArraySpec((8, 8), "uint8")
    return EnvSpec("game", picture, ArraySpec((), "int64"), num_actions or len(names), action_meanings=names)


def test_every_action_of_an_atari_game_has_the_chord_of_its_words() -> None:
    known = env_spec(EnvConfig(id="BoxingNoFrameskip-v4"))
    keys = ActionKeys(known)
    assert len(known.action_meanings) == 18
    letters = {"UP": "w", "DOWN": "s", "LEFT": "a", "RIGHT": "d", "FIRE": "space"}
    arrows = {"UP": "up", "DOWN": "down", "LEFT": "left", "RIGHT": "right", "FIRE": "space"}
    for action, name in enumerate(known.action_meanings):
        for names in (letters, arrows):
            held = {key for word, key in names.items() if word in name}
            assert keys.action(held) == (action if held else None), name
    assert keys.noop == 0
    assert [row[0] for row in keys.legend] == ["W", "S", "A", "D", "SPACE", "ARROWS"]


def test_a_chord_that_the_game_lacks_means_the_most_of_it_that_there_is() -> None:
    keys = ActionKeys(env("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"))
    assert keys.action({"d", "space"}) == 4
    assert keys.action({"w", "d"}) == 2
    assert keys.action({"w"}) is None
    assert keys.action({"a", "d", "space"}) == 1, "opposites cancel out"
    assert keys.action({"r", "shift"}) is None
    assert keys.action(set()) is None
    assert "W" not in dict(keys.legend)


def test_names_with_spaces_and_a_noop_elsewhere() -> None:
    keys = ActionKeys(env(*PROCGEN))
    assert keys.noop == PROCGEN.index("NOOP") == 4
    assert keys.action({"a", "s"}) == PROCGEN.index("LEFT DOWN")
    assert keys.action({"right", "up"}) == PROCGEN.index("RIGHT UP")
    assert keys.action({"9"}) == 9
    assert keys.legend[-1] == ("0-9", "9 D; those above 9 have no key")


def test_numbers_pick_actions_that_have_no_words() -> None:
    keys = ActionKeys(env(num_actions=3))
    assert [keys.action({str(number)}) for number in range(5)] == [0, 1, 2, None, None]
    assert keys.action({"w"}) is None
    assert keys.noop == 0
    assert keys.legend == [("0-2", "the action of that number")]
    maze = ActionKeys(env("FORWARD", "LEFT", "RIGHT"))
    assert (maze.action({"a"}), maze.action({"0"})) == (1, 0)
    assert maze.legend[-1] == ("0-2", "0 FORWARD")


def test_continuous_actions_have_no_keys() -> None:
    arm = EnvSpec("arm", ArraySpec((8, 8), "uint8"), ArraySpec((2,), "float32"), 0)
    with pytest.raises(ConfigError, match=r"'arm' has actions of shape \(2,\); keys can only mean discrete ones"):
        ActionKeys(arm)
