"""Phases that a learner goes through, one unit a step: which work is next, and where an interrupted one goes on.

    schedule = Schedule(phases)
    match schedule.now.kind: …          # do one unit of it
    schedule.advance()

Collecting is one of the kinds: with each of its units a turn begins (`Learner.turns`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rlsys.api.saved import Saved

Kind = TypeVar("Kind", bound=str)
_COLLECT = "collect"


@dataclass(frozen=True)
class Phase(Generic[Kind]):
    """Units of one kind in a row: turns where it is "collect", updates or whatever else a learner does."""

    kind: Kind
    epoch: int
    units: int


class Schedule(Generic[Kind]):
    """Where a learner is in its phases.

    Attributes:
      turns: how many turns of collecting have begun.
      steps: units that are done, of all phases.
    """

    def __init__(self, phases: Sequence[Phase[Kind]]) -> None:
        """Begins at the first of the phases, which collects; each has units."""
        self._phases, self._index, self._done = tuple(phases), 0, 0
        self.turns, self.steps = 1, 0

    @property
    def now(self) -> Phase[Kind]:
        """The phase whose next unit is to be done; there is none when all are done."""
        return self._phases[self._index]

    @property
    def index(self) -> int:
        """Which of all phases that is, from 0."""
        return self._index

    @property
    def is_at_beginning(self) -> bool:
        """Whether nothing of the present phase is done."""
        return not self._done

    def advance(self) -> None:
        """One more unit of the present phase is done."""
        self.steps, self._done = self.steps + 1, self._done + 1
        if self._done == self.now.units:
            self._index, self._done = self._index + 1, 0
        if self._index < len(self._phases) and self.now.kind == _COLLECT:
            self.turns += 1

    def steps_left(self) -> int:
        """Returns the units of this phase and all later ones that are not done."""
        return sum(phase.units for phase in self._phases[self._index :]) - self._done

    def save(self) -> Saved:
        """Returns where it is."""
        return {"phase": self._index, "done": self._done, "turns": self.turns, "steps": self.steps}

    def load(self, saved: Saved) -> None:
        """Goes on from there."""
        self._index, self._done = saved["phase"], saved["done"]
        self.turns, self.steps = saved["turns"], saved["steps"]
