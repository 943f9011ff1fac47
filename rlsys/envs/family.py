"""What a family of environments is: the ids that it knows and the functions that make their simulators."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import gymnasium

from rlsys.config import EnvConfig
from rlsys.envs.simulator import Simulator


def _none_at_once(config: EnvConfig, seeds: Sequence[int]) -> Simulator | None:
    return None


@dataclass(frozen=True)
class Family:
    """A row of the table in `rlsys.envs.make`.

    Attributes:
      name: what people call it.
      knows: tells whether an id belongs to it.
      ids: its ids that are suggested for a mistyped one, the more usual first.
      make: (configuration, seed, render mode) -> the simulator and the frames that one of its steps takes. It is
        seeded: its next `reset()` begins the first episode of that seed.
      make_simulator: (configuration, seeds) -> a simulator that steps one environment per seed at once and does what
        those that `make` returns do one by one; None where there is no such thing.
      settings: fields of the configuration that mean something to few families, this one among them.
      package: the module that it needs beyond what rlsys brings along.
      how_to_install: what to do if that is missing.
    """

    name: str
    knows: Callable[[str], bool]
    ids: Callable[[], Iterable[str]]
    make: Callable[[EnvConfig, int, str | None], tuple[gymnasium.Env, int]]
    make_simulator: Callable[[EnvConfig, Sequence[int]], Simulator | None] = _none_at_once
    settings: tuple[str, ...] = ()
    package: str | None = None
    how_to_install: str = ""
