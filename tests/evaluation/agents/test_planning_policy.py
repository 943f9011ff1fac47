"""Acting by trying in a world model: what is tried, what is expected of it, and what the model begins from."""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.worlds import BENT, ENV, Line, Slope, seen
from torch import Tensor

from rlsys.api import Decision, Policy, PolicyContext, World, WorldContext, WorldState, WorldStep
from rlsys.errors import ConfigError
from rlsys.evaluation.agents.planning_policy import MakePlanningPolicy, Planning, PlanningPolicy
from rlsys.types import Array, ArraySpec, State, Weights


class Walker(Policy):
    """Always does one action, expects its place, and counts its decisions in its state."""

    def __init__(self, action: int, expects: float = 0.0) -> None:
        self._action, self._expects = action, expects

    def initial_state(self, batch_size: int) -> State:
        return {"count": np.zeros(batch_size)}

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        assert observation.shape[1:] == (2, 1)
        size = len(observation)
        value = self._expects * observation[:, -1, 0]
        return Decision(np.full(size, self._action), {"count": state["count"] + 1}, {"value": value})

    def set_weights(self, weights: Weights) -> None:
        raise AssertionError("not here")

    def weights(self) -> Mapping[str, Array]:
        return {}


def planner(policy: Policy, world: Line | None = None, **numbers: Any) -> PlanningPolicy:
    return PlanningPolicy(policy, world or Line(), ENV, Planning(**{"rollouts": 6, "horizon": 3, **numbers}), "value")


def chosen(policy: PlanningPolicy, *places: float) -> tuple[list[int], list[float]]:
    decision = policy.act(seen(*places), policy.initial_state(len(places)), explore=False)
    return decision.action.tolist(), decision.extras["value"].tolist()


def test_the_best_beginning_is_done_in_each_environment() -> None:
    # To the right: 3 is reached after 2 steps from 1; -1 is nearer to 0 but the walker cannot return to it.
    actions, values = chosen(planner(Walker(2), discount=0.5), 1.0, 0.0)
    assert actions == [2, 0]
    assert values == pytest.approx([0.5 * 1.0, 0.5])


def test_what_is_earned_later_counts_less_and_nothing_comes_after_the_end() -> None:
    _, values = chosen(planner(Walker(2, expects=100.0), discount=0.9), 2.0)
    assert values == pytest.approx([1.0]), "the episode ends at 3: nothing is expected there"
    # From -3: right, right, right to 0, past -1 after two steps; then 4 is expected for every place, here none.
    _, values = chosen(planner(Walker(2, expects=4.0), discount=0.9, horizon=4), -3.0)
    assert values == pytest.approx([0.5 * 0.9 + 0.9**4 * 4.0])


def test_rollouts_are_shared_out_evenly_and_begin_at_real_history() -> None:
    world = Line()
    policy = planner(Walker(1), world, rollouts=7)
    state = policy.initial_state(2)
    first = policy.act(seen(5.0, 9.0), state, explore=False)
    state = policy.after_step(first.state, np.array([2, 0]), np.zeros(2))
    second = policy.act(seen(6.0, 8.0), state, explore=False)
    assert set(world.sizes) == {14}
    observation, action = world.began[0]
    assert observation[:, :, 0].tolist() == [[5.0] * 3, [9.0] * 3], "each is begun once"
    observation, action = world.began[1]
    assert observation[:, :, 0].tolist() == [[5.0, 5.0, 6.0], [9.0, 9.0, 8.0]]
    assert action.tolist() == [[0, 2], [0, 0]]
    assert second.state["count"].tolist() == [2, 2], "what is imagined is not remembered"


