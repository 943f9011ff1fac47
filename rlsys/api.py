"""The contracts between algorithms and the runtime; neither side knows more of the other than this file.

An algorithm is a record of functions (`Algorithm`). The runtime builds its policies in rollout workers and evaluators,
its learner in a learner worker, and moves segments, batches and weights between them:

    decision = policy.act(observation, state, explore=True)     # rollout worker: once per step for all its environments
    metrics = learner.step(replay)                              # learner worker: once per update
    policy.set_weights(learner.weights())                       # through the parameter server

Another system's algorithm is a `rlsys.baseline.Baseline`.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel

from rlsys.types import Array, ArraySpec, Batch, EnvSpec, ModelComparison, State, Weights

Saved = Mapping[str, Any]
"""What can be checkpointed: nested dicts and lists of numpy arrays and JSON scalars. Loading it runs no code."""


@dataclass
class Decision:
    """What a policy returns for B observations.

    Attributes:
      action: `[B, *action]`.
      state: the state for the next call, batch axis first.
      extras: name -> `[B, ...]`, stored with the row and given back in `Batch.extras`.
      priority: `[B]` float64 initial priorities of the rows as items (exponent applied), or None.
      encoded: `[B, ...]`, where `SegmentSpec.encoded` says that replay stores this and not the observation.
      weights_version: of the weights that decided, where they live in another process.
    """

    action: Array
    state: State
    extras: dict[str, Array] = field(default_factory=dict)
    priority: Array | None = None
    encoded: Array | None = None
    weights_version: int | None = None


class Policy(abc.ABC):
    """Chooses actions for a batch of environments; lives in rollout workers and evaluators.

    It holds weights and random generators, never an episode's memory: that is the state that goes in and comes out.
    """

    @abc.abstractmethod
    def initial_state(self, batch_size: int) -> State:
        """Returns the state at the start of an episode, batch axis first; `{}` for a policy without memory."""

    @abc.abstractmethod
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Chooses an action for each observation.

        Args:
          observation: `[B, *EnvSpec.policy_observation.shape]`, raw values. Owned by the caller and overwritten after
            the call: copy what must be kept.
          state: what the last decision returned; the caller has put `initial_state` into the rows of new episodes.
          explore: True while collecting; False for evaluation (greedy, no noise).
        """

    def encode(self, observation: Array) -> Array:
        """Returns what replay stores instead of observations, of some of them; see `SegmentSpec.encoded`."""
        return observation

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """Tells what came of the last decision, before the next one, where the policy's state shall remember it.

        Args:
          state: what that decision returned.
          action: `[B, *action]`, what was executed; wrappers may have replaced what was asked for.
          reward: `[B]` float32, as it is learned from.

        Returns:
          The state for the next call. Rows of ended episodes are replaced by `initial_state` after this.
        """
        return state

    @abc.abstractmethod
    def set_weights(self, weights: Weights) -> None:
        """Takes over weights. The arrays may be kept, and never change: they may lie in memory that processes share."""

    @abc.abstractmethod
    def weights(self) -> Mapping[str, Array]:
        """Returns the arrays that it acts with, equal to those of `set_weights`; the runtime compares them.

        `{}` before the first weights, and for a policy that decides elsewhere.
        """

    def save(self) -> Saved:
        """Returns what continues exactly from here besides the weights, such as random states."""
        return {}

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned."""
        assert not saved, f"{type(self).__name__} saves something but does not load it"


class Replay(Protocol):
    """What a learner sees of replay: shards, queues and processes stay hidden."""

    def sample(self, batch_size: int, length: int, rows: Mapping[str, int] | None = None) -> Batch:
        """Draws windows; waits until the table holds enough and the samples-per-insert ratio allows it.

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


