"""Every kind of observation and action through the whole pipe: acted in, stored, learned from, evaluated, resumed."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import MakeRecorder, MakeSpec, rows_by_step, run_inline

from rlsys.api import Decision, LearnerContext, PolicyContext, Replay, Saved, Segments, Spaces, Unrolls
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.evaluation.agents.random_policy import RandomPolicy
from rlsys.runs.spec import RunSpec
from rlsys.testing.algorithm import CHECKING, CheckingConfig, CheckingLearner
from rlsys.testing.unrolls import CHECKING_UNROLLS
from rlsys.types import Array, ArraySpec, Batch, EnvSpec, State

ENVIRONMENTS = [
    "Pendulum-v1",
    "Taxi-v3",
    "Blackjack-v1",
    "rlsys/Choices-v0",
    "rlsys/Parts-v0",
    "rlsys/Nested-v0",
    "rlsys/Tuple-v0",
    "rlsys/Start-v0",
]


class RememberingPolicy(RandomPolicy):
    """Acts at random; has replay remember what it saw and what it did."""

    def __init__(self, context: PolicyContext) -> None:
        super().__init__(context)
        self._weights: Mapping[str, Array] = {}

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        action = super().act(observation, state, explore=explore).action
        newest = observation[:, -1] if self._env.num_stack > 1 else observation
        value = np.zeros(len(action), np.float32)
        return Decision(action, {}, {"seen": newest.copy(), "done": action.copy(), "value": value})

    def set_weights(self, weights: Any) -> None:
        self._weights = weights.arrays

    def weights(self) -> Mapping[str, Array]:
        return self._weights

    def save(self) -> Saved:
        return {"rng": self._rng.bit_generator.state}

    def load(self, saved: Saved) -> None:
        self._rng.bit_generator.state = saved["rng"]


class ComparingLearner(CheckingLearner):
    """Checks that replay gives back what the policy saw and did, and sums up all bytes of it."""

    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self._env = context.env

    def step(self, replay: Replay) -> Mapping[str, float]:
        batch = replay.sample(self._config.batch_size, self._config.length)
        self._check(batch)
        self._steps += 1
        summed = sum(np.frombuffer(array.tobytes(), np.uint8).sum() for array in (batch.observation, batch.action))
        self._checksum += float(summed)
        return {"loss/total": 1.0, "loss/checksum": self._checksum}

    def _check(self, batch: Batch) -> None:
        env = self._env
        frames = batch.observation[:, :, -1] if env.num_stack > 1 else batch.observation
        assert batch.observation.shape[2:] == env.policy_observation.shape
        for index, rows in enumerate(batch.num_rows.tolist()):
            acted = np.arange(rows) if not len(batch.environment) else _acted(batch, index)
            assert np.array_equal(frames[index, acted], batch.extras["seen"][index, acted])
            assert np.array_equal(batch.action[index, acted], batch.extras["done"][index, acted])


def _acted(batch: Batch, index: int) -> Array:
    """Returns the rows of an unroll in which something was done: not those after a time limit."""
    cut = batch.truncated[index] & ~batch.terminated[index]
    return np.flatnonzero(~np.concatenate([[False], cut[:-1]]))


def _extras(env: EnvSpec) -> dict[str, ArraySpec]:
    return {"seen": env.observation, "done": env.action, "value": ArraySpec((), "float32")}


def _segments(config: CheckingConfig, env: EnvSpec) -> Segments:
    return dataclasses.replace(CHECKING.cut(config, env), extras=_extras(env))


def _unrolls(config: CheckingConfig, env: EnvSpec) -> Unrolls:
    return dataclasses.replace(CHECKING_UNROLLS.cut(config, env), extras=_extras(env), state={})


EVERYTHING = Spaces(("discrete", "choices", "numbers"), ("array", "integers", "parts"))
SAME: dict[str, Any] = {"make_policy": RememberingPolicy, "make_learner": ComparingLearner, "spaces": EVERYTHING}
ALGORITHMS = {
    "table": dataclasses.replace(CHECKING, cut=_segments, **SAME),
    "queue": dataclasses.replace(CHECKING_UNROLLS, cut=_unrolls, **SAME),
}


def spec_of(make_spec: MakeSpec, kind: str, env: EnvConfig, folder: Path, steps: int) -> RunSpec:
    run = {"training_steps": steps, "log_every_learner_steps": 4, "checkpoint_every_learner_steps": 0}
    evaluation = {"evaluate_every_learner_steps": 8, "evaluation_episodes": 1, "evaluation_max_steps": 4}
    section = {"batch_size": 6, "window_size": 300, "stored_before_train": 60}
    spec = make_spec(section, run={**run, **(evaluation if kind == "table" else {})}, algorithm=ALGORITHMS[kind])
    return dataclasses.replace(spec, env=env, env_spec=env_spec(env), folder=folder)


def trained(spec: RunSpec, make_recorder: MakeRecorder, step: int | None = None) -> dict[int, dict[str, Any]]:
    """Runs, and returns of the rows of metrics what shows where a run went."""
    run_inline(spec, make_recorder, step)
    kept = ("loss/", "episodes/", "replay/", "evaluation/return")
    return {
        number: {name: value for name, value in row.items() if name.startswith(kept)}
        for number, row in rows_by_step(spec).items()
    }


@pytest.mark.parametrize("kind", ALGORITHMS)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_is_seen_and_done_comes_back_from_replay_and_a_resumed_run_goes_on_bit_by_bit(
    kind: str, name: str, make_spec: MakeSpec, make_recorder: MakeRecorder, tmp_path: Path
) -> None:
    env = EnvConfig(id=name, stack_states=2 if name in ("rlsys/Parts-v0", "Taxi-v3") else 1, max_episode_steps=17)
    whole = trained(spec_of(make_spec, kind, env, tmp_path / "whole", 16), make_recorder)
    trained(spec_of(make_spec, kind, env, tmp_path / "parts", 8), make_recorder)
    resumed = trained(spec_of(make_spec, kind, env, tmp_path / "parts", 16), make_recorder, step=8)
    assert whole == resumed
    assert any((tmp_path / "whole").glob("media/*.mp4")) is (kind == "table")
