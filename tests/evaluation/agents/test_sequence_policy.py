"""Acting by a planner in a world model: the best sequence is found, from where each environment is."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.worlds import BENT, ENV, Line, Slope, seen

from rlsys.api import Decision, Policy
from rlsys.errors import ConfigError
from rlsys.evaluation.agents.planning_policy import Kind, Planning, planning_of
from rlsys.evaluation.agents.sequence_policy import SequencePolicy
from rlsys.types import Array, EnvSpec, State, Weights


class Unasked(Policy):
    """Must not be asked what to do: its weights are all that is there of it."""

    def initial_state(self, batch_size: int) -> State:
        raise AssertionError("not here")

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        raise AssertionError("not here")

    def set_weights(self, weights: Weights) -> None:
        self.given = weights

    def weights(self) -> Mapping[str, Array]:
        return self.given.arrays


def planner(world: Line, kind: Kind, env: EnvSpec = ENV, **numbers: Any) -> SequencePolicy:
    planning = Planning(**{"rollouts": 64, "horizon": 3, "discount": 0.9, **numbers}, kind=kind)
    return SequencePolicy(Unasked(), world, env, planning, "value")


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi", "tree"])
def test_the_best_sequence_is_begun_in_each_environment(kind: Kind) -> None:
    # To the right 3 is reached after 2 steps from 1; to the left of 0 is -1, where one can stay.
    policy = planner(Line(), kind)
    decision = policy.act(seen(1.0, 0.0, 2.0), policy.initial_state(3), explore=False)
    assert decision.action.tolist() == [2, 0, 2]
    assert decision.action.dtype == np.int64
    value = decision.extras["value"]
    assert value.dtype == np.float32 and value.shape == (3,)
    if kind != "tree":
        assert value == pytest.approx([0.9, 0.5 * (1 + 0.9 + 0.81), 1.0], abs=0.3)


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi"])
def test_numbers_are_within_the_bounds_of_the_environment(kind: Kind) -> None:
    policy = planner(Slope(), kind, BENT, rollouts=200)
    decision = policy.act(seen(1.0, 0.0, 9.0), policy.initial_state(3), explore=False)
    assert decision.action.shape == (3, 1) and decision.action.dtype == np.float32
    assert decision.action[:, 0] == pytest.approx([0.0, 1.0, -2.0], abs=0.25)


def test_plans_go_on_where_they_were_and_begin_from_what_has_happened() -> None:
    world = Line(min_context=1)
    policy = planner(world, "icem")
    state = policy.initial_state(2)
    for place in (5.0, 6.0, 7.0, 8.0):
        decision = policy.act(seen(place, place), state, explore=False)
        state = policy.after_step(decision.state, np.array([2, 2]), np.zeros(2))
    assert [observation[0, :, 0].tolist() for observation, _ in world.began] == [[5], [5, 6], [5, 6, 7], [6, 7, 8]]
    assert any(array.any() for name, array in state.items() if name.startswith("planner/belief/"))
    fresh = policy.initial_state(1)
    world.began.clear()
    joined = {name: np.concatenate([fresh[name], array[:1]]) for name, array in state.items()}
    decision = policy.act(seen(1.0, 0.0), joined, explore=False)
    assert sorted(len(observation[0]) for observation, _ in world.began) == [1, 3], "each with what is known of it"
    assert decision.action.tolist() == [2, 0]


def test_actions_that_no_planner_can_look_for_are_refused() -> None:
    boundless = replace(BENT, action_low=(-np.inf,), action_high=(np.inf,))
    with pytest.raises(ConfigError, match="whose actions have no bounds"):
        planner(Slope(), "icem", boundless)
    with pytest.raises(ConfigError, match="tree search needs discrete actions"):
        planner(Slope(), "tree", BENT)


def test_numbers_that_are_not_given_are_the_usual_ones() -> None:
    assert planning_of(None, None, None) is None
    assert planning_of("icem", None, 5) == Planning(64, 5, kind="icem")
    assert planning_of("tree", None, None) == Planning(64, kind="tree")
    assert planning_of(None, 7, None) == Planning(7)
