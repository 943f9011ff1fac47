"""What lies between acting and learning: how it is cut, which table it goes into, and how it is drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from rlsys.types import Array, ArraySpec, Batch, EnvSpec


@dataclass(frozen=True)
class SegmentSpec:
    """How a rollout worker cuts what it collects: into segments, each of one episode, or into unrolls.

    Of an unroll only `length`, `extras` and what is named after `unroll` apply: it has exactly `length` rows, and runs
    on across episodes.

    Attributes:
      length: new rows after which an unfinished episode's segment is shipped; a finished one ships at once.
      overlap: trailing rows of an unfinished segment that are not items there and come again in the next.
      bootstrap_extras: also call the policy on the last observation of a truncated episode; its extras fill row T.
      extras: name -> spec of what the policy returns in `Decision.extras`.
      unroll: cut into unrolls, for a queue.
      on_policy: unrolls of each environment that make a batch; collecting and learning take turns: a worker that has
        collected its share waits for the next turn. 0: nobody waits.
      turn_rows: instead of `on_policy`, rows that all environments together make in a turn, or as few more as possible:
        the runtime shares them out in unrolls of at most `length` rows.
      state: name -> spec of the parts of the policy's state that an unroll begins with.
      encoded: what an unroll holds instead of observations, made by the policy: features of a part of the network that
        does not learn are smaller than frames, and are not computed twice.
    """

    length: int
    overlap: int = 0
    bootstrap_extras: bool = False
    extras: Mapping[str, ArraySpec] = field(default_factory=dict)
    unroll: bool = False
    on_policy: int = 0
    turn_rows: int = 0
    state: Mapping[str, ArraySpec] = field(default_factory=dict)
    encoded: ArraySpec | None = None

    def shared_out(self, num_environments: int) -> "SegmentSpec":
        """Returns what each of so many environments collects in a turn, where `turn_rows` says how much that is."""
        if not self.turn_rows:
            return self
        share = -(-self.turn_rows // num_environments)
        length = min(self.length, share)
        return replace(self, length=length, on_policy=-(-share // length), turn_rows=0)

    def stored_env(self, env: EnvSpec) -> EnvSpec:
        """Returns the environment as replay knows it: with what is stored of an observation."""
        if self.encoded is None:
            return env
        return replace(env, observation=self.encoded, num_stack=1, observation_low=(), observation_high=())


@dataclass(frozen=True)
class TableSpec:
    """A replay table in Reverb's language; sizes are totals over all shards.

    A queue ("fifo") holds unrolls and gives each out once, in order. Inserts wait while it is full, so of the other
    fields only `max_size` and `batch_size` apply to it.

    Attributes:
      max_size: items kept; the oldest segment leaves first. Of a queue: items that may wait in each shard.
      sampler: "prioritized" (proportional to priority, stratified), "uniform" or "fifo" (oldest unroll first).
      min_size_to_sample: items that must have been inserted before the first sample.
      samples_per_insert: items sampled per item inserted after the minimum, held from both sides; None: no ratio.
      error_buffer: items by which samples may run ahead of, or behind, the ratio.
      initial_size: items kept at first; 0 for `max_size`. The window then grows by `initial_size` each time that it has
        been filled once over, up to `max_size`.
      max_bytes: bytes that all rows may take in memory, 0 for no limit; the oldest segments leave earlier then. The
        runtime sets it: `runtime.replay_bytes`.
      batch_size: items of the largest sample over all learner ranks; with it a ratio that would deadlock is refused.
        Where collecting and learning take turns the runtime sets this and `max_size`: by the number of environments.
    """

    max_size: int
    sampler: Literal["prioritized", "uniform", "fifo"]
    min_size_to_sample: int = 1
    samples_per_insert: float | None = None
    error_buffer: float = 0.0
    initial_size: int = 0
    max_bytes: int = 0
    batch_size: int = 1


class Replay(Protocol):
    """What a learner sees of replay: shards, queues and processes stay hidden."""

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Draws windows; waits until the table holds enough and the samples per insert allow it.

        Args:
          batch_size: number of windows B.
          length: rows per window L.
          rows: column ("observation", "action", "reward", "terminated", "truncated" or an extra's name) -> how many of
            the L rows are wanted, from the window's start; 0 leaves the column empty. Columns not named come with L.

        Raises:
          ReplayNotReady: nothing could be drawn within the caller's patience; nothing has changed.
        """

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets priorities (`[B]`, exponent applied) of sampled items; evicted items are skipped and counted."""


class ReplayNotReady(Exception):  # noqa: N818 - it is an answer, not an error
    """Replay cannot serve a sample yet; the message says what it waits for. Not an error: try again."""
