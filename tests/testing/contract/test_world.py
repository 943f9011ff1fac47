"""A world that breaks a promise is told which."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.refusals import refused
from torch import Tensor

from rlsys.api import LearnerContext, Saved, WorldState, WorldStep
from rlsys.config import EnvConfig
from rlsys.evaluation.agents.random_policy import RandomPolicy
from rlsys.testing.contract import check_algorithm
from rlsys.testing.contract.world import check_world
from rlsys.testing.training import Training
from rlsys.testing.worlds import DOTS, DotsLearner, DotWorld, RecurrentWorld

Stepped = tuple[WorldState, WorldStep]


def test_a_world_that_remembers_keeps_the_contract() -> None:
    check_algorithm(replace(DOTS, make_world=lambda context: RecurrentWorld(context.env)))


@pytest.mark.parametrize("name", ["Pendulum-v1", "rlsys/Nested-v0", "rlsys/Choices-v0"])
def test_worlds_of_numbers_of_choices_and_of_named_parts_are_checked_alike(name: str) -> None:
    algorithm = replace(DOTS, make_policy=RandomPolicy, make_world=lambda context: RecurrentWorld(context.env))
    training = Training(algorithm, env_config=EnvConfig(id=name))
    check_world(training)
    training.close()


class Drifting(DotWorld):
    def step(self, state: WorldState, action: Tensor, generator: Any = None) -> Stepped:
        after, step = super().step(state, action, generator)
        return after, step._replace(reward=step.reward + torch.rand(1))


class Keeping(DotWorld):
    """Counts the steps of all its states together."""

    count = 0

    def step(self, state: WorldState, action: Tensor, generator: Any = None) -> Stepped:
        after, step = super().step(state, action, generator)
        self.count += 1
        return after, step._replace(reward=step.reward + self.count)

    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        self.count = 0
        return super().begin(observation, action)


class Overwriting(DotWorld):
    def step(self, state: WorldState, action: Tensor, generator: Any = None) -> Stepped:
        after, step = super().step(state, action, generator)
        state["steps"].add_(1)
        return after, step


class Greedy(DotWorld):
    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        state = super().begin(observation, action)
        observation.zero_()
        return state


class Imprecise(DotWorld):
    def step(self, state: WorldState, action: Tensor, generator: Any = None) -> Stepped:
        after, step = super().step(state, action, generator)
        return after, step._replace(reward=step.reward.double())


class Growing(DotWorld):
    def step(self, state: WorldState, action: Tensor, generator: Any = None) -> Stepped:
        after, step = super().step(state, action, generator)
        return {**after, "all": torch.zeros(len(action), 1 + len(state.get("all", torch.zeros(1, 0))[0]))}, step


class Ranked(DotWorld):
    """Rewards each copy by its place."""

    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        return {**super().begin(observation, action), "place": torch.arange(len(action))}

    def step(self, state: WorldState, action: Tensor, generator: Any = None) -> Stepped:
        after, step = super().step(state, action, generator)
        return {**after, "place": state["place"]}, step._replace(reward=step.reward + state["place"])


class Scalar(DotWorld):
    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        return {**super().begin(observation, action), "age": torch.zeros(1)}


class Hoarding(RecurrentWorld):
    """Keeps all the history that it was given."""

    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        return {**super().begin(observation, action), "history": observation}

    def step(self, state: WorldState, action: Tensor, generator: Any = None) -> Stepped:
        after, step = super().step(state, action, generator)
        return {**after, "history": state["history"]}, step


def of_dots(kind: type[DotWorld]) -> Any:
    return lambda context: kind()


@pytest.mark.parametrize(
    ("make_world", "sentence"),
    [
        (of_dots(Drifting), "worlds foretell the same with equal generators"),
        (of_dots(Keeping), "several states are alive at once in a world; stepping one of them has changed another"),
        (of_dots(Overwriting), "`step` leaves the state that it is given as it is"),
        (of_dots(Greedy), "`begin` leaves the history as it is"),
        (of_dots(Imprecise), r"`step` returns rewards, float32 of shape \(3,\); it is float64 of \(3,\)"),
        (of_dots(Growing), "a state keeps names, shapes and types"),
        (of_dots(Ranked), "rows of a state can be chosen and repeated, .* as if begun there; their reward differs"),
        (of_dots(Scalar), "a state has tensors on the world's device, a row for each of 3 copies"),
        (
            lambda context: Hoarding(context.env),
            "a state has the same names, shapes and types however long the history",
        ),
        (lambda context: DotWorld(min_context=4, max_context=3), "a world begins from at least one row"),
    ],
)
def test_a_world_that_breaks_a_promise_is_told_which(make_world: Any, sentence: str) -> None:
    refused(replace(DOTS, make_world=make_world), sentence)


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
