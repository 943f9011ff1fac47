"""Which stored rows follow one another in an episode, and what of that a query draws from.

    segments, as they were shipped      |---0---|---1---|--2--||---3---|---4---|    each anywhere in the ring
    episodes                            |---------a-----------||-------b-------|
    runs of a query, turns 1 to 3               |-----a-------||---b---|            rows that are asked for
    windows of L = 4 rows                         [oooo]                            inside a run,
                                                            [oo..]                  or over its edges

Rows of all runs are numbered in one line, piece by piece: a piece is what one segment adds to its episode, its items.
The observation after a row lies in the slot after its own, whatever segment comes next.

Shape legend: P pieces, R runs, B windows, L rows of a window, E environments, T rows of an unroll.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlsys.api import SequenceQuery, TurnTooSmall
from rlsys.replay.ring import Entry, SegmentRing
from rlsys.types import Array, Batch, Sequences

_PIECE = np.dtype(
    [
        (name, np.int64)
        for name in ("slot", "rows", "worker", "incarnation", "environment", "episode", "row", "turn", "is_cut_short")
    ]
)
_STREAM = ("worker", "incarnation", "environment", "episode")
"""What rows of one episode have in common."""
_LEAST = 64
_MOST_QUERIES = 16
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Windows:
    """Where windows lie.

    Attributes:
      slot: `[B, L]`, of each row.
      mask: `[B, L]` bool, whether there is such a row; the slots of others mean nothing.
      row: `[B]`, row of the episode at which it begins.
      probability: `[B]`, with which it was drawn.
    """

    slot: Array
    mask: Array
    row: Array
    probability: Array

    @property
    def first_slot(self) -> Array:
        """`[B]`, slot of the first row that there is."""
        slots: Array = self.slot[np.arange(len(self.slot)), self.mask.argmax(axis=1)]
        return slots

    def observations(self, num_frames: int = 0) -> tuple[Array, Array]:
        """Returns slots of the first so many of `[B, L + 1]` observations, or all, and whether there are such."""
        slot = np.concatenate([self.slot, self.slot[:, -1:] + 1], axis=1)
        slot[:, 1:-1] = np.where(self.mask[:, 1:], self.slot[:, 1:], self.slot[:, :-1] + 1)
        nothing = np.zeros((len(slot), 1), np.bool_)
        mask = np.concatenate([self.mask, nothing], axis=1) | np.concatenate([nothing, self.mask], axis=1)
        wanted = num_frames or slot.shape[1]
        return slot[:, :wanted], mask[:, :wanted]

    def read(self, ring: SegmentRing, num_items: int, num_frames: int = 0) -> Sequences:
        """Copies the windows out of a ring.

        Args:
          ring: where the rows are.
          num_items: in its table.
          num_frames: observations that are copied of each window; 0 for all.
        """
        places = dict.fromkeys(ring.columns, (self.slot, self.mask)) | {"observation": self.observations(num_frames)}
        data = {name: _take(ring, name, slots, mask) for name, (slots, mask) in places.items()}
        return Sequences(
            observation=data.pop("observation"),
            action=data.pop("action"),
            reward=data.pop("reward"),
            terminated=data.pop("terminated"),
            truncated=data.pop("truncated"),
            extras=data,
            mask=self.mask,
            row=self.row,
            key=ring.keys(self.first_slot),
            probability=self.probability,
            num_items=num_items,
            weights_version=ring.versions[self.first_slot],
        )


class Episodes:
    """Pieces of all stored episodes, in the order in which they came."""

    def __init__(self) -> None:
        self._pieces = np.zeros(_LEAST, _PIECE)
        self._first = self._stop = 0
        self._runs: dict[SequenceQuery, Runs] = {}

    def add(self, entry: Entry) -> None:
        """Takes in what was stored last."""
        if self._stop == len(self._pieces):
            stored = self._pieces[self._first :]
            self._pieces = np.zeros(max(_LEAST, 2 * len(stored)), _PIECE)
            self._pieces[: len(stored)] = stored
            self._first, self._stop = 0, len(stored)
        of_episode = (*entry.stream, entry.row, entry.turn, entry.is_cut_short)
        self._pieces[self._stop] = (entry.items.start, entry.num_items, *of_episode)
        self._stop += 1
        self._runs.clear()

    def remove_oldest(self) -> None:
        """Forgets what was stored first."""
        self._first += 1
        self._runs.clear()

    def runs(self, query: SequenceQuery) -> "Runs":
        """Returns what a query draws from; it is found once, until something comes or leaves."""
        if query not in self._runs:
            if len(self._runs) == _MOST_QUERIES:
                self._runs.clear()
            self._runs[query] = Runs(self._pieces[self._first : self._stop], query)
        return self._runs[query]

    def turn(self, turn: int, unrolls: int, length: int, environments: Sequence[int]) -> Array:
        """Finds what environments did in a turn, as unrolls with their bootstrap rows (see `rlsys.types`).

        Args:
          turn: its number.
          unrolls: of each environment. Time limits add rows; what is too much then is left out.
          length: rows T.
          environments: E of them.

        Returns:
          `[E * unrolls, T + 1]` slots: of rows, and of the observation after the last.

        Raises:
          TurnTooSmall: an environment did less.
        """
        pieces = self._pieces[self._first : self._stop]
        pieces = pieces[pieces["turn"] == turn]
        pieces = pieces[np.lexsort([pieces[name] for name in ("row", "episode", "incarnation", "environment")])]
        found = []
        for environment in environments:
            own = pieces[pieces["environment"] == environment]
            surplus = int(own["rows"].sum()) - unrolls * length  # what was begun before an interruption, too
            if surplus < 0:
                there = f"{surplus + unrolls * length:,} of {unrolls * length:,} rows of environment {environment:,}"
                raise TurnTooSmall(f"turn {turn:,} once more, of which {there} are there")
            found += _cut(own, surplus, unrolls, length)
        return np.array(found, np.int64).reshape(-1, length + 1)


class Runs:
    """What a query draws from.

    Attributes:
      mass: how likely this is beside other shards: its rows, or its runs.
    """

    def __init__(self, pieces: Array, query: SequenceQuery) -> None:
        """Finds them.

        Args:
          pieces: `[P]` of `_PIECE`, the oldest first.
          query: what is asked for.
        """
        self._query = query
        age = np.lexsort([pieces[name] for name in ("row", *reversed(_STREAM))])
        pieces = pieces[age]
        first, stop = _part(pieces, query)
        if query.turns is not None:
            stop = np.where((pieces["turn"] >= query.turns[0]) & (pieces["turn"] < query.turns[1]), stop, first)
        asked = stop > first
        pieces, first, stop, age = pieces[asked], first[asked], stop[asked], age[asked]
        self._slot, self._row = pieces["slot"] + first, pieces["row"] + first
        self._offset = np.cumsum(stop - first) - (stop - first)
        follows = np.zeros(len(pieces), np.bool_)
        follows[1:] = pieces["row"][1:] + first[1:] == pieces["row"][:-1] + stop[:-1]
        for name in _STREAM:
            follows[1:] &= pieces[name][1:] == pieces[name][:-1]
        run = np.flatnonzero(~follows)
        self._begin = self._offset[run]
        self._end = np.append(self._begin, (stop - first).sum())[1:]
        # The observation after a run's last row belongs to another part, where the run is cut within a segment.
        last = np.append(run, len(pieces))[1:] - 1
        self._end = self._end - (stop[last] < pieces["rows"][last])
        self._low, self._count = self._starts()
        self.mass, self._weight = self._weigh(age[run])
        self._reached = np.cumsum(self._weight)

    def draw(self, position_B: Array) -> Windows:
        """Returns the windows at fractions of the mass, which must not be 0."""
        total = self._reached[-1]
        at = np.minimum(np.multiply(position_B, total), np.nextafter(total, 0.0))
        run = np.minimum(np.searchsorted(self._reached, at, side="right"), len(self._reached) - 1)
        share = (at - (self._reached[run] - self._weight[run])) / self._weight[run]
        start = np.minimum((share * self._count[run]).astype(np.int64), self._count[run] - 1)
        probability = self._weight[run] / (self._count[run] * total)
        return self._windows(self._begin[run] + self._low + np.maximum(start, 0), run, probability)

    def at(self, slots_B: Array, probability_B: Array) -> Windows:
        """Returns the windows that begin at rows in these slots."""
        by_slot = np.argsort(self._slot)
        piece = by_slot[np.searchsorted(self._slot[by_slot], slots_B, side="right") - 1]
        line = self._offset[piece] + slots_B - self._slot[piece]
        return self._windows(line, np.searchsorted(self._begin, line, side="right") - 1, probability_B)

    def _starts(self) -> tuple[int, Array]:
        """Returns where in a run its first window begins, and how many there are in each."""
        query, size = self._query, self._end - self._begin
        before = query.length - 1 if query.reach in ("before", "both") else 0
        after = query.length - 1 if query.reach in ("after", "both") else 0
        count = np.maximum(0, size + before + after - query.length + 1)
        count[size <= 0] = 0
        if not query.begins:
            return -before, count
        return 0, np.minimum(1, np.maximum(0, size + after - query.length + 1))

    def _weigh(self, age: Array) -> tuple[float, Array]:
        """Returns the mass of all, and the weight of each run; `age` says when each began."""
        weight = self._count.astype(np.float64)
        if self._query.by == "episode":
            weight = np.minimum(weight, 1.0)
        mass = float(weight.sum())
        if not self._query.age_weights or not mass:
            return mass, weight
        drawn = np.flatnonzero(weight)
        oldest_first = drawn[np.argsort(age[drawn])]
        shares = zip(np.array_split(oldest_first, len(self._query.age_weights)), self._query.age_weights, strict=True)
        for share, wanted in shares:
            weight[share] *= wanted / weight[share].sum() if len(share) else 0.0
        if not weight.any():  # fewer runs than shares, and those that there are count nothing
            weight[drawn] = 1.0
        return mass, weight

    def _windows(self, line_B: Array, run_B: Array, probability_B: Array) -> Windows:
        line_BL = line_B[:, None] + np.arange(self._query.length)
        mask_BL = (line_BL >= self._begin[run_B, None]) & (line_BL < self._end[run_B, None])
        inside_BL = np.clip(line_BL, self._begin[run_B, None], self._end[run_B, None] - 1)
        piece_BL = np.searchsorted(self._offset, inside_BL.ravel(), side="right").reshape(inside_BL.shape) - 1
        begin_B = np.searchsorted(self._offset, self._begin[run_B], side="right") - 1
        slot_BL = self._slot[piece_BL] + inside_BL - self._offset[piece_BL]
        row_B = self._row[begin_B] + line_B - self._begin[run_B]
        return Windows(slot_BL, mask_BL, row_B, probability_B)


def is_held_out(episode: Array | int, every: int) -> Array:
    """Tells which of an environment's episodes are held out: one in so many, its second first; of 0 none is."""
    return np.equal(np.mod(episode, every), 1) if every else np.zeros(np.shape(episode), np.bool_)


