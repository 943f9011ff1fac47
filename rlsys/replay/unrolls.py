"""Cuts the steps of a worker's environments into unrolls: T rows of each, whatever begins or ends in them.

Espeholt et al. 2018, section 3, https://arxiv.org/abs/1802.01561, whose actors send the same. An episode that a time
limit ends gets a bootstrap row (see `rlsys.types`), which upstreams leave out: they treat a time limit as an end.

Shape legend: E environments, S frames kept for stacking, T rows of an unroll, n unrolls.
"""

from collections.abc import Mapping

import numpy as np

from rlsys.api import Saved, Unrolls
from rlsys.errors import CheckpointError
from rlsys.replay import schema
from rlsys.types import Array, EnvSpec, Source, State, UnrollBlock


class UnrollWriter:
    """Buffers of the E environments that a worker steps in lockstep; what it returns owns its arrays.

    All unrolls that are completed by one step come in one block, so a worker whose episodes are long ships E at a time.
    """

    def __init__(self, spec: Unrolls, env: EnvSpec, worker: int, incarnation: int, num_environments: int) -> None:
        """Makes empty buffers.

        Args:
          spec: `length` is T.
          env: gives the columns and the frame stack.
          worker: index of the worker.
          incarnation: how often the worker has been restarted; see `SegmentWriter`.
          num_environments: E.
        """
        self._worker = worker
        self._incarnation = incarnation
        self._sequence = 0
        self._length = spec.length
        self._num_before = env.num_stack - 1
        self._stack_ndim = 1 + len(env.policy_observation.shape) if env.num_stack > 1 else 0
        self._specs = schema.column_specs(env, spec)
        self._extras = tuple(spec.extras)
        frame = self._specs.pop("observation")
        size = (num_environments, spec.length)
        self._frames = np.zeros((num_environments, self._num_before + spec.length + 1, *frame.shape), frame.dtype)
        self._columns = {name: np.zeros(size + column.shape, column.dtype) for name, column in self._specs.items()}
        self._state = {name: np.zeros((num_environments, *part.shape), part.dtype) for name, part in spec.state.items()}
        self._environments = np.arange(num_environments)
        self._num_rows = np.zeros(num_environments, np.int64)
        self._position = np.zeros(num_environments, np.int64)
        self._age = np.zeros(num_environments, np.int64)
        """Of row 0: frames before it that belong to its episode."""
        self._episode_rows = np.zeros(num_environments, np.int64)
        """Frames of the running episode, the next row's not included."""

    def rows_that_look_ahead(self, truncated: Array) -> Array:
        """See `Writer`."""
        return np.flatnonzero(truncated | (self._num_rows + 1 == self._length))

    def rows_that_bootstrap(self, terminated: Array, truncated: Array) -> Array:
        """See `Writer`: none, a bootstrap row has no extras."""
        return self._environments[:0]

    def append_batch(
        self,
        *,
        observation: Array,
        action: Array,
        reward: Array,
        terminated: Array,
        truncated: Array,
        extras: Mapping[str, Array],
        weights_version: int,
        next_observation: Array,
        state: State,
        priority: Array | None = None,
        bootstrap_extras: Mapping[str, Array] | None = None,
        ships_all: bool = False,
        turn: int = 0,
    ) -> list[UnrollBlock]:
        """See `Writer`: adds a row more where an episode was truncated; returns what that completed.

        Arguments are those of `SegmentWriter.append_batch`, and `state`: the policy's state from which `action` was
        chosen, name -> `[E, ...]`; parts that the spec does not name are left out. Unrolls have no priorities and no
        extras of bootstrap rows, and all have the same length: they ship when they are full.

        Raises:
          ReplayError: an array does not fit the specs.
        """
        step = {"action": action, "reward": reward, "terminated": terminated, "truncated": truncated, **extras}
        schema.check_names(step, self._specs, "a step")
        for name, values in step.items():
            schema.check_array(name, values, len(self._environments), self._specs[name])
        begins = np.flatnonzero(self._num_rows == 0)
        for name, part in self._state.items():
            part[begins] = state[name][begins]
        self._age[begins] = np.minimum(self._episode_rows[begins], self._num_before)
        self._frames[self._environments, self._num_before + self._num_rows] = self._newest(observation)
        at = (self._environments, self._num_rows)
        for name, values in step.items():
            self._columns[name][at] = values
        self._num_rows += 1
        self._episode_rows += 1
        newest = self._newest(next_observation)
        completed = []
        full = self._num_rows == self._length
        if full.any():
            completed.append(self._cut(np.flatnonzero(full), newest, weights_version))
        cut_short = truncated & ~terminated
        if cut_short.any():
            # Where the truncated row was the last one, the observation after it is already in its place.
            bootstrap = np.flatnonzero(cut_short & ~full)
            self._add_bootstrap_rows(bootstrap, newest)
            full_now = bootstrap[self._num_rows[bootstrap] == self._length]
            if len(full_now):
                completed.append(self._cut(full_now, newest, weights_version))
        self._episode_rows[terminated | truncated] = 0
        return completed

    def save(self) -> Saved:
        """Returns the rows that wait and the counters."""
        return {
            "sequence": self._sequence,
            "num_rows": self._num_rows.copy(),
            "position": self._position.copy(),
            "age": self._age.copy(),
            "episode_rows": self._episode_rows.copy(),
            "frames": self._frames.copy(),
            "columns": {name: column.copy() for name, column in self._columns.items()},
            "state": {name: part.copy() for name, part in self._state.items()},
        }

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned.

        Raises:
          CheckpointError: it was saved for another number of environments, another length, or with other columns.
        """
        same_names = saved["columns"].keys() == self._columns.keys() and saved["state"].keys() == self._state.keys()
        if saved["frames"].shape != self._frames.shape or not same_names:
            raise CheckpointError(
                f"the saved unrolls have frames of shape {saved['frames'].shape} with {sorted(saved['columns'])}, here "
                f"they have {self._frames.shape} with {sorted(self._columns)}. Resume with the saved experiment and "
                "environments_per_worker."
            )
        self._sequence = saved["sequence"]
        self._num_rows[:] = saved["num_rows"]
        self._position[:] = saved["position"]
        self._age[:] = saved["age"]
        self._episode_rows[:] = saved["episode_rows"]
        self._frames[:] = saved["frames"]
        for name, column in self._columns.items():
            column[:] = saved["columns"][name]
        for name, part in self._state.items():
            part[:] = saved["state"][name]

    def _newest(self, observation: Array) -> Array:
        return observation[:, -1] if observation.ndim == self._stack_ndim else observation

    def _add_bootstrap_rows(self, rows: Array, newest: Array) -> None:
        at = self._num_rows[rows]
        self._frames[rows, self._num_before + at] = newest[rows]
        for column in self._columns.values():
            column[rows, at] = 0
        self._num_rows[rows] += 1

    def _cut(self, rows: Array, newest: Array, weights_version: int) -> UnrollBlock:
        """Returns the full unrolls of some environments and begins their next ones."""
        self._frames[rows, -1] = newest[rows]
        unrolls = UnrollBlock(
            observation=self._frames[rows],
            action=self._columns["action"][rows],
            reward=self._columns["reward"][rows],
            terminated=self._columns["terminated"][rows],
            truncated=self._columns["truncated"][rows],
            extras={name: self._columns[name][rows] for name in self._extras},
            state={name: part[rows] for name, part in self._state.items()},
            age=self._age[rows],
            environment=self._worker * len(self._environments) + rows,
            position=self._position[rows],
            weights_version=weights_version,
            source=Source(self._worker, self._incarnation, self._sequence),
        )
        self._sequence += 1
        self._position[rows] += 1
        self._num_rows[rows] = 0
        if self._num_before:
            kept = slice(self._length, self._length + self._num_before)
            self._frames[rows, : self._num_before] = self._frames[rows, kept]
        return unrolls
