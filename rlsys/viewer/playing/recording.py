"""Records of played episodes: a film of what was shown, and all of its numbers.

Row t of the arrays holds what happened at, and because of, `observation[t]`, as in `rlsys.types`.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rlsys.types import Array
from rlsys.viewer.film import Film
from rlsys.viewer.frames import PackedFrames


@dataclass(frozen=True)
class PlayedStep:
    """One step of a played episode; what is None is not recorded: that of a side that is not played.

    Attributes:
      action: what was done in both: a number, or an array of choices or numbers.
      model_reward, reward: what the model predicted, and what really came of it, as it is learned from.
      raw_reward: the real reward as the game gives it.
      model_over: the model says that the episode is over.
      restarted: the model was begun anew from the real game just before this step.
      by_policy: the policy chose the action.
    """

    action: int | Array
    model_reward: float | None
    reward: float | None
    raw_reward: float | None
    model_over: bool | None
    restarted: bool | None
    by_policy: bool


class Recording:
    """One episode's film and arrays; nothing is written unless a step is made.

    The .npz file has `model_observation` and `observation`, `[T + 1, *frame]`, and per step, `[T]` and actions
    `[T, *action]`, the fields of `PlayedStep`. Where row t was restarted, `model_observation[t]` is what the model
    began from, a real frame. Without one of both sides there is nothing of it.
    """

    def __init__(self, stem: Path, fps: float) -> None:
        """Prepares `<stem>.mp4` and `<stem>.npz`."""
        self.stem = stem
        self._film = Film(stem.with_name(f"{stem.name}.mp4"), fps)
        self._first: Array | None = None
        self._frames: dict[str, PackedFrames] = {}
        self._steps: list[PlayedStep] = []

    @property
    def num_steps(self) -> int:
        """T so far."""
        return len(self._steps)

    @property
    def trouble(self) -> str:
        """One sentence about why there is no film; empty where there is one."""
        return f"{self.stem.name}.mp4 is left out: {self._film.trouble}" if self._film.trouble else ""

    def begin(self, picture: Array, model: Array | None, real: Array | None) -> None:
        """Takes the picture and the frames that the episode begins with."""
        self._first = picture
        self._add(model, real)

    def restart(self, model: Array) -> None:
        """Takes what the model was begun from, in place of its last frame."""
        self._frames["model_observation"].replace_last(model)

    def append(self, step: PlayedStep, picture: Array, model: Array | None, real: Array | None) -> None:
        """Takes a step and what it led to."""
        if self._first is not None:
            self._film.append(self._first)
            self._first = None
        self._film.append(picture)
        self._steps.append(step)
        self._add(model, real)

    def close(self) -> bool:
        """Ends both files; returns whether there was anything to write."""
        self._film.close()
        if not self._steps:
            return False
        _write(self.stem, self._frames, self._columns())
        return True

    def discard(self) -> None:
        """Ends the film, and leaves nothing."""
        self._film.close()
        self._film.path.unlink(missing_ok=True)
        self._steps.clear()

    def _add(self, model: Array | None, real: Array | None) -> None:
        for name, frame in (("model_observation", model), ("observation", real)):
            if frame is not None:
                self._frames.setdefault(name, PackedFrames()).append(frame)

    def _columns(self) -> dict[str, Array]:
        rows = [vars(step) for step in self._steps]
        columns: dict[str, Array] = {}
        for name, first in rows[0].items():
            if first is not None:
                dtype = np.float32 if isinstance(first, float) else None
                columns[name] = np.array([row[name] for row in rows], dtype)
        return columns


class Clip:
    """A film of whatever was seen, and its pictures as an array: `frames`, `[T, H, W, 3]` uint8, in a .npz file.

    Attributes:
      stem: of both files' names.
    """

    def __init__(self, stem: Path, fps: float) -> None:
        """Prepares `<stem>.mp4` and `<stem>.npz`."""
        self.stem = stem
        self._film = Film(stem.with_name(f"{stem.name}.mp4"), fps)
        self._frames = PackedFrames()
        self._last: Array | None = None

    @property
    def trouble(self) -> str:
        """One sentence about why there is no film; empty where there is one."""
        return f"{self.stem.name}.mp4 is left out: {self._film.trouble}" if self._film.trouble else ""

    def append(self, picture: Array) -> None:
        """Takes a picture, unless it is the one before: nobody wants to see how nothing happens."""
        if picture is not self._last:
            self._film.append(picture)
            self._frames.append(picture)
            self._last = picture

    def close(self) -> None:
        """Ends both files."""
        self._film.close()
        _write(self.stem, {"frames": self._frames}, {})


def _write(stem: Path, frames: Mapping[str, PackedFrames], columns: Mapping[str, Array]) -> None:
    """Writes `<stem>.npz`."""
    path = stem.with_name(f"{stem.name}.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
        for name, rows in frames.items():
            rows.write(archive, name)
        for name, values in columns.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, values)  # type: ignore[no-untyped-call]


def next_stem(folder: Path) -> Path:
    """Returns `<folder>/played-0001`, or with the first number after all that are there."""
    numbers = [int(path.stem.rpartition("-")[2]) for path in folder.glob("played-[0-9]*.npz")]
    return folder / f"played-{max(numbers, default=0) + 1:04d}"
