"""What a worker writes its steps with, whatever they are cut into.

    writer = make_writer(cut, env, worker, incarnation, num_environments)
    for item in writer.append_batch(…):                             # each step of the environments
        store.insert(item)                                          # `rlsys.replay.stores`

Another way to cut is a class and a line in `make_writer`.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from rlsys.api import Cut, Saved, Unrolls
from rlsys.replay.unrolls import UnrollWriter
from rlsys.replay.writer import SegmentWriter
from rlsys.types import Array, EnvSpec, Item, State


class Writer(Protocol):
    """Buffers of the E environments that a worker steps in lockstep; what it returns owns its arrays."""

    def rows_that_look_ahead(self, truncated: Array) -> Array:
        """Returns the environments whose `next_observation` the next `append_batch` may look at."""

    def rows_that_bootstrap(self, terminated: Array, truncated: Array) -> Array:
        """Returns the environments of whose `next_observation` it needs the extras, too."""

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
        priority: Array | None,
        bootstrap_extras: Mapping[str, Array] | None = None,
        ships_all: bool = False,
        turn: int = 0,
    ) -> Sequence[Item]:
        """Adds one step and returns what that completed; everything is copied. See `SegmentWriter` for arguments.

        Raises:
          ReplayError: an array does not fit the specs.
        """

    def save(self) -> Saved:
        """Returns what waits and the counters."""

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned.

        Raises:
          CheckpointError: it was saved with another shape.
        """


def make_writer(cut: Cut, env: EnvSpec, worker: int, incarnation: int, num_environments: int) -> Writer:
    """Makes empty buffers.

    Args:
      cut: how.
      env: as replay knows it (`stored_env`).
      worker: index of the worker, for `Source`.
      incarnation: how often the worker has been restarted. After a resume it must be new wherever replay might have
        seen items that were made after the save.
      num_environments: E.
    """
    if isinstance(cut, Unrolls):
        return UnrollWriter(cut, env, worker, incarnation, num_environments)
    return SegmentWriter(cut, env, worker, incarnation, num_environments)
