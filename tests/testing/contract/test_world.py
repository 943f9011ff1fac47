"""A world that breaks a promise is told which."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.refusals import refused

from rlsys.api import (
    LearnerContext,
    Saved,
    WorldContext,
)
from rlsys.testing.worlds import DOTS, DotsLearner, DotWorld
from rlsys.types import Array


class Drifting(DotWorld):
    def step(self, action: Array) -> tuple[Array, Array, Array]:
        frame, reward, is_over = super().step(action)
        return frame, reward + torch.rand(1).numpy(), is_over


class Blind(DotWorld):
    def begin(self, observation: Array, action: Array) -> Array:
        return np.zeros_like(super().begin(observation, action))


class Imprecise(DotWorld):
    def step(self, action: Array) -> tuple[Array, Array, Array]:
        frame, reward, is_over = super().step(action)
        return frame, reward.astype(np.float64), is_over


class Single(DotWorld):
    def __init__(self, num_environments: int) -> None:
        super().__init__(1)


@pytest.mark.parametrize(
    ("world", "sentence"),
    [
        (Drifting, "worlds of the same seed foretell the same"),
        (Blind, "`begin` returns the last frames of the history"),
        (Imprecise, r"`step` returns rewards, float32 of shape \(2,\); it is float64 of \(2,\)"),
        (Single, "a world has the copies that are asked for .*; it has 1 of 2"),
    ],
)
def test_a_world_that_breaks_a_promise_is_told_which(world: type[DotWorld], sentence: str) -> None:
    def make(context: WorldContext) -> DotWorld:
        return world(context.num_environments)

    refused(replace(DOTS, make_world=make), sentence)


class Secretive(DotsLearner):
    def save(self) -> Saved:
        return {"steps": self._steps, "begun_with": self._begun_with}


class Worldly(DotsLearner):
    def __init__(self, context: LearnerContext) -> None:
        super().__init__(context)
        self._error_after += context.rank


def test_a_world_comes_with_what_makes_it_and_is_the_same_on_all_ranks() -> None:
    refused(replace(DOTS, make_world=None), "with a world that is saved comes `make_world`")
    refused(replace(DOTS, make_learner=Secretive), "with `make_world` a learner saves its 'world'")
    refused(replace(DOTS, make_learner=Worldly), "all ranks have the same world model")
