"""A policy that breaks a promise is told which."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from support.refusals import refused

from rlsys.api import (
    Decision,
    Policy,
    Refreshed,
    Saved,
)
from rlsys.testing.algorithm import CHECKING, CheckingPolicy
from rlsys.testing.contract import check_algorithm
from rlsys.types import Array, State, Weights


class Prejudiced(CheckingPolicy):
    def weights(self) -> Mapping[str, Array]:
        return self._weights or {"steps": np.zeros(1)}


class Rounding(CheckingPolicy):
    def set_weights(self, weights: Weights) -> None:
        self._weights = {name: array.astype(np.float32) for name, array in weights.arrays.items()}


class Taciturn(CheckingPolicy):
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        return replace(super().act(observation, state, explore=explore), extras={})


class Mistyped(CheckingPolicy):
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        decision = super().act(observation, state, explore=explore)
        return replace(decision, extras={**decision.extras, "value": state["steps"]})


class Growing(CheckingPolicy):
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        decision = super().act(observation, {"steps": state["steps"]}, explore=explore)
        return replace(decision, state={**decision.state, "more": state["steps"]})


class Clinging(CheckingPolicy):
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        decision = super().act(observation, state, explore=explore)
        return replace(decision, extras={**decision.extras, "seen": observation})


class Scribbling(CheckingPolicy):
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        decision = super().act(observation, state, explore=explore)
        observation[:] = 0.0
        return decision


class Inventive(CheckingPolicy):
    def refresh(self, observation: Array) -> Refreshed:
        return Refreshed({"foreseen": observation})


class Grudging(CheckingPolicy):
    def refresh(self, observation: Array) -> Refreshed:
        return replace(super().refresh(observation), priority=-np.ones(len(observation)))


class Unseeded(CheckingPolicy):
    def load(self, saved: Saved) -> None:
        pass


class Negative(CheckingPolicy):
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        return replace(super().act(observation, state, explore=explore), priority=np.full(len(observation), -1.0))


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        (Prejudiced, "a policy acts with nothing before it is given weights"),
        (Rounding, "a policy acts with the weights that it was given, bit by bit; they differ in 'steps'"),
        (Taciturn, "`act` returns the extras that are to be stored; there is no seen"),
        (Mistyped, r"`act` returns the extras that are to be stored; value is int64 of shape \(3,\), not float32"),
        (Growing, "a state keeps names, shapes and types of the initial one"),
        (Clinging, "`act` copies what it keeps of an observation, which is overwritten; seen lies in its memory"),
        (Scribbling, "`act` leaves observations as they are"),
        (Unseeded, "a restored policy decides as the one that was saved; with explore=True they differ in 'action'"),
        (Negative, "initial priorities are finite and at least 0"),
        (Inventive, "`refresh` finds out extras that are stored; foreseen are none"),
        (Grudging, "new priorities are finite and at least 0"),
    ],
)
def test_a_policy_that_breaks_a_promise_is_told_which(policy: type[Policy], sentence: str) -> None:
    refused(replace(CHECKING, make_policy=policy), sentence)


class Wavering(CheckingPolicy):
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        return super().act(observation, state, explore=True)


def test_a_policy_that_draws_though_it_does_not_explore_is_told_so() -> None:
    refused(replace(CHECKING, make_policy=Wavering), "a policy takes the best action at temperature 0, the same every")


class Neighbourly(CheckingPolicy):
    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        decision = super().act(observation, state, explore=explore)
        return replace(decision, action=np.arange(len(observation)) % 3)


def test_a_policy_that_looks_at_other_rows_is_not_reactive() -> None:
    check_algorithm(replace(CHECKING, make_policy=Neighbourly))
    refused(replace(CHECKING, make_policy=Neighbourly, is_reactive=True), "a decision depends on its own row alone")