class Learner(abc.ABC):
    """Turns batches into better weights; lives in a learner worker, once per data-parallel rank."""

    @abc.abstractmethod
    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one unit of the current phase (an update) and returns its metrics, named `group/name`.

        Sampling comes before any change of state, so that a step that ends in `ReplayNotReady` can be repeated.
        """

    @abc.abstractmethod
    def weights(self) -> Mapping[str, Array]:
        """Returns what acting needs: name -> array, detached from the learner's memory."""

    @abc.abstractmethod
    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Takes over the networks of another run before the first step; all else stays as it is at the beginning.

        Target networks, if there are any, become equal to them. A part that a setting of the algorithm takes from
        elsewhere stays as that says.

        Args:
          weights: what the other learner's `weights` returned; names and shapes are those of this one's.
          world: what it saved under "world"; None where it has no world model.

        Raises:
          RlsysError: the world model does not fit.
        """

    def turns(self) -> int | None:
        """Returns how many turns of collecting it has asked for, where they alternate with learning.

        See `SegmentSpec.on_policy`. None, the default, asks for one with every step. Workers collect with the weights
        as they are when the number grows, and rest until it does again.
        """
        return None

    def steps_left(self) -> int | None:
        """Returns after how many more steps all is done, which ends the run; None, the default: it never is."""
        return None

    def histograms(self) -> Mapping[str, Array]:
        """Returns copies of what `run.debug_histograms` shows, named `group/name`: by default the weights."""
        return {f"weights/{name}": array for name, array in self.weights().items()}

    def films(self) -> Mapping[str, Sequence[ModelComparison]]:
        """Returns what is new for `run.video` to show of a world model, named `group/name`; by default nothing."""
        return {}

    @abc.abstractmethod
    def save(self) -> Saved:
        """Returns everything needed to go on exactly from here.

        What is under "world" becomes a part of its own in a checkpoint, from which `Algorithm.make_world` builds.
        """

    @abc.abstractmethod
    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned."""


class World(Protocol):
    """A world model as an environment: N copies stepped together, each begun from what really happened.

    Everything is as the policy's side knows it: single raw frames, never stacked, and rewards as they are learned from.

    Attributes:
      num_context: rows R of real history that a copy begins from.
      num_environments: N.
    """

    num_context: int
    num_environments: int

    def begin(self, observation: Array, action: Array) -> Array:
        """Begins all copies anew.

        Args:
          observation: `[N, R, *frame]`, the last frames, oldest first.
          action: `[N, R - 1, *action]`, what was done between them.

        Returns:
          `[N, *frame]`, where each copy is now: the last frames.
        """

    def step(self, action: Array) -> tuple[Array, Array, Array]:
        """Predicts one step of each copy.

        Args:
          action: `[N, *action]`.

        Returns:
          The frames `[N, *frame]`, rewards `[N]` float32, and whether each episode is over, `[N]` bool; a model that
          does not predict ends never says so.
        """


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


@dataclass(frozen=True)
class PolicyContext:
    """What a policy is built from.

    Attributes:
      config: the algorithm's section of the experiment.
      env: the environment's spec.
      seed: unique to the worker.
      first_environment: global index of the worker's first environment.
      num_environments: environments that the worker steps, the largest batch it will act for.
      device: torch device name.
    """

    config: Any
    env: EnvSpec
    seed: int
    first_environment: int = 0
    num_environments: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class WorldContext:
    """What a world model is built from.

    Attributes:
      config: the algorithm's section of the experiment.
      env: the environment's spec.
      saved: what a learner of it saved under "world".
      seed: of what is drawn in it.
      num_environments: copies that are stepped together.
      device: torch device name.
    """

    config: Any
    env: EnvSpec
    saved: Saved
    seed: int
    num_environments: int = 1
    device: str = "cpu"


