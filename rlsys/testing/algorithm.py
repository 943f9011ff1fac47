"""An algorithm that learns nothing and checks everything: what arrives must continue what was sent.

Made for `rlsys/Counting-v0`, whose observations name their environment, episode and step. The policy remembers what it
saw; the learner asserts that every sampled window is one unbroken run of one episode, that rewards, ends and extras
belong to their rows, and that priorities can be written. It uses numpy alone.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rlsys.api import (
    Algorithm,
    Decision,
    Learner,
    LearnerContext,
    Policy,
    PolicyContext,
    Refreshed,
    Replay,
    Saved,
    Segments,
    TableSpec,
    ValueSpec,
)
from rlsys.config import Section
from rlsys.config.quantities import Count, Items, Number, Probability, Steps
from rlsys.errors import ConfigError, WorkerError
from rlsys.types import Array, ArraySpec, Batch, EnvSpec, State, Weights


class CheckingConfig(Section):
    """Sizes of the checking algorithm."""

    batch_size: Count = 16
    """Windows per update, over all ranks."""
    length: Count = 5
    """Rows per window."""
    segment_length: Count = 20
    """Most new rows per segment."""
    window_size: Items = 2_000
    """Items kept."""
    stored_before_train: Items = 200
    """Items before the first update."""
    samples_per_insert: Number | None = 4.0
    """Items sampled per item inserted."""
    refreshed_share: Probability = 0.0
    """Share of what policies are asked that is about stored rows."""
    on_policy: Steps = 0
    """Of unrolls: how many of each environment make a batch, for which workers wait; 0: nobody waits."""
    rest_steps: Steps = 0
    """Of turns: steps after each batch in which the learner asks for no data, as one with phases."""
    batches: Steps = 0
    """Of turns: batches after which the learner has nothing left to do; 0: it never ends by itself."""
    fail_at_step: Steps = 0
    """Learner step at which the learner reports a number that is not finite; 0: never."""


class CheckingPolicy(Policy):
    """Acts at random and remembers its observations and how many steps of the episode it has seen."""

    def __init__(self, context: PolicyContext) -> None:
        self._num_actions = context.env.num_actions
        self._rng = np.random.default_rng(context.seed)
        self._weights: dict[str, Array] = {}

    def initial_state(self, batch_size: int) -> State:
        """Returns a step count of zero."""
        return {"steps": np.zeros(batch_size, np.int64)}

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Draws actions; checks that the state was restarted with the episode."""
        steps = state["steps"]
        assert np.array_equal(observation[:, 2].astype(np.int64), steps), (observation[:, 2], steps)
        size = len(observation)
        action = self._rng.integers(0, self._num_actions, size) if explore else np.zeros(size, np.int64)
        extras = {"seen": observation.astype(np.float32, copy=True), "value": steps.astype(np.float32)}
        return Decision(action, {"steps": steps + 1}, extras, 1.0 + steps.astype(np.float64))

    def refresh(self, observation: Array) -> Refreshed:
        """Finds out what it had remembered, so that extras that come to another row are seen."""
        assert self._weights, "set_weights comes before refresh"
        value = observation[:, 2].astype(np.float32)
        return Refreshed({"seen": observation.astype(np.float32, copy=True), "value": value}, 1.0 + value.astype(float))

    def set_weights(self, weights: Weights) -> None:
        """Keeps a copy."""
        self._weights = {name: np.array(array) for name, array in weights.arrays.items()}

    def weights(self) -> Mapping[str, Array]:
        """See `Policy`."""
        return self._weights

    def save(self) -> Saved:
        """Returns the random state."""
        return {"rng": self._rng.bit_generator.state}

    def load(self, saved: Saved) -> None:
        """Takes over the random state."""
        self._rng.bit_generator.state = saved["rng"]


