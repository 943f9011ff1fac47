"""A learner that begins wrongly is told what it should keep to."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from support.refusals import refused

from rlsys.api import (
    Learner,
    Replay,
    Saved,
)
from rlsys.testing.algorithm import CHECKING, CheckingLearner
from rlsys.types import Array


class Deaf(CheckingLearner):
    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        pass


class Continuing(CheckingLearner):
    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        self._steps = int(weights["steps"][0])


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


@pytest.mark.parametrize(
    ("learner", "sentence"),
    [
        (Deaf, "`load_weights` takes over the weights; 'steps' is not as it was given"),
        (Continuing, r"counters, optimizer and generators begin anew .*; \['steps'\] do not"),
        (Hasty, r"a step without a sample changes nothing, .*; it has changed '0\.checksum'"),
        (Dreaming, "the first step begins with a sample"),
    ],
)
def test_a_learner_that_begins_wrongly_is_told_so(learner: type[Learner], sentence: str) -> None:
    refused(replace(CHECKING, make_learner=learner), sentence)
