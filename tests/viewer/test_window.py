"""The window of `rlsys play`, on SDL's dummy screen."""

import numpy as np
import pygame
import pytest

from rlsys.viewer.window import Window, WindowClosed, has_screen


@pytest.fixture(autouse=True)
def _dummy_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def test_frames_are_shown_enlarged_by_a_whole_factor() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (210, 160, 3), np.uint8)
    with Window("game", fps=1_000) as window:
        window.show(frame)
        shown = pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)
    assert np.array_equal(shown, frame.repeat(3, axis=0).repeat(3, axis=1))
    assert not pygame.display.get_init()


@pytest.mark.parametrize(
    "event", [pygame.event.Event(pygame.QUIT), pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE)]
)
def test_closing_the_window_ends_the_show(event: pygame.event.Event) -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    with Window("game", fps=1_000) as window:
        window.show(frame)
        pygame.event.post(event)
        with pytest.raises(WindowClosed):
            window.show(frame)


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