def _part(pieces: Array, query: SequenceQuery) -> tuple[Array, Array]:
    """Returns, of each piece, the first row that is asked for and the first after these that is not."""
    rows = pieces["rows"]
    nothing = np.zeros_like(rows)
    if query.part == "all":
        return nothing, rows
    if query.held_out_every:
        is_held = is_held_out(pieces["episode"], query.held_out_every)
        return nothing, np.where(is_held == (query.part == "held_out"), rows, 0)
    epoch = np.searchsorted(query.epochs, pieces["turn"], side="right")
    by_epoch = np.argsort(epoch, kind="stable")
    in_line, sorted_epoch = np.cumsum(rows[by_epoch]) - rows[by_epoch], epoch[by_epoch]
    before = np.empty_like(rows)  # of each piece: rows of its epoch that come before it
    before[by_epoch] = in_line - in_line[np.searchsorted(sorted_epoch, sorted_epoch)]
    learned = np.floor(np.bincount(epoch, weights=rows) * (1.0 - query.held_out) + _ROUNDING).astype(np.int64)
    cut = np.clip(learned[epoch] - before, 0, rows)
    return (nothing, cut) if query.part == "learned" else (cut, rows)


def _cut(pieces: Array, first: int, unrolls: int, length: int) -> list[Array]:
    """Returns slots of `[T + 1]` for each unroll of one environment, whose first row is that of this number."""
    stop = pieces["slot"] + pieces["rows"] + pieces["is_cut_short"]
    slots = np.concatenate([np.arange(*bounds) for bounds in zip(pieces["slot"], stop, strict=True)])
    is_bootstrap = np.isin(slots, stop[pieces["is_cut_short"] > 0] - 1)
    at = int(np.flatnonzero(~is_bootstrap)[first])
    found = []
    for _ in range(unrolls):
        at += int(is_bootstrap[at])  # it is the observation after the last unroll
        rows = slots[at : at + length]
        at += length
        found.append(np.append(rows, rows[-1] + (not is_bootstrap[at - 1])))
    return found


