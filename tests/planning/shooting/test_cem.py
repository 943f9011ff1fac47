"""The cross-entropy method, against its definition and on scores whose best sequence is known."""

import math

import pytest
import torch
from torch import Tensor

from rlsys.planning.settings import PlannerConfig
from rlsys.planning.shooting.cem import CEM, later
from rlsys.planning.shooting.make import make_planner
from rlsys.planning.shooting.sequences import CategoricalSequences, NormalSequences

HORIZON, SIZE = 5, 3


def matching(target_BHA: Tensor):
    """What a sequence is worth: at how many steps it is as the target is, or how near."""
    return lambda candidates: -(candidates - target_BHA[:, None]).square().sum(dim=(2, 3))


def one_hot_targets(size: int, seed: int = 0) -> Tensor:
    index = torch.randint(SIZE, (size, HORIZON), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(index, SIZE).float()


def numbers(size: int, seed: int = 0) -> Tensor:
    return 1.6 * torch.rand((size, HORIZON, SIZE), generator=torch.Generator().manual_seed(seed)) - 0.8


def planner(kind: str = "cem", discrete: bool = True, **settings):
    defaults = {"candidates": 200, "elites": 20, "iterations": 8, "horizon": HORIZON}
    return make_planner(PlannerConfig.model_validate({"kind": kind, **defaults, **settings}), SIZE, discrete=discrete)


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi"])
@pytest.mark.parametrize("discrete", [True, False])
def test_each_environment_of_a_batch_finds_its_own_optimum(kind: str, discrete: bool) -> None:
    target = one_hot_targets(7) if discrete else numbers(7)
    chosen = planner(kind, discrete, temperature=0.1, iterations=12)
    plan = chosen.plan(matching(target), chosen.begin(7, "cpu"), torch.Generator().manual_seed(1))
    assert plan.action.shape == (7, SIZE)
    if discrete:
        assert torch.equal(plan.action, target[:, 0])
        assert torch.equal(plan.value, torch.zeros(7)) or kind != "cem", "the best sequence is the target"
    else:
        assert (plan.action - target[:, 0]).abs().max() < 0.25


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi"])
@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("select", ["best", "belief"])
def test_a_batch_plans_as_its_environments_would_alone(kind: str, discrete: bool, select: str) -> None:
    target = one_hot_targets(3) if discrete else numbers(3)
    chosen = planner(kind, discrete, warm_start=True, discrete_select=select, iterations=3)

    def streams() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(10 + index) for index in range(3)]

    together, belief = streams(), chosen.begin(3, "cpu")
    alone, beliefs = streams(), [chosen.begin(1, "cpu") for _ in range(3)]
    for _ in range(3):
        plan = chosen.plan(matching(target), belief, together)
        belief = plan.belief
        for index in range(3):
            single = chosen.plan(matching(target[index : index + 1]), beliefs[index], [alone[index]])
            beliefs[index] = single.belief
            assert torch.allclose(plan.action[index], single.action[0], atol=1e-6)
            assert torch.allclose(plan.value[index], single.value[0], atol=1e-5)
            assert torch.allclose(plan.last_returns[index], single.last_returns[0], atol=1e-5)
            for name, value in single.belief.items():
                assert torch.allclose(belief[name][index], value[0], atol=1e-6)


class Recorded:
    """A weighted sum of all numbers; keeps what it is asked."""

    def __init__(self, *size: int) -> None:
        self.asked: list[Tensor] = []
        self.weight = torch.randn(size, generator=torch.Generator().manual_seed(9))

    def __call__(self, candidates: Tensor) -> Tensor:
        self.asked.append(candidates)
        return (self.weight * candidates).sum(dim=(2, 3))


def test_numbers_are_refitted_to_the_elites_mean_and_deviation() -> None:
    score = Recorded(4, 2)
    cem = CEM(NormalSequences(), (4, 2), (50, 50, 50), num_elites=7)
    plan = cem.plan(score, cem.begin(2, "cpu"), torch.Generator().manual_seed(0))
    stream = torch.Generator().manual_seed(0)
    mean, std = torch.zeros(2, 4, 2), torch.ones(2, 4, 2)
    for asked in score.asked:
        noise = torch.randn((2, 50, 4, 2), generator=stream)
        expected = (mean[:, None] + std[:, None] * noise).clamp(-1.0, 1.0)
        assert torch.allclose(asked, expected, atol=1e-6)
        for env in range(2):
            best = sorted(asked[env], key=lambda c: -float((score.weight * c).sum()))[:7]
            mean[env] = torch.stack(best).mean(dim=0)
            std[env] = (torch.stack(best).var(dim=0, correction=0) + 1e-6).sqrt()
    assert torch.allclose(plan.action, mean[:, 0], atol=1e-6), "the mean's first action is done"
    assert torch.equal(plan.belief["mean"], torch.zeros(2, 4, 2)), "nothing is remembered without warm start"


