"""The keys that all that is shown has: stop, and film."""

from collections.abc import Callable, Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from rlsys.viewer.playing.player import Player
from rlsys.viewer.playing.stage import Stage
from rlsys.viewer.screen import KeyEvent, WindowClosed

MakePlayer = Callable[..., Player]


class ScriptedScreen:
    """Taps one key, or none, with each picture, then is closed."""

    def __init__(self, *script: str) -> None:
        self.script = list(script)
        self.shown: list[tuple[np.ndarray, str]] = []

    def show(self, frame: np.ndarray, status: str = "") -> Sequence[KeyEvent]:
        self.shown.append((frame, status))
        if not self.script:
            raise WindowClosed
        key = self.script.pop(0)
        return [KeyEvent(key, is_down) for is_down in (True, False)] if key else []


def test_a_stopped_show_stands_still_until_it_goes_on(make_player: MakePlayer, tmp_path: Path) -> None:
    stage = Stage(make_player(policy_plays=True), tmp_path / "films", 20.0)
    screen = ScriptedScreen("", ".", "", "", ".", "")
    stage.play(screen)
    steps = [status.split("step ")[1] for _, status in screen.shown]
    assert steps == ["0", "1", "1 | stopped", "1 | stopped", "1 | stopped", "2", "3"]
    assert not (tmp_path / "films").exists()
    assert {key for key, _ in stage.legend} >= {".", ",", "Q"}


def test_a_film_has_what_was_seen_between_two_taps(make_player: MakePlayer, tmp_path: Path) -> None:
    stage = Stage(make_player(), tmp_path / "films", 20.0)
    screen = ScriptedScreen("d", ",", "", "d", "", "s", ",", "d")
    stage.play(screen)
    (stem,) = stage.clips
    with np.load(f"{stem}.npz") as arrays:
        frames = arrays["frames"]
    different = [frame for index, (frame, status) in enumerate(screen.shown) if "filming" in status]
    assert len({id(frame) for frame in different}) == len(frames) == 3, "standing still is left out"
    assert np.array_equal(frames[0], different[0]) and np.array_equal(frames[-1], different[-1])
    assert len(iio.imread(f"{stem}.mp4", plugin="FFMPEG")) == 3
    assert stage.troubles == []


def test_a_film_that_was_not_ended_is_kept_and_none_is_overwritten(
    make_player: MakePlayer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.strftime", lambda form: "now")
    stage = Stage(make_player(), tmp_path, 20.0)
    stage.play(ScriptedScreen(",", "d", ",", "d", ",", "d"))
    assert [stem.name for stem in stage.clips] == ["now", "now+"]
    assert all(stem.with_suffix(".npz").exists() for stem in stage.clips)
