"""A stand-in for the module `deepmind_lab`, which no package index has and which must be built from its sources.

It has that module's functions, checks what they are given as that one does, and plays a game without a world: frames
are noise that depends on seed and frame number, moving is rewarded. Put it into `sys.modules` as "deepmind_lab".

API: https://github.com/google-deepmind/lab/blob/master/docs/users/python_api.md
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rlsys.types import Array

EPISODE_FRAMES = 102
"""Frames after which an episode ends; real ones have thousands."""

_MOVE = 3
_LIMITS = {
    "LOOK_LEFT_RIGHT_PIXELS_PER_FRAME": (-512, 512),
    "LOOK_DOWN_UP_PIXELS_PER_FRAME": (-512, 512),
    "STRAFE_LEFT_RIGHT": (-1, 1),
    "MOVE_BACK_FORWARD": (-1, 1),
    "FIRE": (0, 1),
    "JUMP": (0, 1),
    "CROUCH": (0, 1),
}


class LevelCache(Protocol):
    """Where levels look for the maps that they have built before."""

    def fetch(self, key: str, pk3_path: str) -> bool:
        """Copies a map to a path; False if there is none."""

    def write(self, key: str, pk3_path: str) -> None:
        """Keeps the map at a path."""


class Lab:
    """A level.

    Attributes:
      level, settings, renderer: what it was made with.
      seeds: of its episodes so far.
      maps_built: how often the cache had none.
    """

    def __init__(
        self,
        level: str,
        observations: Sequence[str],
        config: Mapping[str, str] | None = None,
        renderer: str = "software",
        level_cache: LevelCache | None = None,
    ) -> None:
        self.level = level
        self.settings = dict(config or {})
        self.renderer = renderer
        self.seeds: list[int] = []
        self.maps_built = 0
        if not all(isinstance(text, str) for pair in self.settings.items() for text in pair):
            raise TypeError(f"config must map str to str: {config}")
        if renderer not in ("software", "hardware"):
            raise ValueError(f"unknown renderer {renderer}")
        height, width = (int(self.settings.get(name, default)) for name, default in (("height", 240), ("width", 320)))
        self._shapes = {"RGB_INTERLEAVED": (height, width, 3), "RGB": (3, height, width)}
        if unknown := set(observations) - set(self._shapes):
            raise ValueError(f"Unknown observation {unknown}")
        self._names = list(observations)
        self._cache = level_cache
        self._frame = 0
        self._running = False

    def reset(self, episode: int = -1, seed: int | None = None) -> bool:
        """Begins an episode."""
        if type(seed) is not int or not 0 <= seed < 2**31:
            raise ValueError(f"'seed' must be int or None, was {seed!r}")
        self.seeds.append(seed)
        self._build_map(f"{self.level} {seed}")
        self._frame = 0
        self._running = True
        return True

    def step(self, action: Array, num_steps: int = 1) -> float:
        """Advances by up to `num_steps` frames and returns their reward."""
        if not self._running:
            raise RuntimeError("Environment in wrong status to advance")
        if action.dtype != np.intc or action.shape != (len(_LIMITS),):
            raise ValueError(f"action must be {len(_LIMITS)} of intc, was {action.shape} of {action.dtype}")
        for value, (name, (low, high)) in zip(action.tolist(), _LIMITS.items(), strict=True):
            if not low <= value <= high:
                raise ValueError(f"{name} = {value} is not in [{low}, {high}]")
        num_frames = min(num_steps, EPISODE_FRAMES - self._frame)
        self._frame += num_frames
        self._running = self._frame < EPISODE_FRAMES
        return float(action[_MOVE]) * num_frames

    def observations(self) -> dict[str, Array]:
        """Returns what is to be seen while the episode runs."""
        if not self._running:
            raise RuntimeError("Environment in wrong status for call to observations()")
        noise = np.random.default_rng([self.seeds[-1], self._frame])
        return {name: noise.integers(0, 256, self._shapes[name], np.uint8) for name in self._names}

    def is_running(self) -> bool:
        """Tells whether the episode goes on."""
        return self._running

    def num_steps(self) -> int:
        """Returns the frames since the reset."""
        return self._frame

    def fps(self) -> int:
        """Returns frames per second of the game."""
        return 60

    def observation_spec(self) -> list[dict[str, Any]]:
        """Returns what could be observed."""
        return [{"name": name, "dtype": np.uint8, "shape": shape} for name, shape in self._shapes.items()]

    def action_spec(self) -> list[dict[str, Any]]:
        """Returns what an action consists of."""
        return [{"name": name, "min": low, "max": high} for name, (low, high) in _LIMITS.items()]

    def close(self) -> bool:
        """Ends it."""
        self._running = False
        return True

    def _build_map(self, key: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "map.pk3")
            if self._cache is not None and self._cache.fetch(key, str(path)):
                assert path.read_text(encoding="utf-8") == key, "the cache returned another map"
                return
            path.write_text(key, encoding="utf-8")
            self.maps_built += 1
            if self._cache is not None:
                self._cache.write(key, str(path))
