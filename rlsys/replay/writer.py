"""Cuts the steps of a worker's environments into segments.

The rows of one environment wait in a buffer. When `length` new ones are there, or the episode ends, they are shipped:

    |--lead--|--------items--------|-overlap-|    unfinished: the overlap comes again as items, behind a new lead
    |--lead--|-------------items-------------|    ended: no row is left

So each transition is an item exactly once, followed by at least `overlap` rows or by the end of its episode.

Shape legend: E environments.
"""

from collections.abc import Mapping

import numpy as np

from rlsys.api import Saved, Segments
from rlsys.errors import CheckpointError
from rlsys.replay import schema
from rlsys.types import Array, EnvSpec, Segment, Source, State


class SegmentWriter:
    """Buffers of the E environments that a worker steps in lockstep. Segments own their arrays."""

    def __init__(self, spec: Segments, env: EnvSpec, worker: int, incarnation: int, num_environments: int) -> None:
        """Makes empty buffers.

        Args:
          spec: how to cut.
          env: gives the columns and the frame stack, which makes the lead.
          worker: index of the worker, for `Source`.
          incarnation: how often the worker has been restarted. After a resume it must be new wherever replay might have
            seen segments that were made after the save.
          num_environments: E.
        """
        self._spec = spec
        self._worker = worker
        self._incarnation = incarnation
        self._sequence = 0
        self._stack_ndim = 1 + len(env.policy_observation.shape) if env.num_stack > 1 else 0
        self._context = schema.context_rows(env)
        self._specs = schema.column_specs(env, spec)
        size = (num_environments, schema.max_segment_rows(env, spec))
        self._columns = {name: np.zeros(size + column.shape, column.dtype) for name, column in self._specs.items()}
        self._priority = np.ones(size)
        self._environments = np.arange(num_environments)
        self._num_rows = np.zeros(num_environments, np.int64)
        self._num_new = np.zeros(num_environments, np.int64)
        self._first_item = np.zeros(num_environments, np.int64)
        self._episode = np.zeros(num_environments, np.int64)
        self._row = np.zeros(num_environments, np.int64)
        """Of the episode, that the next segment's first item is."""

    def rows_that_look_ahead(self, truncated: Array) -> Array:
        """See `Writer`: all, for any of them may be the last one of its episode."""
        return self._environments

    def rows_that_bootstrap(self, terminated: Array, truncated: Array) -> Array:
        """See `Writer`."""
        return np.flatnonzero(truncated & ~terminated) if self._spec.bootstrap_extras else self._environments[:0]

    def append_batch(
        self,
        *,
        observation: Array,
        action: Array,
        reward: Array,
        terminated: Array,
        truncated: Array,
        extras: Mapping[str, Array],
        priority: Array | None,
        weights_version: int,
        next_observation: Array,
        state: State | None = None,
        bootstrap_extras: Mapping[str, Array] | None = None,
        ships_all: bool = False,
        turn: int = 0,
    ) -> list[Segment]:
        """See `Writer`: returns the segments that the step completes.

        Args:
          observation: `[E, *frame]`, or `[E, num_stack, *frame]` of which the newest frame is kept: what `action` was
            chosen from.
          action: `[E, *action]`.
          reward: `[E]` float32, caused by `action`.
          terminated: `[E]` bool, likewise.
          truncated: `[E]` bool, likewise.
          extras: name -> `[E, …]`, with the names of the spec.
          priority: `[E]` initial priorities as items, or None for 1.
          weights_version: version of the weights that chose `action`.
          state: left out; segments are drawn from any of their rows.
          next_observation: as `observation`, what `action` led to: of an ended episode its last observation, not the
            first of the next one.
          bootstrap_extras: extras of `next_observation`, needed in the rows that `rows_that_bootstrap` names; others
            are ignored.
          ships_all: completes all segments with this step, but for what their overlap holds back.
          turn: the newest that the worker was asked for.

        Raises:
          ReplayError: an array does not fit the specs.
        """
        step = {
            "observation": self._newest(observation),
            "action": action,
            "reward": reward,
            "terminated": terminated,
            "truncated": truncated,
            **extras,
        }
        schema.check_names(step, self._specs, "a step")
        at = (self._environments, self._num_rows)
        for name, values in step.items():
            schema.check_array(name, values, len(self._environments), self._specs[name])
            self._columns[name][at] = values
        self._priority[at] = 1.0 if priority is None else priority
        self._num_rows += 1
        self._num_new += 1
        ended = terminated | truncated
        due = (ended | (self._num_new >= self._spec.length) | ships_all).nonzero()[0]
        if not len(due):
            return []
        newest = self._newest(next_observation)
        schema.check_array("next_observation", newest, len(self._environments), self._specs["observation"])
        segments = []
        for e in due.tolist():
            last_row = {"observation": newest[e]}
            if self._spec.bootstrap_extras and truncated[e] and not terminated[e]:
                assert bootstrap_extras is not None, "a truncated episode needs the extras of its last observation"
                last_row |= {name: bootstrap_extras[name][e] for name in self._spec.extras}
            segment = self._cut(e, bool(ended[e]), last_row, priority is not None, weights_version)
            if segment is not None:
                segment.turn = turn
                segments.append(segment)
        return segments

    def save(self) -> Saved:
        """Returns the rows that wait, without the unused parts of the buffers, and the counters."""
        return {
            "sequence": self._sequence,
            "num_rows": self._num_rows.copy(),
            "num_new": self._num_new.copy(),
            "first_item": self._first_item.copy(),
            "episode": self._episode.copy(),
            "row": self._row.copy(),
            "columns": {name: self._waiting(column) for name, column in self._columns.items()},
            "priority": self._waiting(self._priority),
        }

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned.

        Raises:
          CheckpointError: it was saved for another number of environments, or with other columns.
        """
        num_saved = len(saved["num_rows"])
        if num_saved != len(self._environments) or saved["columns"].keys() != self._columns.keys():
            raise CheckpointError(
                f"the saved writer has {num_saved} environments with {sorted(saved['columns'])}, this one "
                f"{len(self._environments)} with {sorted(self._columns)}. Resume with the saved experiment and "
                "environments_per_worker."
            )
        self._sequence = saved["sequence"]
        self._num_rows[:] = saved["num_rows"]
        self._num_new[:] = saved["num_new"]
        self._first_item[:] = saved["first_item"]
        self._episode[:] = saved["episode"]
        self._row[:] = saved["row"]
        for name, column in self._columns.items():
            self._restore(column, saved["columns"][name])
        self._restore(self._priority, saved["priority"])

    def _newest(self, observation: Array) -> Array:
        return observation[:, -1] if observation.ndim == self._stack_ndim else observation

    def _cut(
        self, e: int, ended: bool, last_row: Mapping[str, Array], has_priority: bool, weights_version: int
    ) -> Segment | None:
        """Returns environment e's rows as a segment, or None where all of them would be overlap."""
        self._num_new[e] = 0
        num_rows, first = int(self._num_rows[e]), int(self._first_item[e])
        stop = num_rows if ended else num_rows - self._spec.overlap
        if stop <= first:
            return None
        segment = Segment(
            observation=self._with_last("observation", e, last_row),
            action=self._columns["action"][e, :num_rows].copy(),
            reward=self._columns["reward"][e, :num_rows].copy(),
            terminated=self._columns["terminated"][e, :num_rows].copy(),
            truncated=self._columns["truncated"][e, :num_rows].copy(),
            extras={name: self._with_last(name, e, last_row) for name in self._spec.extras},
            first_item=first,
            num_items=stop - first,
            priority=self._priority[e, first:stop].copy() if has_priority else None,
            weights_version=weights_version,
            source=Source(self._worker, self._incarnation, self._sequence),
            environment=self._worker * len(self._environments) + e,
            episode=int(self._episode[e]),
            row=int(self._row[e]),
        )
        self._sequence += 1
        self._row[e] = 0 if ended else self._row[e] + stop - first
        self._episode[e] += ended
        self._drop(e, num_rows if ended else max(0, stop - self._context), stop)
        return segment

    def _with_last(self, name: str, e: int, last_row: Mapping[str, Array]) -> Array:
        """Returns environment e's rows of a column and the row after them, zero where it is not given."""
        rows = self._columns[name][e, : self._num_rows[e]]
        result = np.empty((len(rows) + 1, *rows.shape[1:]), rows.dtype)
        result[:-1] = rows
        result[-1] = last_row.get(name, 0)
        return result

    def _drop(self, e: int, start: int, first_item: int) -> None:
        """Moves environment e's rows from `start` on to the front of its buffers."""
        num_rows = int(self._num_rows[e])
        for column in (*self._columns.values(), self._priority):
            column[e, : num_rows - start] = column[e, start:num_rows]
        self._num_rows[e] = num_rows - start
        self._first_item[e] = first_item - start

    def _waiting(self, column: Array) -> Array:
        return np.concatenate([rows[:count] for rows, count in zip(column, self._num_rows, strict=True)])

    def _restore(self, column: Array, waiting: Array) -> None:
        parts = np.split(waiting, np.cumsum(self._num_rows)[:-1])
        for rows, part in zip(column, parts, strict=True):
            rows[: len(part)] = part
