"""The contract of algorithms: those that keep it pass, and each that breaks one promise is told which."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.refusals import refused

from rlsys.api import (
    Algorithm,
    Learner,
    LearnerContext,
    Replay,
    Saved,
    TableSpec,
    ValueSpec,
)
from rlsys.testing.algorithm import CHECKING, CheckingConfig, CheckingLearner
from rlsys.testing.contract import check_algorithm
from rlsys.testing.unrolls import CHECKING_UNROLLS, UnrollCheckingLearner
from rlsys.testing.worlds import DOTS
from rlsys.types import Array, EnvSpec, ModelComparison


@pytest.mark.parametrize(
    ("algorithm", "section"),
    [
        (CHECKING, {}),
        (CHECKING_UNROLLS, {}),
        (CHECKING_UNROLLS, {"on_policy": 1, "length": 7}),
        (CHECKING_UNROLLS, {"on_policy": 2, "length": 7, "rest_steps": 4, "batches": 3}),
        (DOTS, {}),
    ],
)
def test_an_algorithm_that_keeps_the_contract_passes(algorithm: Algorithm, section: dict[str, Any]) -> None:
    check_algorithm(algorithm, algorithm.config_type(**section))


class DrawingLearner(CheckingLearner):
    """Draws with each step, as a learner that shuffles does."""

    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self.rng = np.random.default_rng(context.draw_seed)

    def step(self, replay: Replay) -> Mapping[str, float]:
        return {**super().step(replay), "loss/drawn": float(self.rng.random())}

    def save(self) -> Saved:
        return {**super().save(), "rng": self.rng.bit_generator.state}

    def load(self, saved: Saved) -> None:
        super().load(saved)
        self.rng.bit_generator.state = saved["rng"]


class LateLearner(CheckingLearner):
    """Rests for a long time before its weights change."""

    def weights(self) -> Mapping[str, Array]:
        return {"steps": np.array([self._begun_with + max(0, self._steps - 60)], np.int64)}


@pytest.mark.parametrize("learner", [DrawingLearner, LateLearner])
def test_learners_that_draw_and_those_that_take_their_time_pass(learner: type[Learner]) -> None:
    check_algorithm(replace(CHECKING, make_learner=learner))


class Idle(CheckingLearner):
    def steps_left(self) -> int | None:
        return 40 - self._steps

    def weights(self) -> Mapping[str, Array]:
        return {"steps": np.array([self._begun_with], np.int64)}


class Attached(CheckingLearner):
    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self.array = np.zeros(1, np.int64)

    def weights(self) -> Mapping[str, Array]:
        self.array[0] = self._begun_with + self._steps
        return {"steps": self.array}


class Deaf(CheckingLearner):
    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        pass


class Continuing(CheckingLearner):
    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        self._steps = int(weights["steps"][0])


class Forgetful(CheckingLearner):
    def load(self, saved: Saved) -> None:
        super().load({**saved, "checksum": 0.0})


class Reseeded(DrawingLearner):
    def load(self, saved: Saved) -> None:
        CheckingLearner.load(self, saved)


class Silent(CheckingLearner):
    def step(self, replay: Replay) -> Mapping[str, float]:
        super().step(replay)
        return {}


class Ungrouped(CheckingLearner):
    def step(self, replay: Replay) -> Mapping[str, float]:
        return {"loss": super().step(replay)["loss/total"]}


class Infinite(CheckingLearner):
    def step(self, replay: Replay) -> Mapping[str, float]:
        return {**super().step(replay), "loss/total": float("inf")}


class Hasty(CheckingLearner):
    def step(self, replay: Replay) -> Mapping[str, float]:
        self._checksum += 1.0
        return super().step(replay)


class Dreaming(CheckingLearner):
    def step(self, replay: Replay) -> Mapping[str, float]:
        if self._steps:
            return super().step(replay)
        self._steps += 1
        return {"loss/total": 0.0}


class Endless(CheckingLearner):
    def steps_left(self) -> int | None:
        return 7


class Tupled(CheckingLearner):
    def save(self) -> Saved:
        return {**super().save(), "shape": (1, 2)}


class Filming(CheckingLearner):
    shape: tuple[int, ...] = (3,)

    def films(self) -> Mapping[str, Any]:
        frames = np.zeros((4, *self.shape), np.uint8)
        return {"world/film": [ModelComparison(frames, frames, np.zeros(4), np.zeros(4))]}


class FilmingFlat(Filming):
    shape = ()


class Wanting(CheckingLearner):
    def __init__(self, context: LearnerContext) -> None:
        super().__init__(replace(context, num_ranks=1))


class Apart(CheckingLearner):
    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self.rank = context.rank

    def weights(self) -> Mapping[str, Array]:
        return {"steps": np.array([self._begun_with + self._steps * (1 + self.rank)], np.int64)}


class ApartFromTheStart(CheckingLearner):
    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self._begun_with = context.rank


class Alike(DrawingLearner):
    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self.rng = np.random.default_rng(context.seed)


class Uneven(CheckingLearner):
    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self.context = context

    def step(self, replay: Replay) -> Mapping[str, float]:
        metrics = super().step(replay)
        if self.context.rank:
            self.context.average([torch.zeros(2)])
        return metrics


@pytest.mark.parametrize(
    ("learner", "sentence"),
    [
        (Idle, "a learner changes its weights some day; after 40 updates they are as they were"),
        (Attached, "`weights` returns arrays of its own"),
        (Deaf, "`load_weights` takes over the weights; 'steps' is not as it was given"),
        (Continuing, r"counters, optimizer and generators begin anew .*; \['steps'\] do not"),
        (Forgetful, "a restored learner makes the same next step; .* metrics of the two differ in 'loss/checksum'"),
        (Reseeded, "a restored learner makes the same next step; .* metrics of the two differ in 'loss/drawn'"),
        (Silent, "a step reports metrics"),
        (Ungrouped, "metrics are named group/name; one is called 'loss'"),
        (Infinite, "metrics are finite numbers; loss/total is inf"),
        (Hasty, r"a step without a sample changes nothing, .*; it has changed '0\.checksum'"),
        (Dreaming, "the first step begins with a sample"),
        (Endless, "`steps_left` falls by one with every step; it was 7 and is 7"),
        (Tupled, "a learner saves dicts, lists, arrays and JSON scalars; shape is tuple"),
        (Filming, "a film is given once"),
        (FilmingFlat, "a film has a uint8 frame per reward"),
        (Wanting, "all ranks together sample at most what TableSpec.batch_size says, 16; each of 2 samples 16"),
        (Apart, "all ranks have the same weights; after 1 updates they differ in 'steps'"),
        (ApartFromTheStart, "all ranks have the same weights; at the beginning they differ in 'steps'"),
        (Alike, "ranks draw from `draw_seed`, each something else"),
        (Uneven, r"all ranks average the same tensors .*rank 1 averages tensors of shapes \[\(2,\)\]"),
    ],
)
def test_a_learner_that_breaks_a_promise_is_told_which(learner: type[Learner], sentence: str) -> None:
    refused(replace(CHECKING, make_learner=learner), sentence)


def uniform_queue(config: CheckingConfig, env: EnvSpec) -> TableSpec:
    return TableSpec(max_size=100, sampler="fifo", batch_size=16)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kept": ("lenght",)}, "`environments` and `kept` name fields of its section; 'lenght' is none"),
        ({"table": uniform_queue}, "unrolls go into a queue and segments into a table"),
        ({"values": lambda section: ValueSpec(1.5, "value")}, "values have a discount from 0 to 1; it is 1.5"),
        ({"values": lambda section: ValueSpec(1.0, "worth")}, "`act` returns the values .*; there is no worth"),
    ],
)
def test_a_record_that_does_not_fit_is_told_where(changes: dict[str, Any], sentence: str) -> None:
    refused(replace(CHECKING, **changes), sentence)


class NeverAsking(UnrollCheckingLearner):
    def turns(self) -> int | None:
        return 1


class Retracting(UnrollCheckingLearner):
    def turns(self) -> int | None:
        return 5 - self._batches


@pytest.mark.parametrize(
    ("learner", "sentence"),
    [
        (NeverAsking, r"a learner samples what it has asked for; it waits \(.*\), and turns\(\) is 1 as before"),
        (Retracting, "`turns` never falls; it was 5 and is 4"),
    ],
)
def test_a_learner_whose_turns_are_wrong_is_told_so(learner: type[Learner], sentence: str) -> None:
    section = CheckingConfig(on_policy=1, length=7)
    refused(replace(CHECKING_UNROLLS, make_learner=learner), sentence, section)
