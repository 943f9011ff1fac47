"""The window of `rlsys play`, on SDL's dummy screen."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pygame
import pytest

from rlsys.errors import ConfigError
from rlsys.viewer.playing.player import Player
from rlsys.viewer.playing.stage import Stage
from rlsys.viewer.screen import KeyEvent, WindowClosed
from rlsys.viewer.window import Window, has_screen


@pytest.fixture(autouse=True)
def _dummy_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def post(kind: int, key: int) -> None:
    pygame.event.post(pygame.event.Event(kind, key=key))


def test_frames_are_shown_enlarged_by_a_whole_factor() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (210, 160, 3), np.uint8)
    with Window("game", fps=1_000) as window:
        window.show(frame)
        shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    assert np.array_equal(shown, frame.repeat(3, axis=0).repeat(3, axis=1))
    assert not pygame.display.get_init()


@pytest.mark.parametrize(
    "event",
    [
        pygame.event.Event(pygame.QUIT),
        pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE),
        pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q),
    ],
)
def test_closing_the_window_ends_the_show(event: pygame.event.Event) -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    with Window("game", fps=1_000) as window:
        window.show(frame)
        pygame.event.post(event)
        with pytest.raises(WindowClosed):
            window.show(frame)


def test_a_screen_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "none-such")
    with Window("game") as window, pytest.raises(ConfigError, match=r"no window can be opened: .*none-such"):
        window.show(np.zeros((8, 8, 3), np.uint8))


def test_a_window_that_a_game_has_closed_is_opened_again() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    with Window("game", fps=1_000) as window:
        window.show(frame)
        pygame.quit()  # as environments of gymnasium do that have been drawn
        window.show(frame)
        assert pygame.display.get_surface().get_size() == (480, 480)
        pygame.event.post(pygame.event.Event(pygame.QUIT))
        with pytest.raises(WindowClosed):
            window.show(frame)


def test_keys_are_handed_over_in_order_and_released_with_the_keyboard() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    with Window("game", fps=1_000) as window:
        window.show(frame)
        for key in (pygame.K_w, pygame.K_SPACE, pygame.K_UP, pygame.K_3):
            post(pygame.KEYDOWN, key)
        post(pygame.KEYUP, pygame.K_w)
        events = [(event.key, event.is_down) for event in window.show(frame)]
        assert events == [("w", True), ("space", True), ("up", True), ("3", True), ("w", False)]
        pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
        assert list(window.show(frame)) == [KeyEvent(key, is_down=False) for key in ("3", "space", "up")]
        assert window.show(frame) == []


def test_a_game_is_played_in_it(make_player: Callable[..., Player], tmp_path: Path) -> None:
    player = make_player()

    class Script(Window):
        """A window in which somebody presses keys while pictures are shown."""

        def show(self, frame: np.ndarray, status: str = "") -> list[KeyEvent]:
            for kind, key in script.pop(0):
                post(kind, key)
            shown.append((frame.shape, status))
            return list(super().show(frame, status))

    shown: list[tuple[tuple[int, ...], str]] = []
    chord = [(pygame.KEYDOWN, pygame.K_w), (pygame.KEYDOWN, pygame.K_SPACE)]
    released = [(pygame.KEYUP, key) for _, key in chord]
    script = [[], chord, [], released, [(pygame.KEYDOWN, pygame.K_x)], [(pygame.KEYDOWN, pygame.K_q)]]
    with Script("dots", fps=1_000, legend=player.legend, smallest_side=1) as window:
        Stage(player, tmp_path, 1_000).play(window)
        assert not script
        with np.load(f"{player.recorded[0]}.npz") as arrays:
            assert arrays["action"].tolist() == [8, 8], "UPFIRE for as long as both are held"
    assert shown[-1][1] == "WAIT | you play | step 2"


def test_status_and_keys_are_written_below(make_player: Callable[..., Player]) -> None:
    player = make_player()
    with Window("dots", fps=1_000, legend=player.legend, smallest_side=1) as window:
        window.show(player.picture, player.status)
        shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    height, width, _ = player.picture.shape
    assert shown.shape[0] > height + 50 and shown.shape[1] == width
    assert np.array_equal(shown[:height], player.picture)
    assert shown[height:].max() > 100
    player.close()


def test_a_screen_is_what_a_display_variable_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not has_screen()
    monkeypatch.setenv("DISPLAY", ":0")
    assert has_screen()
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.delenv("DISPLAY")
    assert has_screen()
