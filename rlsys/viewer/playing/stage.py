"""Anything that can be played or looked at, on a screen, with the keys that all of it has."""

import time
from pathlib import Path
from typing import Protocol

from rlsys.types import Array
from rlsys.viewer.playing.recording import Clip
from rlsys.viewer.screen import KeyEvent, Legend, Screen, WindowClosed

_PAUSE, _FILM = ".", ","
_COMMANDS: Legend = ((_PAUSE, "stop and go on"), (_FILM, "begin and end a film"), ("Q", "quit"))


class Show(Protocol):
    """What is on the stage: it takes keys and time, and has a picture.

    Attributes:
      legend: its keys and what they do.
      picture: `[H, W, 3]` uint8, what is to be shown now; the same array until something changes.
      status: one line about it.
    """

    @property
    def legend(self) -> Legend:
        """See the class."""

    @property
    def picture(self) -> Array:
        """See the class."""

    @property
    def status(self) -> str:
        """See the class."""

    def key(self, event: KeyEvent) -> None:
        """Takes a key."""

    def tick(self) -> None:
        """Lets 1 / fps seconds pass."""

    def close(self) -> None:
        """Ends it."""


class Stage:
    """Shows something until the screen is closed. '.' stops it, ',' films what is seen.

    Attributes:
      clips: the films so far, without their endings (.mp4, .npz).
      troubles: a sentence for each that could not be made.
    """

    def __init__(self, show: Show, folder: Path, fps: float) -> None:
        """Takes what is shown, and the folder of films."""
        self._show, self._folder, self._fps = show, folder, fps
        self._is_stopped = False
        self._clip: Clip | None = None
        self.clips: list[Path] = []
        self.troubles: list[str] = []

    @property
    def legend(self) -> Legend:
        """All keys and what they do."""
        return [*self._show.legend, *_COMMANDS]

    @property
    def status(self) -> str:
        """One line: that of what is shown, and what the keys here have done."""
        parts = [self._show.status]
        parts += ["stopped"] if self._is_stopped else []
        parts += ["filming"] if self._clip is not None else []
        return " | ".join(parts)

    def play(self, screen: Screen) -> None:
        """Shows it until the screen is closed; films that were begun are ended."""
        try:
            while True:
                if self._clip is not None:
                    self._clip.append(self._show.picture)
                for event in screen.show(self._show.picture, self.status):
                    self._key(event)
                if not self._is_stopped:
                    self._show.tick()
        except WindowClosed:
            pass
        finally:
            self._end_film()
            self._show.close()

    def _key(self, event: KeyEvent) -> None:
        if event.key == _PAUSE:
            self._is_stopped ^= event.is_down
        elif event.key == _FILM:
            if event.is_down:
                self._toggle_film()
        else:
            self._show.key(event)

    def _toggle_film(self) -> None:
        if self._clip is None:
            name = time.strftime("%Y-%m-%d_%H-%M-%S")
            while (stem := self._folder / name).with_suffix(".npz").exists():
                name += "+"
            self._clip = Clip(stem, self._fps)
        else:
            self._end_film()

    def _end_film(self) -> None:
        if self._clip is not None:
            self._clip.close()
            self.clips.append(self._clip.stem)
            self.troubles += [self._clip.trouble] if self._clip.trouble else []
            self._clip = None
