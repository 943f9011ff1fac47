"""What pages are put together from, and that keys mean in them what they mean in the player."""

import itertools
import re
from typing import Any

import numpy as np
import pytest

from rlsys.types import ArraySpec, EnvSpec
from rlsys.viewer.pages import read_page
from rlsys.viewer.playing.keys import Keys, make_keys

pytestmark = pytest.mark.xdist_group("chromium")
SAME = """([source, table, chords]) => {
  const actions = new Function(source + "; return makeActions(" + JSON.stringify(table) + ")")();
  return chords.map((chord) => [actions.action(new Set(chord)), actions.noop(), actions.show(actions.noop())]);
}"""


def words(*names: str, count: int = 0) -> EnvSpec:
    spec = EnvSpec("game", ArraySpec((8, 8), "uint8"), ArraySpec((), "int64"), count or len(names))
    return spec if count else EnvSpec(**{**vars(spec), "action_meanings": names})


def numbers(shape: tuple[int, ...], dtype: str, low: tuple[float, ...] = (), high: tuple[float, ...] = ()) -> EnvSpec:
    return EnvSpec("arm", ArraySpec((8, 8), "uint8"), ArraySpec(shape, dtype), 0, action_low=low, action_high=high)


ENVS = {
    "words": words("NOOP", "FIRE", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "DOWNLEFT", "UPFIRE"),
    "actions by number": words(count=3),
    "choices": EnvSpec("pad", ArraySpec((8, 8), "uint8"), ArraySpec((3,), "int64"), 0, action_choices=(3, 2, 2)),
    "numbers": numbers((2,), "float32", (-1.0, 0.5), (1.0, 4.0)),
    "whole numbers": numbers((1,), "int32", (-3.0,), (8.0,)),
    "numbers without bounds": numbers((2,), "float32"),
}
KEYS = ["w", "a", "d", "space", "left", "right", "up", "1", "2", "3"]
CHORDS = [
    [],
    *([key] for key in KEYS),
    *map(list, itertools.combinations(KEYS[:6], 2)),
    ["w", "d", "space"],
    *[["right"]] * 12,
]


def in_python(keys: Keys) -> list[list[Any]]:
    found = []
    for chord in CHORDS:
        action = keys.action(frozenset(chord))
        given = None if action is None else np.ravel(action).tolist()
        found.append([given, np.ravel(keys.noop).tolist(), keys.show(keys.noop)])
    return found


@pytest.mark.parametrize("name", ENVS)
def test_keys_mean_the_same_in_a_page(chromium: Any, name: str) -> None:
    page = chromium.new_page()
    source = re.search(
        r"(// Which action held keys mean.*?)\n// A world model's steps", read_page("dream.html"), re.DOTALL
    )
    assert source is not None
    found = page.evaluate(SAME, [source[1], make_keys(ENVS[name]).table(), CHORDS])
    page.close()
    expected = in_python(make_keys(ENVS[name]))
    assert len(found) == len(expected)
    for chord, here, there in zip(CHORDS, expected, found, strict=True):
        assert (here[0] is None) == (there[0] is None), chord
        np.testing.assert_allclose(there[0] or [], here[0] or [], rtol=1e-6, atol=1e-7, err_msg=str(chord))
        np.testing.assert_allclose(there[1], here[1], rtol=1e-6, atol=1e-7, err_msg=str(chord))
        assert there[2] == here[2]
    assert any(given for given, *_ in expected)


@pytest.mark.parametrize("name", ["play.html", "dream.html"])
def test_pages_are_whole(name: str) -> None:
    page = read_page(name)
    assert "INCLUDE" not in page and "function showLegend" in page and "--panel" in page
    assert page.count("<script") == page.count("</script>")