class RecitingPolicy(CheckingPolicy):
    """Tells its weights by its greedy actions: on `rlsys/Paying-v0` a game's return is `recited` of them.

    `pause_s` seconds pass in each decision, so that an evaluation can take as long as a test wants.
    """

    pause_s = 0.0

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Acts at random while it explores."""
        decision = super().act(observation, state, explore=explore)
        if explore:
            return decision
        time.sleep(self.pause_s)
        return replace(decision, action=np.full(len(observation), _recited_action(int(self._weights["steps"][0]))))


class SlowlyRecitingPolicy(RecitingPolicy):
    """A game of it takes a second and a half."""

    pause_s = 0.5


def recited(learner_step: int) -> float:
    """Returns what a game of the weights of a learner step comes to; the weights of step 40 are the best."""
    return 3.0 * _recited_action(learner_step)


def _recited_action(learner_step: int) -> int:
    return 5_000 - abs(learner_step - 40)


def undiscounted(config: Section) -> ValueSpec:
    """Returns what values of algorithms for tests are of."""
    return ValueSpec(1.0, "value")


class CheckingLearner(Learner):
    """Counts its updates and checks each batch; its weights are that count."""

    def __init__(self, context: LearnerContext) -> None:
        self._config: CheckingConfig = context.config
        self._ranks = context.num_ranks
        self._timed = context.timed
        self._steps = 0
        self._begun_with = 0
        self._checksum = 0.0

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Samples, checks, updates priorities."""
        config = self._config
        batch = replay.sample(config.batch_size // self._ranks, config.length, {"seen": 2})
        check_batch(batch, config.length)
        self._steps += 1
        if self._steps == config.fail_at_step:
            raise WorkerError(f"loss/total is not finite at learner step {self._steps}. Lower the learning rate.")
        with self._timed("copy"):
            priority = 1.0 + batch.observation[:, 0, 2].astype(np.float64)
        replay.update_priorities(batch.key, priority)
        self._checksum += float(batch.observation[:, 0].sum())
        return {"loss/total": float(batch.observation[:, 0, 2].mean()), "loss/checksum": self._checksum}

    def weights(self) -> Mapping[str, Array]:
        """Returns the number of updates, with those of the run that it began from."""
        return {"steps": np.array([self._begun_with + self._steps], np.int64)}

    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Counts on."""
        self._begun_with = int(weights["steps"][0])

    def save(self) -> Saved:
        """Returns the counters."""
        return {"steps": self._steps, "begun_with": np.array(self._begun_with), "checksum": self._checksum}

    def load(self, saved: Saved) -> None:
        """Takes over the counters."""
        self._steps, self._begun_with, self._checksum = saved["steps"], int(saved["begun_with"]), saved["checksum"]


class DrawingLearner(CheckingLearner):
    """Draws with each step, as a learner that shuffles does."""

    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self.rng = np.random.default_rng(context.draw_seed)

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Says what it drew."""
        return {**super().step(replay), "loss/drawn": float(self.rng.random())}

    def save(self) -> Saved:
        """Returns the random state, too."""
        return {**super().save(), "rng": self.rng.bit_generator.state}

    def load(self, saved: Saved) -> None:
        """Takes over the random state, too."""
        super().load(saved)
        self.rng.bit_generator.state = saved["rng"]


class PatientLearner(CheckingLearner):
    """Learns from a data set, whose extras are zero until they are refreshed; tells how many first rows are known."""

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Samples, and checks what is known."""
        size = self._config.batch_size // self._ranks
        batch = replay.sample(size, self._config.length)
        known = batch.weights_version >= 0
        assert np.array_equal(batch.extras["seen"][known, 0], batch.observation[known, 0]), batch.extras["seen"]
        replay.update_priorities(batch.key, np.ones(size))
        self._steps += 1
        return {"loss/known": float(known.mean())}


def check_batch(batch: Batch, length: int) -> None:
    """Asserts that each window is an unbroken run of rows of one episode of `rlsys/Counting-v0`."""
    for index in range(len(batch.key)):
        rows = int(batch.num_rows[index])
        assert 1 <= rows <= length, rows
        seen = batch.observation[index]
        steps = seen[0, 2] + np.arange(length)
        last = min(rows + 1, length)
        assert (seen[:last, :2] == seen[0, :2]).all(), seen
        assert np.array_equal(seen[:last, 2], steps[:last]), seen
        assert not seen[last:].any(), "rows past the end of a segment must be zero"
        kept = min(2, rows)
        assert np.array_equal(batch.extras["seen"][index, :kept], seen[:kept]), batch.extras["seen"][index]
        assert np.array_equal(batch.extras["value"][index, :rows], steps[:rows]), batch.extras["value"][index]
        ended = batch.terminated[index] | batch.truncated[index]
        assert not ended[: rows - 1].any(), ended
        assert not ended[rows:].any(), ended


def _cut(config: CheckingConfig, env: EnvSpec) -> Segments:
    extras = {"seen": ArraySpec(env.observation.shape, "float32"), "value": ArraySpec((), "float32")}
    return Segments(length=config.segment_length, overlap=config.length, bootstrap_extras=True, extras=extras)


def _store(config: CheckingConfig, env: EnvSpec) -> TableSpec:
    return TableSpec(
        max_size=config.window_size,
        sampler="prioritized",
        min_size_to_sample=config.stored_before_train,
        samples_per_insert=config.samples_per_insert,
        error_buffer=16.0 * config.batch_size + 200.0 * (config.samples_per_insert or 1.0),
        batch_size=config.batch_size,
    )


def _check(config: CheckingConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    if config.batch_size % num_ranks:
        raise ConfigError(f"batch_size = {config.batch_size} is not divisible by {num_ranks} learners. Change either.")


CHECKING = Algorithm(
    name="checking",
    config_type=CheckingConfig,
    make_policy=CheckingPolicy,
    make_learner=CheckingLearner,
    cut=_cut,
    store=_store,
    check=_check,
    values=undiscounted,
    refreshes="refreshed_share",
    example_env={"id": "rlsys/Counting-v0"},
)
"""The record; it is handed to the runtime directly, since it is no folder of rlsys/algorithms."""

RECITING = replace(CHECKING, make_policy=RecitingPolicy)
"""The same with a policy whose evaluations say which weights were evaluated."""

PATIENT = replace(CHECKING, make_learner=PatientLearner)
"""The same with a learner that begins with a data set."""

SLOWLY_RECITING = replace(CHECKING, make_policy=SlowlyRecitingPolicy)
