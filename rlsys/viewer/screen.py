"""What a window and a page in the browser have in common: they show pictures and hand over keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rlsys.types import Array

Legend = Sequence[tuple[str, str]]
"""(keys, what they do), in the order in which they are shown."""

CLOSING_KEYS = frozenset({"q", "escape"})
"""Keys that close any screen."""


class WindowClosed(Exception):  # noqa: N818 - not an error: the user has seen enough
    """The user closed the window, or the page."""


@dataclass(frozen=True)
class KeyEvent:
    """A key that was pressed or released.

    Attributes:
      key: lower case: a character, or "space", "up", "down", "left", "right", "pgup", "pgdn", "return", "escape".
      is_down: pressed rather than released. Whoever shows releases all keys when it loses the keyboard.
    """

    key: str
    is_down: bool


class Screen(Protocol):
    """Shows pictures at a steady rate."""

    def show(self, frame: Array, status: str = "") -> Sequence[KeyEvent]:
        """Shows a picture, `[H, W, 3]` uint8, and a line of text; waits until the next is due.

        Returns:
          What was pressed and released since the last call, in order.

        Raises:
          WindowClosed: the user closed it, or pressed Escape or Q.
        """
