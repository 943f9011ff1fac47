"""Learners that differ where they should not, restored or on other ranks, are told in what."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.refusals import refused

from rlsys.api import (
    Learner,
    LearnerContext,
    Replay,
    Saved,
)
from rlsys.testing.algorithm import CHECKING, CheckingLearner, DrawingLearner
from rlsys.types import Array


class Forgetful(CheckingLearner):
    def load(self, saved: Saved) -> None:
        super().load({**saved, "checksum": 0.0})


class Reseeded(DrawingLearner):
    def load(self, saved: Saved) -> None:
        CheckingLearner.load(self, saved)


class Tupled(CheckingLearner):
    def save(self) -> Saved:
        return {**super().save(), "shape": (1, 2)}


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
        (Forgetful, "a restored learner makes the same next step; .* metrics of the two differ in 'loss/checksum'"),
        (Reseeded, "a restored learner makes the same next step; .* metrics of the two differ in 'loss/drawn'"),
        (Tupled, "a learner saves dicts, lists, arrays and JSON scalars; shape is tuple"),
        (Apart, "all ranks have the same weights; after 1 updates they differ in 'steps'"),
        (ApartFromTheStart, "all ranks have the same weights; at the beginning they differ in 'steps'"),
        (Alike, "ranks draw from `draw_seed`, each something else"),
        (Uneven, r"all ranks average the same tensors .*rank 1 averages tensors of shapes \[\(2,\)\]"),
    ],
)
def test_learners_that_differ_where_they_should_not_are_told_in_what(learner: type[Learner], sentence: str) -> None:
    refused(replace(CHECKING, make_learner=learner), sentence)