@dataclass(frozen=True)
class LearnerContext:
    """What a learner is built from.

    Attributes:
      config: the algorithm's section of the experiment.
      env: the environment's spec.
      seed: the same on every rank: initial weights must agree. Ranks draw different batches, not different weights.
      rank: of this learner, from 0; see `draw_seed`.
      device: torch device name.
      num_ranks: data-parallel learners; each samples 1/num_ranks of the batch.
      batch_size: items of this rank's batches, where the number of environments decides it (`SegmentSpec.on_policy`).
      unroll_length: rows of an unroll, where likewise (`SegmentSpec.turn_rows`).
      average: averages a list of torch tensors over the ranks in place; the identity with one rank.
      read_weights: run, export, or folder of a checkpoint -> the weights that its policy acts with. Raises RlsysError.
      read_world: the same for what its learner saved under "world".
      is_resumed: `load` comes next, so nothing has to be read from elsewhere.
      timed: name of a part of `step` that is worth telling apart -> a context around it; "copy" moves batches to the
        device.
    """

    config: Any
    env: EnvSpec
    seed: int
    device: str = "cpu"
    rank: int = 0
    num_ranks: int = 1
    batch_size: int = 1
    unroll_length: int = 0
    average: Callable[[list[Any]], None] = lambda tensors: None
    read_weights: Callable[[str], Mapping[str, Array]] = lambda source: {}
    read_world: Callable[[str], Saved] = lambda source: {}
    is_resumed: bool = False
    timed: Callable[[str], AbstractContextManager[Any]] = nullcontext

    @property
    def draw_seed(self) -> int:
        """Seed of what each rank draws for itself; of the first rank it is `seed`."""
        return self.seed if not self.rank else int(np.random.SeedSequence([self.seed, self.rank]).generate_state(1)[0])


@dataclass(frozen=True)
class ValueSpec:
    """What an algorithm's values are of: the discounted rewards of the episode from here on, as it counts them.

    Attributes:
      discount: per decision.
      extra: name of the extra that holds the policy's value of each observation, in units of rewards.
      reward_bound: rewards count as clamped to ± this; None counts them as they are stored.
    """

    discount: float
    extra: str
    reward_bound: float | None = None

    def learned(self, reward: Array) -> Array:
        """Returns stored rewards as they count."""
        return reward if self.reward_bound is None else reward.clip(-self.reward_bound, self.reward_bound)


@dataclass(frozen=True)
class Algorithm:
    """An algorithm as the runtime sees it: a record of functions.

    Attributes:
      name: the folder's name, and of its section in a configuration.
      config_type: pydantic model of that section, with a default for every field.
      make_policy, make_learner: build the two halves; torch is imported inside them, not with the record.
      segments: how episodes are cut, from the section and the environment.
      table: the replay table, likewise.
      check: raises ConfigError where the section cannot work with (config, env spec, number of environments in all
        rollout workers, number of learner ranks); called before any worker starts.
      values: what its values are of, from the section.
      example_env: fields of the env section (`rlsys.config.EnvConfig`): an environment on which it can be tried
        within seconds, with `debug`.
      debug: overrides of the section that shrink it to seconds (`debug=true`).
      is_reactive: each row of `Policy.act` depends on that row alone, and not on which environment it is, so that
        inference workers may decide for the environments of many rollout workers at once.
      make_world: builds the world model that a learner saved, for play and for evaluation; None without one.
      environments: the section's field that says how many environments all rollout workers share, where that decides
        what is learned; empty where each has runtime.environments_per_worker.
      kept: the section's fields that a resumed run cannot change although all that is saved would have the same shapes,
        because it would mean something else. What changes a shape is found without being named.
    """

    name: str
    config_type: type[BaseModel]
    make_policy: Callable[[PolicyContext], Policy]
    make_learner: Callable[[LearnerContext], Learner]
    segments: Callable[[Any, EnvSpec], SegmentSpec]
    table: Callable[[Any, EnvSpec], TableSpec]
    check: Callable[[Any, EnvSpec, int, int], None]
    values: Callable[[Any], ValueSpec]
    example_env: Mapping[str, Any]
    debug: Mapping[str, Any] = field(default_factory=dict)
    is_reactive: bool = False
    make_world: Callable[[WorldContext], World] | None = None
    environments: str = ""
    kept: tuple[str, ...] = ()