@pytest.mark.parametrize("select", ["best", "belief"])
def test_choices_are_refitted_to_how_often_elites_make_them(select: str) -> None:
    score = Recorded(4, 3)
    cem = CEM(CategoricalSequences(), (4, 3), (40, 40), num_elites=10, warm_start=True, select=select)
    plan = cem.plan(score, cem.begin(2, "cpu"), torch.Generator().manual_seed(0))
    last = score.asked[-1]
    assert torch.equal(last.sum(dim=-1), torch.ones(2, 40, 4)) and set(last.unique().tolist()) == {0.0, 1.0}
    order = plan.last_returns.argsort(dim=1, descending=True, stable=True)
    elites = torch.stack([last[env][order[env][:10]] for env in range(2)])
    logits = (elites.mean(dim=1) + 1e-6).log()
    assert torch.allclose(plan.belief["logits"][:, :-1], logits[:, 1:], atol=1e-6)
    if select == "best":
        assert torch.equal(plan.action, elites[:, 0, 0])
        assert torch.equal(plan.value, plan.last_returns.amax(dim=1))
    else:
        assert torch.equal(plan.action.argmax(dim=1), logits[:, 0].argmax(dim=1))
        elite_returns = plan.last_returns.sort(dim=1, descending=True).values[:, :10]
        assert torch.allclose(plan.value, elite_returns.mean(dim=1))


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi"])
@pytest.mark.parametrize("discrete", [True, False])
def test_a_warm_start_is_the_last_plan_one_step_later(kind: str, discrete: bool) -> None:
    target = one_hot_targets(2) if discrete else numbers(2)
    name = "logits" if discrete else "mean"
    chosen = planner(kind, discrete, warm_start=True, temperature=0.1, iterations=12)
    plan = chosen.plan(matching(target), chosen.begin(2, "cpu"), torch.Generator().manual_seed(0))
    moved = plan.belief[name]
    assert torch.equal(moved[:, -1], torch.zeros(2, SIZE)), "zeros come at the end"
    if discrete:
        assert torch.equal(moved[:, :-1].argmax(dim=2), target[:, 1:].argmax(dim=2))
    else:
        assert (moved[:, :-1] - target[:, 1:]).abs().max() < 0.25


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi"])
@pytest.mark.parametrize("discrete", [True, False])
def test_a_plan_never_leaks_into_the_episode_that_another_row_begins(kind: str, discrete: bool) -> None:
    target = one_hot_targets(2) if discrete else numbers(2)
    chosen = planner(kind, discrete, warm_start=True, iterations=2)
    warm = chosen.plan(matching(target), chosen.begin(2, "cpu"), torch.Generator().manual_seed(0)).belief
    fresh = chosen.begin(2, "cpu")
    mixed = {name: torch.stack([warm[name][0], fresh[name][1]]) for name in fresh}

    def streams() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(3), torch.Generator().manual_seed(4)]

    plans = [chosen.plan(matching(target), belief, streams()) for belief in (warm, mixed, fresh)]
    assert torch.equal(plans[1].first_returns[0], plans[0].first_returns[0])
    assert torch.equal(plans[1].first_returns[1], plans[2].first_returns[1])
    assert not torch.equal(plans[0].first_returns[1], plans[2].first_returns[1]), "a warm start matters"


def test_a_sequence_is_later_without_its_first_step() -> None:
    sequence = torch.arange(1.0, 7.0).reshape(1, 3, 2)
    assert later(sequence).tolist() == [[[3.0, 4.0], [5.0, 6.0], [0.0, 0.0]]]


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi"])
@pytest.mark.parametrize("discrete", [True, False])
def test_returns_that_are_not_numbers_are_never_elites(kind: str, discrete: bool) -> None:
    def score(candidates: Tensor) -> Tensor:
        returns = candidates[:, :, 0, 0].clone()
        return torch.where(returns > 0.5, torch.nan, returns)

    chosen = planner(kind, discrete, temperature=0.01)
    plan = chosen.plan(score, chosen.begin(2, "cpu"), torch.Generator().manual_seed(0))
    assert plan.value.isfinite().all()
    assert plan.action.isfinite().all()
    nowhere = chosen.plan(lambda c: torch.full(c.shape[:2], math.nan), chosen.begin(2, "cpu"), None)
    assert nowhere.value.isnan().all(), "who acts can tell that the model is broken"
    assert nowhere.action.isfinite().all()


def test_statistics_are_of_each_iteration() -> None:
    score = Recorded(4, 2)
    cem = CEM(NormalSequences(), (4, 2), (50, 30), num_elites=7)
    plan = cem.plan(score, cem.begin(3, "cpu"), torch.Generator().manual_seed(0))
    assert plan.first_returns.shape == (3, 50) and plan.last_returns.shape == (3, 30)
    for iteration, returns in enumerate((plan.first_returns, plan.last_returns)):
        elites = returns.sort(dim=1, descending=True).values[:, :7]
        expected = (
            returns.mean(1), returns.std(1, correction=0), returns.amax(1), elites.mean(1), elites.std(1, correction=0)
        )  # fmt: skip
        for number, wanted in zip(plan.statistics, expected, strict=True):
            assert torch.allclose(number[:, iteration], wanted)