def read_unrolls(ring: SegmentRing, slots: Array, turn: int, environment: Array) -> Batch:
    """Copies unrolls out of a ring.

    Args:
      ring: where the rows are.
      slots: `[B, T + 1]`, as `Episodes.turn` finds them.
      turn: in which it was done.
      environment: `[B]`, whose the unrolls are.
    """
    slots_BT = slots[:, :-1]
    data = {name: ring.take(name, slots_BT) for name in ring.columns if name != "observation"}
    observation = ring.stacks(slots.ravel())
    return Batch(
        observation=observation.reshape(*slots.shape, *observation.shape[1:]),
        action=data.pop("action"),
        reward=data.pop("reward"),
        terminated=data.pop("terminated"),
        truncated=data.pop("truncated"),
        extras=data,
        num_rows=np.full(len(slots), slots_BT.shape[1]),
        key=ring.keys(slots_BT[:, 0]),
        probability=np.ones(len(slots)),
        num_items=slots_BT.size,
        weights_version=ring.versions[slots_BT[:, -1]],
        environment=environment,
        turn=turn,
    )


def _take(ring: SegmentRing, name: str, slots: Array, mask: Array) -> Array:
    """Returns rows of a column where the mask says that there are some, and zeros elsewhere."""
    if mask.all():
        return ring.take(name, slots)
    rows = ring.take(name, slots[mask])
    whole = np.zeros((*mask.shape, *rows.shape[1:]), rows.dtype)
    whole[mask] = rows
    return whole
