"""The nouns that travel between processes: EnvSpec, Segment, UnrollBlock, Batch, Sequences, Weights. numpy only.

Row t holds what happened at, and because of, observation[t]:

    row            0        1        2     ...   T-1        T
    observation   o_0      o_1      o_2          o_{T-1}    o_T   <- bootstrap observation: no action was taken in it
    action        a_0      a_1      a_2          a_{T-1}     -
    reward        r_0      r_1      r_2          r_{T-1}     -    <- r_t was caused by a_t
    terminated    no       no       no           yes/no      -    <- only this zeroes the discount
    truncated     no       no       no           yes/no      -    <- a time limit: bootstrap from row T
    extras        x_0      x_1      x_2          x_{T-1}    x_T   <- what the policy asked replay to remember
                  |--lead--|--------items--------|-overlap-|

A segment is a run of T rows of one episode of one environment, so `terminated` and `truncated` can be true in its last
row alone. Only its *items* can be drawn as the first row of a sample: `lead` rows before them are context (earlier
frames of a stack, burn-in), `overlap` rows after them complete the targets of the items and come again, as items, in
the next segment of the same episode.

An unroll is the other way to cut: T rows of one environment whatever happens in them, so that n of them are one array.

    row            0    ...   k       k+1     ...   T-1        T
    observation   o_0        o_k      o_0'          o'         o'      k terminated: row k+1 begins the next episode
    observation   o_0        o_k      o_k+1   o_0'  o'         o'      k truncated: a bootstrap row comes in between

A *bootstrap row* holds the last observation of a truncated episode. Nothing was done in it (action and reward are
zero), so nothing is learned from it, but its value is what the row before it bootstraps from.

Shape legend: T rows of a segment or unroll, n unrolls, B batch, L rows of a sampled window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Array = np.ndarray
State = dict[str, np.ndarray]
"""A policy's recurrent state: name -> array with the batch axis first; empty for a policy without memory."""


DType = str | np.dtype[Any]
"""numpy's name of a dtype; of a structured one itself."""


