"""What a family of environments is: the ids that it knows, its settings, and the functions that make its simulators."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import gymnasium

from rlsys.config import EnvConfig
from rlsys.envs.simulator import Simulator

C = TypeVar("C", bound=EnvConfig)


@dataclass(frozen=True)
class NoOps(Generic[C]):
    """How games of a family begin after no-ops, as evaluations ask for it.

    Attributes:
      most: configuration -> the most no-ops that a game begins with, in decisions; 0 where it begins at once.
      with_most: (configuration, decisions) -> the environment with games that begin after no-ops for up to so many
        decisions; 0 is none.
    """

    most: Callable[[C], float]
    with_most: Callable[[C, int], C]


def _none_at_once(config: EnvConfig, seeds: Sequence[int]) -> Simulator | None:
    return None


def _as_it_is(config: EnvConfig, env: gymnasium.Env) -> gymnasium.Env:
    return env


@dataclass(frozen=True)
class Family(Generic[C]):
    """A row of the table in `rlsys.envs.table`, or what a module has that an id names.

    Attributes:
      name: what people call it, in the plural.
      knows: tells whether an id belongs to it; of MODULE:NAME in a module of its own, whether the NAME does.
      ids: its ids that are suggested for a mistyped one, the more usual first.
      make: (configuration, seed, render mode) -> the simulator and the frames that one of its steps takes. It is
        seeded: its next `reset()` begins the first episode of that seed.
      config_type: the env section of its environments: `EnvConfig`, or one with fields of the family's own, each with
        a docstring, a default and bounds (`rlsys.config.quantities`).
      make_simulator: (configuration, seeds) -> a simulator that steps one environment per seed at once and does what
        those that `make` returns do one by one; None where there is no such thing.
      wrap: (configuration, environment) -> the environment in what the family puts around whole games: their score is
        kept further inside, and what is done or told there counts as part of the game.
      noops: how its games begin after no-ops; None where they have none.
      takes_kwargs: whether `make` hands `env.kwargs` on to a constructor; where it does not, there can be none.
      package: the module that it needs beyond what rlsys brings along.
      how_to_install: what to do if that is missing.
    """

    name: str
    knows: Callable[[str], bool]
    ids: Callable[[], Iterable[str]]
    make: Callable[[C, int, str | None], tuple[gymnasium.Env, int]]
    config_type: type[C]
    make_simulator: Callable[[C, Sequence[int]], Simulator | None] = _none_at_once
    wrap: Callable[[C, gymnasium.Env], gymnasium.Env] = _as_it_is
    noops: NoOps[C] | None = None
    takes_kwargs: bool = False
    package: str | None = None
    how_to_install: str = ""
