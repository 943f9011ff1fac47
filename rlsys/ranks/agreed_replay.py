"""Learner ranks that draw together or not at all."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Protocol, TypeVar, cast

from rlsys.api import NothingToDraw, Replay, ReplayNotReady, SequenceQuery, TurnTooSmall
from rlsys.types import Array, Batch, Sequences

_Drawn = TypeVar("_Drawn", Batch, Sequences)


class Agreement(Protocol):
    """What a rank needs of the others (`runtime.distributed.Ranks`)."""

    rank: int
    num_ranks: int

    def average(self, tensors: list[object]) -> None:
        """Averages over the ranks in place."""

    def all(self, mine: bool) -> bool:
        """Returns True if it is True on all ranks."""


class Alone:
    """The agreement of a single rank."""

    rank = 0
    num_ranks = 1

    def average(self, tensors: list[object]) -> None:
        """Leaves the tensors as they are."""

    def all(self, mine: bool) -> bool:
        """Returns its own vote."""
        return mine


class PatientReplay(Replay, Protocol):
    """Replay whose waits end.

    Attributes:
      deadline: monotonic seconds, when they end with `ReplayNotReady`.
      turn: where collecting and learning take turns, the one that what is drawn from a table waits for.
    """

    deadline: float
    turn: int


class AgreedReplay:
    """Replay for ranks in lockstep: either all ranks get a batch, or none does and each keeps what it has.

    Without this a rank that waits for data would leave the others inside a collective for ever.
    """

    def __init__(self, replay: PatientReplay, ranks: Agreement) -> None:
        self._replay = replay
        self._ranks = ranks
        self._kept: dict[Hashable, Batch | Sequences] = {}
        """By what was asked for: a step that asks for several things begins again with the first."""

    @property
    def deadline(self) -> float:
        """When waiting, and with it this rank's readiness, ends."""
        return self._replay.deadline

    @deadline.setter
    def deadline(self, deadline: float) -> None:
        self._replay.deadline = deadline

    @property
    def turn(self) -> int:
        """The turn that samples wait for."""
        return self._replay.turn

    @turn.setter
    def turn(self, turn: int) -> None:
        self._replay.turn = turn

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Draws a batch once every rank has one before its deadline."""
        asked = (batch_size, length, None if rows is None else tuple(rows.items()))
        return self._agreed(asked, lambda: self._replay.sample(batch_size, length, rows))

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Draws windows, likewise."""
        return self._agreed(query, lambda: self._replay.sequences(query))

    def collected(self, unrolls: int, length: int) -> Batch:
        """Returns what a turn brought, likewise."""
        return self._agreed((unrolls, length), lambda: self._replay.collected(unrolls, length))

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Passes them on."""
        self._replay.update_priorities(keys, priorities)

    def _agreed(self, asked: Hashable, draw: Callable[[], _Drawn]) -> _Drawn:
        waiting, nothing = ReplayNotReady("the other learner ranks"), None
        if asked not in self._kept:
            try:
                self._kept[asked] = draw()
            except ReplayNotReady as reason:
                waiting = reason
            except NothingToDraw as answer:
                nothing = answer
        if not self._ranks.all(asked in self._kept and time.monotonic() < self.deadline):
            if not self._ranks.all(nothing is None):
                self._kept.pop(asked, None)
                assert isinstance(asked, SequenceQuery), "only windows may not be there"
                raise nothing or NothingToDraw(asked)
            is_too_small = self._ranks.all(isinstance(waiting, TurnTooSmall))
            raise waiting if is_too_small else ReplayNotReady(str(waiting))
        return cast("_Drawn", self._kept.pop(asked))
