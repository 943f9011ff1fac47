"""Which action a chord of keys means."""

import numpy as np
import pytest

from rlsys.config import EnvConfig
from rlsys.envs.families.procgen import ACTIONS as PROCGEN
from rlsys.envs.make import env_spec
from rlsys.types import ArraySpec, EnvSpec
from rlsys.viewer.playing.keys import ActionKeys, Keys, NumberKeys, make_keys


def env(*names: str, num_actions: int = 0) -> EnvSpec:
    picture = ArraySpec((8, 8), "uint8")
    return EnvSpec("game", picture, ArraySpec((), "int64"), num_actions or len(names), action_meanings=names)


def test_every_action_of_an_atari_game_has_the_chord_of_its_words() -> None:
    known = env_spec(EnvConfig(id="BoxingNoFrameskip-v4"))
    keys = ActionKeys(known)
    assert len(known.action_meanings) == 18
    letters = {"UP": "w", "DOWN": "s", "LEFT": "a", "RIGHT": "d", "FIRE": "space"}
    for action, name in enumerate(known.action_meanings):
        held = {key for word, key in letters.items() if word in name}
        assert keys.action(held) == (action if held else None), name
        assert keys.name(action) == name
    assert keys.noop == 0
    assert [row[0] for row in keys.legend] == ["W", "S", "A", "D", "SPACE", "ARROWS", "T R G F", "U Y J H"]


def test_arrows_fire_and_letters_are_diagonals_where_a_game_has_those() -> None:
    upstream = {
        "t": "UPRIGHT",
        "r": "UPLEFT",
        "g": "DOWNRIGHT",
        "f": "DOWNLEFT",
        "up": "UPFIRE",
        "right": "RIGHTFIRE",
        "left": "LEFTFIRE",
        "down": "DOWNFIRE",
        "u": "UPRIGHTFIRE",
        "y": "UPLEFTFIRE",
        "j": "DOWNRIGHTFIRE",
        "h": "DOWNLEFTFIRE",
    }
    known = env_spec(EnvConfig(id="BoxingNoFrameskip-v4"))
    keys = ActionKeys(known)
    assert {key: known.action_meanings[keys.action({key}) or 0] for key in upstream} == upstream
    assert upstream.keys() <= keys.letters
    breakout = ActionKeys(env("NOOP", "FIRE", "RIGHT", "LEFT"))
    assert [breakout.action({key}) for key in ("right", "left", "up", "t", "r")] == [2, 3, None, None, None]
    assert breakout.letters == {"a", "d", "space", "left", "right"}
    assert ("ARROWS", "the same directions") in breakout.legend


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


def numbers(*bounds: tuple[float, float], shape: tuple[int, ...] = (), dtype: str = "float32") -> NumberKeys:
    low, high = zip(*bounds, strict=True)
    spec = ArraySpec(shape or (len(bounds),), dtype)
    keys = make_keys(EnvSpec("arm", ArraySpec((8, 8), "uint8"), spec, 0, action_low=low, action_high=high))
    assert isinstance(keys, NumberKeys)
    return keys


def test_two_keys_move_a_number_by_steps_within_its_bounds_and_it_stays_there() -> None:
    keys = numbers((-2.0, 2.0), (0.0, 1.0))
    assert keys.action({"shift"}) is None and keys.noop.tolist() == [0.0, 0.0]
    assert keys.action({"right", "up"}).tolist() == pytest.approx([0.4, 0.1])
    assert keys.action({"right"}).tolist() == pytest.approx([0.8, 0.1])
    assert keys.action({"left", "right"}) is None, "they cancel out"
    assert keys.noop.tolist() == pytest.approx([0.8, 0.1]) and keys.noop.dtype == np.float32
    for _ in range(9):
        keys.action({"right", "down"})
    assert keys.noop.tolist() == [2.0, 0.0]
    assert keys.action({"left", "down"}).tolist() == pytest.approx([1.6, 0.0]), "a bound is left with the first step"
    assert keys.action({"space"}).tolist() == [0.0, 0.0]
    keys.action({"left"})
    keys.restart()
    assert keys.noop.tolist() == [0.0, 0.0]


def test_a_number_begins_at_0_or_as_near_as_may_be_and_may_have_no_bounds() -> None:
    keys = numbers((1.0, 2.0), (-np.inf, np.inf), (-0.25, 1.0))
    assert keys.noop.tolist() == [1.0, 0.0, 0.0]
    assert keys.action({"left", "down", "a"}).tolist() == pytest.approx([1.0, -0.1, -0.125])
    for _ in range(9):
        keys.action({"down", "a"})
    assert keys.noop.tolist() == pytest.approx([1.0, -1.0, -0.25])
    assert keys.action({"d"}).tolist()[2] == pytest.approx(-0.125)


def test_whole_numbers_move_by_whole_steps() -> None:
    keys = numbers((0, 255), (0, 3), dtype="uint8")
    found = keys.action({"right", "up"})
    assert found.tolist() == [26, 1] and found.dtype == np.uint8


def test_numbers_are_shown_and_named() -> None:
    keys = numbers((-1.0, 1.0), (0.0, np.inf))
    assert keys.show(keys.action({"right"})) == "+0.20 +0.00"
    assert keys.legend == [
        ("LEFT RIGHT", "number 1 down and up, -1 to 1"),
        ("DOWN UP", "number 2 down and up, 0 to inf"),
        ("SPACE", "all numbers back"),
    ]
    many = numbers(*[(-1.0, 1.0)] * 15, shape=(3, 5))
    assert many.action({"right", "d"}).shape == (3, 5)
    assert many.legend[-1] == ("SPACE", "all numbers back; those after number 13 have no keys")
    assert many.show(many.noop).endswith("+0.00 …")
    assert ActionKeys(env("NOOP", "UP")).show(1) == "", "what is done with a word need not be shown"


def test_no_key_is_both_a_command_and_a_number() -> None:
    used = {key for row in numbers(*[(-1.0, 1.0)] * 13).legend for key in row[0].lower().split()}
    assert len(used) == 2 * 13 + 1
    assert not used & set("cnxprq")


def choices(*counts: int, shape: tuple[int, ...] = ()) -> Keys:
    spec = ArraySpec(shape or (len(counts),), "int64")
    return make_keys(EnvSpec("pad", ArraySpec((8, 8), "uint8"), spec, 0, action_choices=counts))


def test_each_option_of_a_choice_has_a_key_and_chords_choose_several_at_once() -> None:
    keys = choices(3, 2, 2)
    assert keys.legend == [("1 2", "choice 0 = 1, 2"), ("3", "choice 1 = 1"), ("4", "choice 2 = 1")]
    assert np.array_equal(keys.noop, [0, 0, 0])
    assert np.array_equal(keys.action({"2", "4", "shift"}), [2, 0, 1])
    assert np.array_equal(keys.action({"1", "2", "3"}), [1, 1, 0]), "of two options the lower one"
    assert keys.action({"5", "w"}) is None
    assert keys.show(keys.action({"2"})) == "2 0 0"


def test_choices_may_lie_in_several_axes_and_may_be_more_than_there_are_keys() -> None:
    keys = choices(*[4] * 12, shape=(3, 4))
    assert np.array_equal(keys.action({"4"}), np.eye(1, 12, 1, int).reshape(3, 4))
    assert keys.legend[-1] == ("", "6 options have no key")
    used = {key for row in keys.legend for key in row[0].lower().split()}
    assert len(used) == 30 and not used & set("cnxprq")
