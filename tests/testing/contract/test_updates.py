"""A learner whose updates break a promise is told which."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.refusals import refused

from rlsys.api import (
    Learner,
    LearnerContext,
    Replay,
)
from rlsys.testing.algorithm import CHECKING, CheckingConfig, CheckingLearner
from rlsys.testing.unrolls import CHECKING_UNROLLS, UnrollCheckingLearner
from rlsys.types import Array, ModelComparison


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


class Endless(CheckingLearner):
    def steps_left(self) -> int | None:
        return 7


class Filming(CheckingLearner):
    shape: tuple[int, ...] = (3,)

    def shown(self) -> Mapping[str, Any]:
        frames = np.zeros((4, *self.shape), np.uint8)
        return {"world/film": [ModelComparison(frames, frames, np.zeros(4), np.zeros(4))]}


class FilmingFlat(Filming):
    shape = ()


class Wanting(CheckingLearner):
    def __init__(self, context: LearnerContext) -> None:
        super().__init__(replace(context, num_ranks=1))


@pytest.mark.parametrize(
    ("learner", "sentence"),
    [
        (Idle, "a learner changes its weights some day; after 40 updates they are as they were"),
        (Attached, "`weights` returns arrays of its own"),
        (Silent, "a step reports metrics"),
        (Ungrouped, "metrics are named group/name; one is called 'loss'"),
        (Infinite, "metrics are finite numbers; loss/total is inf"),
        (Endless, "`steps_left` falls by one with every step; it was 7 and is 7"),
        (Filming, "what is shown is given once"),
        (FilmingFlat, "a film has a uint8 frame per reward"),
        (Wanting, "all ranks together sample at most what the store's batch_size says, 16; each of 2 samples 16"),
    ],
)
def test_a_learner_whose_updates_break_a_promise_is_told_which(learner: type[Learner], sentence: str) -> None:
    refused(replace(CHECKING, make_learner=learner), sentence)


class NeverAsking(UnrollCheckingLearner):
    def turns(self) -> int | None:
        return 1


class Retracting(UnrollCheckingLearner):
    def turns(self) -> int | None:
        return 5 - self._batches


@pytest.mark.parametrize(
    ("learner", "sentence"),
    [
        (NeverAsking, r"a learner samples what it has asked for, .*; it waits \(.*\), and turns\(\) is 1 as before"),
        (Retracting, "`turns` never falls; it was 5 and is 4"),
    ],
)
def test_a_learner_whose_turns_are_wrong_is_told_so(learner: type[Learner], sentence: str) -> None:
    section = CheckingConfig(on_policy=1, length=7)
    refused(replace(CHECKING_UNROLLS, make_learner=learner), sentence, section)
