"""A window that shows an episode while it is played."""

import os
import sys
from types import TracebackType
from typing import Any

from rlsys.types import Array

_SMALLEST_SIDE = 480


class WindowClosed(Exception):  # noqa: N818 - not an error: the user has seen enough
    """The user closed the window."""


def has_screen() -> bool:
    """Returns whether a window could be opened here."""
    if sys.platform.startswith("linux"):
        return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return True


class Window:
    """Shows RGB frames, enlarged by a whole factor, at a steady rate; a context that closes the window."""

    def __init__(self, title: str, fps: float = 30.0) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        import pygame  # noqa: PLC0415 - half a second, for those who have a screen

        self._pygame = pygame
        self._title = title
        self._fps = fps
        self._clock = pygame.time.Clock()
        self._screen: Any = None

    def __enter__(self) -> "Window":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pygame.display.quit()

    def show(self, frame: Array) -> None:
        """Shows a frame, `[H, W, 3]` uint8, and waits until the next is due.

        Raises:
          WindowClosed: the user closed the window or pressed Escape or q.
        """
        pygame = self._pygame
        height, width, _ = frame.shape
        factor = max(1, -(-_SMALLEST_SIDE // min(height, width)))
        if self._screen is None:
            pygame.display.init()
            self._screen = pygame.display.set_mode((width * factor, height * factor))
            pygame.display.set_caption(self._title)
        surface = pygame.surfarray.make_surface(frame.swapaxes(0, 1))
        self._screen.blit(pygame.transform.scale_by(surface, factor), (0, 0))
        pygame.display.flip()
        for event in pygame.event.get():
            if event.type == pygame.QUIT or (
                event.type == pygame.KEYDOWN and event.key in (pygame.K_ESCAPE, pygame.K_q)
            ):
                raise WindowClosed
        self._clock.tick(self._fps)
