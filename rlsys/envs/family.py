"""What a family of environments is: the ids that it knows and a function that makes their simulator."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import gymnasium

from rlsys.config import EnvConfig


@dataclass(frozen=True)
class Family:
    """A row of the table in `rlsys.envs.make`.

    Attributes:
      name: what people call it.
      knows: tells whether an id belongs to it.
      ids: its ids, to suggest one for a mistyped id.
      make: (configuration, seed, render mode) -> the simulator and the frames that one of its steps takes. It is
        seeded: its next `reset()` begins the first episode of that seed.
    """

    name: str
    knows: Callable[[str], bool]
    ids: Callable[[], Iterable[str]]
    make: Callable[[EnvConfig, int, str | None], tuple[gymnasium.Env, int]]
