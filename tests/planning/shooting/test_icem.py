"""iCEM: what is tried again, and that it needs fewer candidates."""

import math

import pytest
import torch
from torch import Tensor

from rlsys.planning.settings import PlannerConfig
from rlsys.planning.shooting.icem import ICEM, decaying
from rlsys.planning.shooting.make import make_planner
from rlsys.planning.shooting.rollout import rollout_score
from rlsys.planning.shooting.sequences import CategoricalSequences, NormalSequences
from rlsys.testing.dynamics import pendulum


def test_later_iterations_try_fewer_candidates() -> None:
    assert decaying(100, 4, 1.25, 10) == (100, 80, 64, 51)
    assert decaying(100, 4, 1.25, 40) == (100, 80, 80, 80)
    assert decaying(15, 3, 1.25, 10) == (15, 15, 15)
    assert decaying(100, 3, 1.0, 10) == (100, 100, 100)


@pytest.mark.parametrize("discrete", [True, False])
def test_good_sequences_are_tried_again(discrete: bool) -> None:
    asked: list[Tensor] = []

    def score(candidates: Tensor) -> Tensor:
        asked.append(candidates)
        return candidates[:, :, 0, 0] + 0.1 * candidates[:, :, 1, 1]

    family = CategoricalSequences() if discrete else NormalSequences()
    icem = ICEM(family, (3, 2), (40, 30, 20), 8, warm_start=True, select="best", num_kept=3)
    plan = icem.plan(score, icem.begin(2, "cpu"), torch.Generator().manual_seed(0))
    returns = [sequences[:, :, 0, 0] + 0.1 * sequences[:, :, 1, 1] for sequences in asked]
    best = [numbers.topk(3, dim=1).values for numbers in returns]
    assert [sequences.shape[1] for sequences in asked] == [40, 30, 20]
    assert torch.equal(returns[1][:, :3], best[0]), "the best of the first iteration come first in the second"
    assert torch.equal(returns[2][:, 1:4], best[1]), "in the last, after the middle"
    assert (plan.value >= returns[0].amax(dim=1)).all(), "nothing that was found is lost"
    kept = plan.belief["elites"]
    assert plan.belief["known"].all()
    asked.clear()
    icem.plan(score, plan.belief, torch.Generator().manual_seed(1))
    assert torch.equal(asked[0][:, :3], kept), "the next decision tries them one step later"


def test_without_warm_start_nothing_is_kept_for_the_next_decision() -> None:
    icem = ICEM(NormalSequences(), (3, 2), (40,), 8, num_kept=3)
    plan = icem.plan(lambda c: c.sum(dim=(2, 3)), icem.begin(2, "cpu"), torch.Generator().manual_seed(0))
    assert not plan.belief["known"].any()
    assert not plan.belief["elites"].any() and not plan.belief["mean"].any()


@pytest.mark.parametrize("candidates", [1, 2, 3])
def test_few_candidates_are_as_many_as_were_asked_for(candidates: int) -> None:
    icem = ICEM(NormalSequences(), (3, 2), (candidates,) * 3, 1, warm_start=True, select="best", num_kept=1)
    plan = icem.plan(lambda c: c.sum(dim=(2, 3)), icem.begin(2, "cpu"), torch.Generator().manual_seed(0))
    assert plan.last_returns.shape == (2, candidates)


def test_a_fifth_of_the_candidates_finds_as_much_where_actions_should_be_smooth() -> None:
    angle = torch.linspace(math.pi / 2, math.pi, 16)
    score = rollout_score(pendulum, {"angle": angle, "speed": torch.zeros(16)}, discount=1.0)

    def found(**settings: object) -> float:
        config = PlannerConfig.model_validate({"horizon": 30, "iterations": 3, **settings})
        planner = make_planner(config, 1, discrete=False)
        plan = planner.plan(score, planner.begin(16, "cpu"), torch.Generator().manual_seed(0))
        return float(plan.statistics.max.amax(dim=1).mean())

    few = found(kind="icem", candidates=60, elites=10, candidates_decay=1.0)
    assert few > found(kind="cem", candidates=300, elites=30)


def test_it_does_what_is_best_or_what_the_best_have_in_common() -> None:
    """Returns that are noise deceive whoever takes the best: what they have in common is nothing."""
    noise = torch.Generator().manual_seed(1)

    def played(select: str) -> float:
        settings = {"kind": "icem", "candidates": 60, "elites": 30, "iterations": 1, "icem_select": select}
        config = PlannerConfig.model_validate(settings)
        planner = make_planner(config, 1, discrete=False)
        plan = planner.plan(
            lambda tried: torch.randn(tried.shape[:2], generator=noise),
            planner.begin(200, "cpu"),
            torch.Generator().manual_seed(0),
        )
        return float(plan.action.abs().mean())

    assert played("belief") < 0.5 * played("best")