@dataclass(frozen=True)
class ArraySpec:
    """Shape and dtype of one array, without its batch and time axes.

    Attributes:
      shape: as numpy has it.
      dtype: numpy's name of it. An array of named parts has a structured dtype: `array["position"]` is that part of all
        rows, so that what moves, stores and compares arrays need not know that there are parts.
    """

    shape: tuple[int, ...]
    dtype: DType

    @property
    def num_bytes(self) -> int:
        """Bytes that one such array takes uncompressed."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Part:
    """One array of what an environment shows.

    Attributes:
      name: its field in the observation; empty where the observation is this array.
      spec: of one frame of it.
      choices: of integers from 0: how many each of them can be, flattened; empty for numbers.
    """

    name: str
    spec: ArraySpec
    choices: tuple[int, ...] = ()

    def of(self, observation: Array) -> Array:
        """Returns this part of observations, whatever axes come before those of the spec."""
        part: Array = observation[self.name] if self.name else observation
        return part


@dataclass(frozen=True)
class EnvSpec:
    """What an algorithm may know about an environment.

    Attributes:
      id: the name it was made from.
      observation: one frame, as replay stores it.
      num_stack: frames per observation. Above 1, what a policy sees has shape `[num_stack, *observation.shape]`,
        oldest frame first; replay stores each frame once and stacks again when it is sampled.
      parts: of the observation, in a fixed order: one without a name where it is an array, one for each space of a
        Dict ("position"; "arm/position" where they are nested) or of a Tuple ("0", "1"), where it is of named parts.
      action: `()` and int64 for a discrete action space (Discrete), `[n]` and int64 for n choices at once
        (MultiDiscrete), else the shape and dtype of numbers (Box).
      num_actions: size of a discrete action space, 0 for any other.
      action_choices: of n choices at once: how many each of them can be, flattened; empty for any other.
      action_low, action_high: of numbers: bounds, one per number of the flattened action, infinite where there is none;
        empty for any other.
      frames_per_step: simulator frames per decision (action repeat × frame skip); of tasks that differ in it, the mean.
      observation_low, observation_high: bounds (one pair, or one per feature) to which the *networks* rescale an
        observation as `(x - low) / (high - low)`; empty to leave it as it is. Replay always keeps raw values.
      action_meanings: a word per discrete action, where the environment names them.
      clips_rewards: whether what is learned from is the sign of the reward.
      tasks: names of the environments that one agent plays; empty where there is one environment.
      max_steps: the time limit in decisions, the shortest of several tasks'; None where none is known.
      num_players: 2 where decisions are by turns those of two players, each rewarded as the one who has decided.
    """

    id: str
    observation: ArraySpec
    action: ArraySpec
    num_actions: int
    num_stack: int = 1
    frames_per_step: float = 1
    observation_low: tuple[float, ...] = ()
    observation_high: tuple[float, ...] = ()
    action_meanings: tuple[str, ...] = ()
    clips_rewards: bool = False
    parts: tuple[Part, ...] = ()
    action_choices: tuple[int, ...] = ()
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()
    tasks: tuple[str, ...] = ()
    max_steps: int | None = None
    num_players: int = 1

    def __post_init__(self) -> None:
        if not self.parts:
            object.__setattr__(self, "parts", (Part("", self.observation),))
        names = tuple(part.name for part in self.parts)
        is_whole = names == np.dtype(self.observation.dtype).names or self.parts[0].spec == self.observation
        assert is_whole, f"{names} are not the parts of {self.observation}; `with_observation` replaces both"

    def with_observation(self, observation: ArraySpec, num_stack: int = 1) -> "EnvSpec":
        """Returns the environment as one that shows a single array, of which no bounds are known."""
        return replace(
            self, observation=observation, parts=(), num_stack=num_stack, observation_low=(), observation_high=()
        )

    @property
    def policy_observation(self) -> ArraySpec:
        """The observation that a policy sees: `num_stack` frames where that is more than one."""
        stack = (self.num_stack,) if self.num_stack > 1 else ()
        return ArraySpec(stack + self.observation.shape, self.observation.dtype)


@dataclass(frozen=True)
class Source:
    """Who made a segment or a block of unrolls; the triple is unique, so that what is sent twice is stored once.

    Attributes:
      worker: index of the rollout worker.
      incarnation: how often that worker has been restarted.
      sequence: its number within the incarnation, from 0.
    """

    worker: int
    incarnation: int
    sequence: int


@dataclass
class Segment:
    """T rows of one episode and the observation after them (see the drawing at the top of the module).

    Attributes:
      observation: `[T + 1, *frame]` single frames, never stacked.
      action: `[T, *action]`.
      reward: `[T]` float32.
      terminated, truncated: `[T]` bool.
      extras: name -> `[T + 1, ...]`; row T is filled where the episode was truncated, zero elsewhere.
      first_item: row of the first item.
      num_items: number of items; they are consecutive rows.
      priority: `[num_items]` float64, each ≥ 0, final (exponent applied); None gives every item the priority 1.
      weights_version: version of the weights that chose the last action.
      source: who made it.
      environment: global index of the environment.
      episode: number of the episode among those of its environment, from 0 in each incarnation.
      row: of the episode, from 0, that is the first item.
      turn: the newest turn that its worker had been asked for; see `rlsys.api.Turns`.
    """

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    extras: dict[str, Array]
    first_item: int
    num_items: int
    priority: Array | None
    weights_version: int
    source: Source
    environment: int = 0
    episode: int = 0
    row: int = 0
    turn: int = 0

    @property
    def num_rows(self) -> int:
        """T, the number of transitions."""
        return len(self.reward)

    @property
    def is_cut_short(self) -> bool:
        """Whether a time limit has ended the episode with its last row."""
        return bool(self.truncated[-1] and not self.terminated[-1])


@dataclass
class UnrollBlock:
    """n unrolls that one worker has completed at the same time (see the second drawing at the top of the module).

    Attributes:
      observation: `[n, S + T + 1, *frame]` single frames; the S = num_stack - 1 before row 0 are for stacking.
      action: `[n, T, *action]`.
      reward: `[n, T]` float32.
      terminated, truncated: `[n, T]` bool.
      extras: name -> `[n, T, ...]`.
      state: name -> `[n, ...]`, the policy's state before row 0.
      age: `[n]` int64, how many of the frames before row 0 belong to its episode, at most S.
      environment: `[n]` int64, global index of the environment.
      position: `[n]` int64, number of the unroll among those of its environment, from 0 in each incarnation.
      weights_version: version of the weights that chose the last actions.
      source: who made them.
    """

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    extras: dict[str, Array]
    state: dict[str, Array]
    age: Array
    environment: Array
    position: Array
    weights_version: int
    source: Source

    @property
    def num_items(self) -> int:
        """n: a queue counts unrolls."""
        return len(self.reward)


Item = Segment | UnrollBlock
"""What a rollout worker sends to replay."""


@dataclass
class Batch:
    """B windows of L consecutive rows, each starting at a sampled item.

    Rows past the end of the segment are zero. Where a window reaches the end, `observation[b, num_rows[b]]` is the
    bootstrap observation and `extras[...][b, num_rows[b]]` belong to it. B unrolls from a queue are whole: T + 1
    observations and T rows of everything else.

    Attributes:
      observation: `[B, L', (num_stack,) *frame]`; L' = L unless fewer rows were asked for.
      action: `[B, L', *action]`.
      reward, terminated, truncated: `[B, L']`.
      extras: name -> `[B, L', ...]`.
      num_rows: `[B]` int64, transitions from the window's start to the segment's end, at most L.
      key: `[B]` int64, names the item for `Replay.update_priorities`.
      probability: `[B]` float64, probability of the item under the table's distribution when it was drawn.
      num_items: items in the whole table then: importance weights are `(num_items * probability) ** -beta`.
      weights_version: `[B]` int64, version of the behaviour policy.
      age: `[B]` int64, of windows of a table: items that have been inserted since.
      state: of unrolls: name -> `[B, ...]`, the policy's state before row 0.
      environment, position: of unrolls: `[B]` int64, whose they are and their number there; see `UnrollBlock`.
      turn: of what was collected in one turn (`rlsys.api.Replay.collected`): its number.
    """

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    extras: dict[str, Array]
    num_rows: Array
    key: Array
    probability: Array
    num_items: int
    weights_version: Array
    age: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    state: dict[str, Array] = field(default_factory=dict)
    environment: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    position: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    turn: int = -1


@dataclass
class Sequences:
    """B windows of L consecutive rows of episodes, however these were cut on their way to replay.

    A window may reach over the beginning or the end of what is stored of its episode: such rows are zero, and masked.

    Attributes:
      observation: `[B, L + 1, *frame]` single frames, never stacked: of each row, and the one after the last row, also
        where that is the last of its episode; or the first of these where fewer were asked for.
      action: `[B, L, *action]`.
      reward, terminated, truncated: `[B, L]`.
      extras: name -> `[B, L, ...]`.
      mask: `[B, L]` bool, False for rows that there are not.
      row: `[B]` int64, row of the episode at which the window begins; negative where it begins before that.
      key: `[B]` int64, names the first row that there is for `Replay.update_priorities`.
      probability: `[B]` float64, with which this window was drawn.
      num_items: items in the whole table then.
      weights_version: `[B]` int64, version of the behaviour policy of the first row that there is.
    """

    observation: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    extras: dict[str, Array]
    mask: Array
    row: Array
    key: Array
    probability: Array
    num_items: int
    weights_version: Array


@dataclass(frozen=True)
class Weights:
    """What acting needs of a learner's networks, and when it was published.

    Attributes:
      version: grows by one with every publication of a run; 0 is the initial policy.
      learner_step: updates done when it was published (schedules of the acting side read it).
      arrays: name -> array, detached from the learner's memory.
      turn: where collecting and learning take turns, the turn that is to be collected with it.
    """

    version: int
    learner_step: int
    arrays: Mapping[str, Array] = field(default_factory=dict)
    turn: int = 0


@dataclass(frozen=True)
class ModelComparison:
    """T steps of a real episode, and what a world model foretold of them from what came before.

    Attributes:
      observation, model_observation: `[T, *frame]` uint8, what each step led to.
      reward, model_reward: `[T]`, as they are learned from.
    """

    observation: Array
    model_observation: Array
    reward: Array
    model_reward: Array


@dataclass(frozen=True)
class Reconstruction:
    """T frames of a real episode, and what a model makes of each.

    Attributes:
      observation, reconstruction: `[T, *frame]` uint8.
    """

    observation: Array
    reconstruction: Array


@dataclass(frozen=True)
class EpisodeRecord:
    """One whole episode of T steps, real or imagined, to be kept and looked at.

    Attributes:
      observation: `[T + 1, *frame]`, single frames.
      action: `[T, *action]`.
      reward: `[T]` float32, as the game gives them, or as they were imagined.
      terminated: `[T]` bool, where an episode ended as learning knows it.
    """

    observation: Array
    action: Array
    reward: Array
    terminated: Array

    @property
    def episode_return(self) -> float:
        """The sum of its rewards."""
        return float(self.reward.sum())


Shown = Sequence[ModelComparison] | Sequence[Reconstruction] | Sequence[EpisodeRecord]
"""What there is to see of a world model: a film, a picture, or imagined episodes."""
