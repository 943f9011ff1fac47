"""Methods beside one another on the games of a suite: those that were run, and those that were published."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from rlsys.errors import ConfigError
from rlsys.metrics.suites.aggregates import Estimate, Scores, aggregate, improvement, profile
from rlsys.metrics.suites.results import Results
from rlsys.metrics.suites.suite import Method, Suite
from rlsys.types import Array

THRESHOLDS: Array = np.linspace(0.0, 4.0, 161)
"""Normalised scores at which profiles are computed."""


@dataclass(frozen=True)
class Comparison:
    """Methods on those games of a suite on which all that were run have a run.

    Attributes:
      suite: the suite.
      games: that are compared.
      run: methods that were run.
      troubles: what is to be said of their runs.
    """

    suite: Suite
    games: Sequence[str]
    run: Sequence[Method]
    troubles: Sequence[str] = ()

    @classmethod
    def of(cls, suite: Suite, found: Results) -> "Comparison":
        """Puts runs beside what was published.

        Raises:
          ConfigError: there is no game on which all methods have a run.
        """
        if not found.methods:
            raise ConfigError(
                f"no run has a return in a game of {suite.name}: {'; '.join(found.troubles[:3])}. Train on such games, "
                f"with run.games=[{suite.name}] for example."
            )
        games = [game for game in suite.references if all(game in method.returns for method in found.methods)]
        if not games:
            which = "; ".join(f"{method.name} has {', '.join(method.returns)}" for method in found.methods[:3])
            raise ConfigError(f"no game of {suite.name} was played by all methods: {which}. Choose another FOLDER.")
        return cls(suite, games, found.methods, found.troubles)

    @property
    def methods(self) -> list[Method]:
        """Those that were run, then those that were published under other names."""
        taken = {method.name for method in self.run}
        return [*self.run, *(method for method in self.suite.methods if method.name not in taken)]

    @cached_property
    def scores(self) -> dict[str, Scores]:
        """Method -> normalised returns of each game's runs."""
        return {
            method.name: [
                np.array([self.suite.normalised(game, value) for value in method.returns[game]]) for game in self.games
            ]
            for method in self.methods
        }

    @cached_property
    def aggregates(self) -> dict[str, dict[str, Estimate]]:
        """Method -> each aggregate."""
        return {name: aggregate(scores) for name, scores in self.scores.items()}

    @cached_property
    def improvements(self) -> dict[tuple[str, str], Estimate]:
        """(Method that was run, another of which there are runs) -> how probable it is that the first is better."""
        first = [method.name for method in self.run]
        others = [name for name in self._with_runs if name not in first]
        pairs = [*itertools.combinations(first, 2), *itertools.product(first, others)]
        return {(one, other): improvement(self.scores[one], self.scores[other]) for one, other in pairs}

    @cached_property
    def profiles(self) -> dict[str, Estimate]:
        """Method of which there are runs -> share of them above each of `THRESHOLDS`."""
        return {name: profile(self.scores[name], THRESHOLDS) for name in self._with_runs}

    @property
    def _with_runs(self) -> list[str]:
        """Methods of which there is more than a mean for each game."""
        run = {method.name for method in self.run}
        return [name for name, scores in self.scores.items() if name in run or max(map(len, scores)) > 1]

    def num_as_good(self, name: str) -> int:
        """Returns in how many games a method is as good as a human."""
        return sum(float(score.mean()) >= 1.0 for score in self.scores[name])

    def returns_of(self, game: str) -> Mapping[str, Sequence[float]]:
        """Returns method -> returns in any game of the suite, also one that is not compared."""
        return {method.name: method.returns[game] for method in self.methods if game in method.returns}
