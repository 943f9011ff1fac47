"""The checking algorithm for queues: every row of every environment must arrive once, in order, with its state.

Made for `rlsys/Counting-v0`, like `rlsys.testing.algorithm`, whose policy it shares.
"""

from collections.abc import Mapping

import numpy as np

from rlsys.api import Algorithm, Learner, LearnerContext, QueueSpec, Replay, Saved, Turns, Unrolls
from rlsys.errors import ConfigError
from rlsys.testing.algorithm import CheckingConfig, CheckingPolicy, undiscounted
from rlsys.types import Array, ArraySpec, Batch, EnvSpec


class UnrollCheckingLearner(Learner):
    """Follows each environment from unroll to unroll; its weights are the number of its updates."""

    def __init__(self, context: LearnerContext) -> None:
        self._config: CheckingConfig = context.config
        size = context.config.batch_size // context.num_ranks
        self._batch_size = context.batch_size if context.config.on_policy else size
        self._steps = 0
        self._begun_with = 0
        self._batches = 0
        self._lost = 0
        self._next: dict[int, list[int]] = {}
        """Environment -> position, episode and step that must come next."""

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Samples and checks; or, as a learner with phases, only counts."""
        if self._rests():
            self._steps += 1
            return {"loss/resting": 1.0}
        batch = replay.sample(self._batch_size, self._config.length)
        for index in range(len(batch.environment)):
            self._check(batch, index)
        self._steps += 1
        self._batches += 1
        return {"loss/total": 1.0, "replay/lost_unrolls": float(self._lost)}

    def turns(self) -> int | None:
        """Asks for a turn when it does not rest, and with each step if it never does."""
        return (self._batches if self._rests() else self._batches + 1) if self._config.rest_steps else None

    def steps_left(self) -> int | None:
        """Ends after so many batches, if that is set."""
        steps = (self._config.batches - 1) * (self._config.rest_steps + 1) + 1
        return max(0, steps - self._steps) if self._config.batches else None

    def _rests(self) -> bool:
        return self._steps % (self._config.rest_steps + 1) != 0

    def weights(self) -> Mapping[str, Array]:
        """Returns the number of updates, with those of the run that it began from."""
        return {"steps": np.array([self._begun_with + self._steps], np.int64)}

    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Counts on."""
        self._begun_with = int(weights["steps"][0])

    def save(self) -> Saved:
        """Returns what comes next of each environment."""
        following = {str(environment): list(expected) for environment, expected in self._next.items()}
        return {"steps": self._steps, "batches": self._batches, "lost": self._lost, "next": following}

    def load(self, saved: Saved) -> None:
        """Takes over what `save` returned."""
        self._steps, self._batches, self._lost = saved["steps"], saved["batches"], saved["lost"]
        self._next = {int(environment): list(expected) for environment, expected in saved["next"].items()}

    def _check(self, batch: Batch, index: int) -> None:
        environment, position = int(batch.environment[index]), int(batch.position[index])
        seen = batch.observation[index]
        expected = self._next.get(environment)
        if expected is None or position != expected[0]:
            self._lost += expected is not None and position != 0  # after a restart positions begin again
        else:
            assert [int(number) for number in seen[0, 1:]] == expected[1:], (seen[0], expected)
        assert batch.state["steps"][index] == seen[0, 2], "the state belongs to row 0"
        episode, step = check_rows(batch, index)
        self._next[environment] = [position + 1, episode, step]


def check_rows(batch: Batch, index: int) -> tuple[int, int]:
    """Asserts that an unroll counts on through its episodes; returns the episode and step of the row after it."""
    seen, length = batch.observation[index], len(batch.reward[index])
    episode, step, is_bootstrap = int(seen[0, 1]), int(seen[0, 2]), False
    for t in range(length):
        assert (seen[t, 0], seen[t, 1], seen[t, 2]) == (seen[0, 0], episode, step), (t, seen[t], episode, step)
        ended, truncated = bool(batch.terminated[index, t]), bool(batch.truncated[index, t])
        if is_bootstrap:
            assert batch.reward[index, t] == 0.0
            assert not ended
            assert not truncated
            episode, step, is_bootstrap = episode + 1, 0, False
            continue
        assert batch.reward[index, t] == step + 1, (t, batch.reward[index])
        assert batch.extras["value"][index, t] == step
        episode, step = (episode + 1, 0) if ended else (episode, step + 1)
        if truncated and t == length - 1:
            assert seen[length, 2] == step, "a truncated unroll ends with the last observation of the episode"
            episode, step = episode + 1, 0
        else:
            is_bootstrap = truncated
    return (episode + 1, 0) if is_bootstrap else (episode, step)


def _cut(config: CheckingConfig, env: EnvSpec) -> Unrolls:
    extras = {"seen": ArraySpec(env.observation.shape, "float32"), "value": ArraySpec((), "float32")}
    return Unrolls(length=config.length, extras=extras, state={"steps": ArraySpec((), "int64")})


def _store(config: CheckingConfig, env: EnvSpec) -> QueueSpec:
    return QueueSpec(max_size=4 * config.batch_size, batch_size=config.batch_size)


def _turns(config: CheckingConfig, env: EnvSpec) -> Turns | None:
    return Turns(unrolls=config.on_policy) if config.on_policy else None


def _check(config: CheckingConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    if config.batch_size % num_ranks:
        raise ConfigError(f"batch_size = {config.batch_size} is not divisible by {num_ranks} learners. Change either.")


CHECKING_UNROLLS = Algorithm(
    name="checking",
    config_type=CheckingConfig,
    make_policy=CheckingPolicy,
    make_learner=UnrollCheckingLearner,
    cut=_cut,
    store=_store,
    turns=_turns,
    check=_check,
    values=undiscounted,
    example_env={"id": "rlsys/Counting-v0"},
    is_reactive=True,
)
"""The record; it is handed to the runtime directly, like `rlsys.testing.algorithm.CHECKING`."""
