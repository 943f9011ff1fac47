"""Learner ranks draw together or not at all; what one of them has drawn meanwhile is kept for what was asked."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from rlsys.api import NothingToDraw, ReplayNotReady, SequenceQuery, TurnTooSmall
from rlsys.ranks.agreed_replay import AgreedReplay


class Counting:
    """Replay whose windows are the query and a number."""

    deadline, turn = float("inf"), 0

    def __init__(self) -> None:
        self.drawn = 0

    def sequences(self, query: SequenceQuery) -> Any:
        if query.length > 100:
            raise NothingToDraw(query)
        self.drawn += 1
        return query, self.drawn

    def sample(self, *arguments: Any) -> Any:
        raise TurnTooSmall("nothing came")

    def collected(self, unrolls: int, length: int) -> Any:
        self.drawn += 1
        return (unrolls, length), self.drawn


def make(votes: list[bool]) -> AgreedReplay:
    """Returns replay whose ranks vote like that where this one is ready."""
    ranks: Any = SimpleNamespace(all=lambda mine: votes.pop(0) and mine)
    replay: Any = Counting()
    agreed = AgreedReplay(replay, ranks)
    agreed.deadline = time.monotonic() + 60
    return agreed


def test_a_step_that_begins_again_is_given_what_it_asks_for() -> None:
    many, few = SequenceQuery(8, 4), SequenceQuery(1, 4)
    agreed = make([True, False, True, False, True, True, True])  # three where one is not ready: and why
    assert agreed.sequences(many) == (many, 1)
    with pytest.raises(ReplayNotReady, match="the other learner ranks"):
        agreed.sequences(few)
    assert agreed.sequences(many) == (many, 3), "drawn anew: the first was given"
    assert agreed.sequences(few) == (few, 2), "what was drawn when another rank was not ready"
    assert agreed.collected(2, 4) == ((2, 4), 4)


def test_what_is_not_there_for_one_rank_is_there_for_none() -> None:
    there, missing = SequenceQuery(1, 4, part="held_out"), SequenceQuery(1, 200, part="held_out")
    agreed = make([True, True, False, False, True])
    with pytest.raises(NothingToDraw, match="200 rows"):
        agreed.sequences(missing)
    with pytest.raises(NothingToDraw, match="4 rows"):
        agreed.sequences(there)
    assert agreed.sequences(there) == (there, 2), "drawn anew: it was not given"


def test_a_turn_is_too_small_where_it_is_so_for_all_ranks() -> None:
    with pytest.raises(TurnTooSmall, match="nothing came"):
        make([True, True, True]).sample(4, 2)
    with pytest.raises(ReplayNotReady, match="nothing came") as caught:
        make([False, True, False]).sample(4, 2)
    assert not isinstance(caught.value, TurnTooSmall)