def test_a_model_that_needs_less_history_is_told_no_more_than_there_was() -> None:
    world = Line(min_context=1)
    policy = planner(Walker(1), world)
    state = policy.initial_state(1)
    for place in (5.0, 6.0, 7.0, 8.0):
        state = policy.after_step(policy.act(seen(place), state, explore=False).state, np.array([2]), np.zeros(1))
    assert [observation[0, :, 0].tolist() for observation, _ in world.began] == [[5], [5, 6], [5, 6, 7], [6, 7, 8]]
    assert [action[0].tolist() for _, action in world.began] == [[], [2], [2, 2], [2, 2]]
    fresh = policy.initial_state(1)
    world.began.clear()
    joined = {name: np.concatenate([value, fresh[name]]) for name, value in state.items()}
    decision = policy.act(seen(9.0, 1.0), joined, explore=False)
    assert [observation[:, :, 0].tolist() for observation, _ in world.began] == [[[1]], [[7, 8, 9]]]
    assert decision.action.tolist() == chosen(planner(Walker(1)), 9.0, 1.0)[0]


def test_when_episodes_end_fewer_copies_go_on() -> None:
    world = Line()
    policy = planner(Walker(2), world)
    state = policy.act(seen(0.0, 1.0, 2.0), policy.initial_state(3), explore=False).state
    decision = policy.act(seen(2.0), {name: value[1:2] for name, value in state.items()}, explore=False)
    assert decision.action.tolist() == [2]
    assert sorted(set(world.sizes)) == [6, 18]


class Sitter(Walker):
    """Does nothing, by a number."""

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        decision = super().act(observation, state, explore=explore)
        return replace(decision, action=np.zeros((len(observation), 1), np.float32))


def test_numbers_are_tried_at_random_beside_what_the_policy_would_do() -> None:
    world = Slope()
    policy = PlanningPolicy(Sitter(0), world, BENT, Planning(rollouts=100, horizon=2), "value", seed=3)
    state = policy.initial_state(3)
    decision = policy.act(seen(1.0, 0.0, 9.0), state, explore=False)
    assert set(world.sizes) == {300}
    assert decision.action.dtype == np.float32
    assert decision.action[0].tolist() == [0.0], "nothing is better than what the policy does"
    assert decision.action[1, 0] == pytest.approx(1.0, abs=0.1)
    assert decision.action[2, 0] == pytest.approx(-2.0, abs=0.1), "within the bounds"
    state = policy.after_step(decision.state, decision.action, np.zeros(3, np.float32))
    policy.act(seen(1.0, 1.0, 7.0), state, explore=False)
    assert np.array_equal(world.began[-1][1][:, -1], decision.action), "the model is told what was done"


def test_of_several_choices_at_once_random_ones_are_tried_likewise() -> None:
    env = replace(ENV, action=ArraySpec((2,), "int64"), num_actions=0, action_choices=(3, 4))

    class Sum(Line):
        def step(self, state: WorldState, action: Tensor, generator: Any = None) -> tuple[WorldState, WorldStep]:
            return state, WorldStep(action.sum(dim=1).float(), torch.zeros(len(action), dtype=torch.bool))

    class First(Walker):
        def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
            return Decision(np.zeros((len(observation), 2), np.int64), state)

    policy = PlanningPolicy(First(0), Sum(), env, Planning(rollouts=100, horizon=2), "value")
    decision = policy.act(seen(0.0), policy.initial_state(1), explore=False)
    assert decision.action.tolist() == [[2, 3]]


def make_walker(context: PolicyContext) -> Policy:
    return Walker(2)


def make_line(context: WorldContext) -> World:
    assert context.saved == {"parameters": 1}
    return Line()


def test_it_can_be_sent_to_other_processes() -> None:
    world = WorldContext(None, ENV, {"parameters": 1})
    make = MakePlanningPolicy(make_walker, make_line, world, Planning(6, 3, 0.5), "value")
    make = pickle.loads(pickle.dumps(make))
    assert chosen(make(PolicyContext(None, ENV, seed=7)), 1.0)[0] == [2]


def test_more_actions_than_can_be_tried_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"rollouts = 2 with 'line', which has 3 actions; each must be tried\."):
        PlanningPolicy(Walker(1), Line(), ENV, Planning(rollouts=2), "value")
