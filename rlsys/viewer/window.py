"""A window that shows pictures while they are made, and takes keys."""

import os
import sys
import textwrap
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rlsys.errors import ConfigError
from rlsys.types import Array
from rlsys.viewer.columns import characters_in, with_footer
from rlsys.viewer.screen import CLOSING_KEYS, KeyEvent, Legend, WindowClosed

_SMALLEST_SIDE = 480
_NAMES = {"page up": "pgup", "page down": "pgdn"}


def has_screen() -> bool:
    """Returns whether a window could be opened here."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


class Window:
    """Shows RGB frames, enlarged by a whole factor, at a steady rate; a context that closes the window.

    With a legend it is for playing: below the picture are the status and the keys.
    """

    def __init__(self, title: str, fps: float = 30.0, legend: Legend = (), smallest_side: int = _SMALLEST_SIDE) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame  # noqa: PLC0415 - half a second, for those who have a screen

        self._pygame = pygame
        self._title = title
        self._fps = fps
        self._legend = "   ".join(f"{keys}: {meaning}" for keys, meaning in legend)
        self._smallest_side = smallest_side
        self._clock = pygame.time.Clock()
        self._screen: Any = None
        self._held: set[str] = set()

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pygame.display.quit()

    def show(self, frame: Array, status: str = "") -> Sequence[KeyEvent]:
        """Shows a frame, `[H, W, 3]` uint8, and waits until the next is due; see `Screen`.

        Raises:
          WindowClosed: the user closed the window or pressed Escape or q.
          ConfigError: no window can be opened here.
        """
        pygame = self._pygame
        if self._legend:
            frame = with_footer(frame, [status, *textwrap.wrap(self._legend, characters_in(frame.shape[1]))])
        height, width, _ = frame.shape
        factor = max(1, -(-self._smallest_side // min(height, width)))
        if self._screen is None or pygame.display.get_surface() is None:  # which games that end may have closed
            self._screen = self._open(width * factor, height * factor)
        surface = pygame.surfarray.make_surface(frame.swapaxes(0, 1))
        self._screen.blit(pygame.transform.scale_by(surface, factor), (0, 0))
        pygame.display.flip()
        events = [event for raw in pygame.event.get() for event in self._key_events(raw)]
        self._clock.tick(self._fps)
        return events

    def _open(self, width: int, height: int) -> Any:
        display = self._pygame.display
        try:
            display.init()
            screen = display.set_mode((width, height))
        except self._pygame.error as error:
            raise ConfigError(
                f"no window can be opened: {error}. Correct DISPLAY, or film it, or play with --web."
            ) from error
        display.set_caption(self._title)
        return screen

    def _key_events(self, event: Any) -> list[KeyEvent]:
        pygame = self._pygame
        if event.type == pygame.QUIT:
            raise WindowClosed
        if event.type == pygame.WINDOWFOCUSLOST:
            released, self._held = self._held, set()
            return [KeyEvent(key, is_down=False) for key in sorted(released)]
        if event.type not in (pygame.KEYDOWN, pygame.KEYUP):
            return []
        name = pygame.key.name(event.key).lower()
        key = _NAMES.get(name, name)
        if event.type == pygame.KEYUP:
            self._held.discard(key)
            return [KeyEvent(key, is_down=False)]
        if key in CLOSING_KEYS:
            raise WindowClosed
        self._held.add(key)
        return [KeyEvent(key, is_down=True)]
