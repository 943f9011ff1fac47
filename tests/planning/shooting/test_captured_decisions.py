"""Decisions as one graph: nothing in them asks a device for a number, and what is replayed is what was recorded."""

from typing import Any

import pytest
import torch
from support.graphs import RepeatedGraph
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rlsys.ops.captured import Captured
from rlsys.planning.settings import PlannerConfig
from rlsys.planning.shooting.make import make_planner
from rlsys.planning.shooting.plan import Plan
from rlsys.planning.shooting.rollout import rollout_score
from rlsys.testing.dynamics import cart_pole, pendulum

KINDS = ["cem", "icem", "mppi"]


def make_decision(kind: str, discrete: bool, generator: torch.Generator | None) -> tuple[Any, Any, dict[str, Tensor]]:
    config = PlannerConfig(kind=kind, candidates=8, elites=2, iterations=2, horizon=3, warm_start=True)
    step, size = (cart_pole, 2) if discrete else (pendulum, 1)
    planner = make_planner(config, size, discrete=discrete)
    names = ("cart",) if discrete else ("angle", "speed")

    def decide(inputs: Any) -> Plan:
        score = rollout_score(step, {name: inputs[name] for name in names}, discount=0.99, generator=generator)
        return planner.plan(score, inputs, generator)

    shape = (3, 4) if discrete else (3,)
    state = {name: torch.linspace(-0.1, 0.1, 3 * (4 if discrete else 1)).reshape(shape) for name in names}
    return decide, planner, state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("discrete", [True, False])
def test_a_decision_never_waits_for_a_number(kind: str, discrete: bool) -> None:
    decide, planner, state = make_decision(kind, discrete, None)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:  # tensors without numbers: to ask for one is an error
        inputs = {name: mode.from_tensor(value) for name, value in {**state, **planner.begin(3, "cpu")}.items()}
        plan = decide(inputs)
    assert plan.action.shape == (3, 2 if discrete else 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("discrete", [True, False])
def test_a_replayed_decision_is_that_of_the_function(kind: str, discrete: bool) -> None:
    streams = [torch.Generator(), torch.Generator()]
    eager, planner, state = make_decision(kind, discrete, streams[0])
    decide, *_ = make_decision(kind, discrete, streams[1])
    graphed, before = Captured(decide, RepeatedGraph), RepeatedGraph.recorded
    plans, wanted = list[Plan](), list[Plan]()
    for size in (3, 3, 2, 3):
        inputs = {name: value[:size] * (1.0 + len(plans)) for name, value in state.items()}
        inputs |= planner.begin(size, "cpu") if not plans else {k: v[:size] for k, v in plans[0].belief.items()}
        if size not in {len(plan.action) for plan in plans}:
            graphed(inputs)  # what recording draws is its own affair
        for stream in streams:
            stream.manual_seed(len(plans))
        wanted.append(eager(inputs))
        plans.append(graphed(inputs))
    for plan, expected in zip(plans, wanted, strict=True):  # each outlives those after it
        assert all(map(torch.equal, _leaves(plan), _leaves(expected)))
    assert RepeatedGraph.recorded - before == 2, "one graph for each size"


def _leaves(plan: Plan) -> list[Tensor]:
    leaves: list[Tensor] = torch.utils._pytree.tree_leaves(plan)
    return leaves
