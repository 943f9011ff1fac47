"""What lies between acting and learning, as three choices: how it is cut, where it is kept, and whose turn it is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol

from rlsys.errors import ConfigError, ReplayError
from rlsys.types import Array, ArraySpec, Batch, EnvSpec, Sequences


@dataclass(frozen=True)
class Segments:
    """Cut within episodes, into segments of which each row but the overlap can be drawn; for a table.

    Attributes:
      length: new rows after which an unfinished episode's segment is shipped; a finished one ships at once.
      overlap: trailing rows of an unfinished segment that are not items there and come again in the next.
      bootstrap_extras: also call the policy on the last observation of a truncated episode; its extras fill row T.
      extras: name -> spec of what the policy returns in `Decision.extras`.
    """

    length: int
    overlap: int = 0
    bootstrap_extras: bool = False
    extras: Mapping[str, ArraySpec] = field(default_factory=dict)

    def stored_env(self, env: EnvSpec) -> EnvSpec:
        """Returns the environment as replay knows it: this one."""
        return env


@dataclass(frozen=True)
class Unrolls:
    """Cut into unrolls of exactly `length` rows, which run on across episodes; for a queue.

    Attributes:
      length: rows T.
      extras: name -> spec of what the policy returns in `Decision.extras`.
      state: name -> spec of the parts of the policy's state that an unroll begins with.
      encoded: what an unroll holds instead of observations, made by the policy: features of a part of the network that
        does not learn are smaller than frames, and are not computed twice.
    """

    length: int
    extras: Mapping[str, ArraySpec] = field(default_factory=dict)
    state: Mapping[str, ArraySpec] = field(default_factory=dict)
    encoded: ArraySpec | None = None

    def stored_env(self, env: EnvSpec) -> EnvSpec:
        """Returns the environment as replay knows it: with what is stored of an observation."""
        return env if self.encoded is None else env.with_observation(self.encoded)


Cut = Segments | Unrolls
"""How a rollout worker cuts what it collects."""


@dataclass(frozen=True)
class Refreshing:
    """How much of what policies are asked is about stored rows, whose extras the answers overwrite.

    Attributes:
      share: refreshed rows, of these and all decisions in environments together; counted once replay holds
        `min_size_to_sample` items.
      batch_size: rows that a policy is asked about at once.
      workers: that do nothing else; the table then holds the share, from both sides. 0: whoever collects takes turns.
    """

    share: float
    batch_size: int
    workers: int = 0

    @property
    def rows_per_decision(self) -> float:
        """Rows to refresh with each decision; infinite where nobody decides."""
        return self.share / (1.0 - self.share) if self.share < 1.0 else math.inf


@dataclass
class StoredRows:
    """N rows of replay whose extras are to be found out anew.

    Attributes:
      observation: `[N, *EnvSpec.policy_observation.shape]`, as a learner and a policy see them.
      key: `[N]` int64, names the rows for their new extras.
    """

    observation: Array
    key: Array


@dataclass(frozen=True)
class TableSpec:
    """A table, in Reverb's language: its rows are drawn again and again. Sizes are totals over all shards.

    Attributes:
      max_size: items kept; the oldest segment leaves first.
      sampler: "prioritized" (proportional to priority, stratified) or "uniform".
      min_size_to_sample: items that must have been inserted before the first sample; as many turns as that takes.
      samples_per_insert: items sampled per item inserted after the minimum, held from both sides; None: no ratio. Where
        collecting and learning take turns these hold it, and the runtime sets None.
      error_buffer: items by which samples may run ahead of, or behind, the ratio.
      initial_size: items kept at first; 0 for `max_size`. The window then grows by `initial_size` each time that it has
        been filled once over, up to `max_size`.
      batch_size: items of the largest sample over all learner ranks; with it a ratio that would deadlock is refused.
      max_bytes: bytes that all rows may take in memory, 0 for no limit; the oldest segments leave earlier then. A run
        sets it, by `runtime.replay_bytes`.
      keeps_episodes: all segments of an environment come to one shard, so that windows run on from one to the next:
        `Replay.sequences` draws them, and `Replay.collected` puts a turn together.
      held_out_every: of each environment's episodes one in so many has no priority, its second first: those that
        `SequenceQuery.held_out_every` holds out; 0: none.
      refreshing: how much of the extras is found out anew; None: they stay as they were collected. A run sets it, by
        `Algorithm.refreshes`.
    """

    max_size: int
    sampler: Literal["prioritized", "uniform"]
    min_size_to_sample: int = 1
    samples_per_insert: float | None = None
    error_buffer: float = 0.0
    initial_size: int = 0
    batch_size: int = 1
    max_bytes: int = 0
    keeps_episodes: bool = False
    held_out_every: int = 0
    refreshing: Refreshing | None = None


@dataclass(frozen=True)
class QueueSpec:
    """A queue: each of its unrolls is given out once, in order. Inserts wait while it is full.

    Where collecting and learning take turns the runtime sets both: a batch is what a turn brings.

    Attributes:
      max_size: unrolls that may wait in each shard.
      batch_size: unrolls of a batch, over all learner ranks.
    """

    max_size: int = 1
    batch_size: int = 1
    sampler: ClassVar[Literal["fifo"]] = "fifo"
    min_size_to_sample: ClassVar[int] = 1
    samples_per_insert: ClassVar[float] = 1.0
    max_bytes: ClassVar[int] = 0
    refreshing: ClassVar[None] = None


StoreSpec = TableSpec | QueueSpec
"""Where what was collected is kept."""


@dataclass(frozen=True)
class Turns:
    """Collecting and learning take turns: a worker that has collected its share rests until it is asked for more.

    Learners ask with `Learner.turns`. One of these says how much a turn is:

    Attributes:
      unrolls: of each environment, where it is cut into unrolls.
      rows: of all environments together, or as few more as possible: each collects the same number.
      episodes: whole ones, of each environment, where it is cut into segments; what comes before the first one's end
        counts as one. A turn takes as long as the longest: `env.max_episode_steps` ends what does not end by itself.
    """

    unrolls: int = 0
    rows: int = 0
    episodes: int = 0

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("unrolls", "rows", "episodes")}
        assert sum(map(bool, given.values())) == 1, f"one of {', '.join(given)} says how much a turn is: {given}"

    def shared_out(self, cut: Cut, num_environments: int) -> tuple[Cut, "Turns"]:
        """Returns both as so many environments take turns: rows that are cut into unrolls are given in unrolls.

        Raises:
          ConfigError: what is cut cannot be counted so.
        """
        given = "unrolls" if self.unrolls else "episodes" if self.episodes else "rows"
        if given == ("episodes" if isinstance(cut, Unrolls) else "unrolls"):
            raise ConfigError(
                f"a turn of {given} = {getattr(self, given)} that is cut into {type(cut).__name__}; Segments are "
                "counted in rows or episodes, and Unrolls, which run on across episodes, in rows or unrolls. Change "
                "the algorithm's turns or its cut."
            )
        if not self.rows or not isinstance(cut, Unrolls):
            return cut, self
        share = -(-self.rows // num_environments)
        length = min(cut.length, share)
        return replace(cut, length=length), Turns(unrolls=-(-share // length))


@dataclass(frozen=True)
class SequenceQuery:
    """Which windows of episodes are drawn.

    Windows are drawn from *runs*: rows of one episode that follow one another and are asked for. All of an episode is
    one run where nothing is left out.

    Attributes:
      batch_size: windows B.
      length: rows L of a window.
      num_frames: observations of each window that are wanted, from its first row on; 0 for all L + 1.
      by: what is equally likely: each "row" at which a window can begin, or each "episode" (each run), and then each
        row of it; or "priority": rows are as likely as their priorities say, and windows end where their run ends. Of
        what is held out the table has to know, by `TableSpec.held_out_every`.
      reach: a window lies "inside" its run; or it may begin "before" it, or end "after" it, or "both", by all but one
        row. To begin before it means that each row is equally likely to be the last one.
      begins: only windows at the beginning of their run.
      age_weights: how likely equal shares of the runs are, the oldest first; empty for no difference. Each shard has
        shares of its own.
      turns: first turn that is drawn from, and the first after it that is not; None for all.
      epochs: first turns of the epochs of which a share is held out.
      held_out: that share, the last of each epoch's rows in each shard, environment by environment.
      held_out_every: or whole episodes are held out: of each environment's one in so many, from its second on; 0: none.
      part: what is drawn from: "all", what is not held out ("learned"), or what is ("held_out").
    """

    batch_size: int
    length: int
    num_frames: int = field(default=0, kw_only=True)
    by: Literal["row", "episode", "priority"] = "row"
    reach: Literal["inside", "before", "after", "both"] = "inside"
    begins: bool = False
    age_weights: tuple[float, ...] = ()
    turns: tuple[int, int] | None = None
    epochs: tuple[int, ...] = (0,)
    held_out: float = 0.0
    held_out_every: int = 0
    part: Literal["all", "learned", "held_out"] = "all"

    def __post_init__(self) -> None:
        assert self.held_out_every != 1 and not (self.held_out and self.held_out_every), "something is learned from"
        if self.by == "priority":
            is_whole = self.turns is None and not (self.held_out or self.age_weights or self.begins)
            assert is_whole and self.part != "held_out" and self.reach == "after", (
                "by priority windows begin at any row that is not held out, and may end after their run"
            )

    @property
    def num_samples(self) -> int:
        """What the windows count in the ratio of samples to inserts."""
        return 0 if self.part == "held_out" else self.batch_size * self.length

    def __str__(self) -> str:
        turns = "" if self.turns is None else f" of turns {self.turns[0]:,} to {self.turns[1] - 1:,}"
        part = {"all": "", "learned": ", in what is not held out", "held_out": ", in what is held out"}[self.part]
        return f"{self.length:,} rows in a row of an episode{turns}{part}"


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

    def sequences(self, query: SequenceQuery) -> Sequences:
        """Draws windows of episodes from a table that keeps them; waits as `sample` does.

        Where there is a ratio, all rows of the windows count as samples. What is held out does not, and is not waited
        for.

        Raises:
          ReplayNotReady: see `sample`.
          NothingToDraw: there is no such window, and none will come in this turn, or it would have been held out.
        """

    def collected(self, unrolls: int, length: int) -> Batch:
        """Returns what environments did in the newest turn, as unrolls; waits until all have ended it.

        With several ranks each is given those of an equal share of the environments.

        Args:
          unrolls: of each environment, its newest.
          length: rows T of each.

        Returns:
          A batch as that of a queue: B = unrolls of all environments, side by side, `[B, T + 1]` observations and T
          rows of all else.

        Raises:
          ReplayNotReady: see `sample`.
        """

    def update_priorities(self, keys: Array, priorities: Array) -> None:
        """Sets priorities (`[B]`, exponent applied) of sampled items; evicted items are skipped and counted."""


class ReplayNotReady(Exception):  # noqa: N818 - it is an answer, not an error
    """Replay cannot serve a sample yet; the message says what it waits for. Not an error: try again."""


class TurnTooSmall(ReplayNotReady):
    """All of a turn has come to a table, and it is not enough to draw from, or a part of it was lost with a shard.

    The runtime then asks for another turn.
    """


class NothingToDraw(ReplayError):  # noqa: N818 - it is an answer
    """There is no such window."""

    def __init__(self, query: SequenceQuery) -> None:
        super().__init__(f"replay has no {query}. Collect more, keep more, or ask for shorter windows.")
