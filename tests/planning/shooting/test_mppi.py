"""MPPI's weights, against their definition."""

import math

import pytest
import torch

from rlsys.planning.shooting.mppi import MPPI
from rlsys.planning.shooting.sequences import CategoricalSequences, NormalSequences


@pytest.mark.parametrize("num_elites", [20, 6])
@pytest.mark.parametrize("temperature", [0.05, 2.0])
def test_elites_are_weighed_by_the_softmax_of_their_returns(num_elites: int, temperature: float) -> None:
    asked = []

    def score(candidates):
        asked.append(candidates)
        return 3.0 * candidates[:, :, 0, 0] - candidates[:, :, 1, 1]

    family = NormalSequences(initial_std=0.7, min_std=0.05, momentum=0.25)
    mppi = MPPI(family, (3, 2), (20,), num_elites, warm_start=True, temperature=temperature)
    plan = mppi.plan(score, mppi.begin(1, "cpu"), torch.Generator().manual_seed(0))
    pairs = [(float(3.0 * c[0, 0] - c[1, 1]), c) for c in asked[0][0]]
    pairs = sorted(pairs, key=lambda pair: -pair[0])[:num_elites]
    weight = [math.exp((value - pairs[0][0]) / temperature) for value, _ in pairs]
    mean = sum(w * c for w, (_, c) in zip(weight, pairs, strict=True)) / sum(weight)
    assert torch.allclose(plan.action[0], 0.75 * mean[0], atol=1e-5), "a quarter of the last mean, 0, is kept"
    assert torch.allclose(plan.belief["mean"][0, :2], 0.75 * mean[1:], atol=1e-5)
    expected = sum(w * value for w, (value, _) in zip(weight, pairs, strict=True)) / sum(weight)
    assert float(plan.value) == pytest.approx(expected, abs=1e-5)


def test_deviations_stay_above_the_least() -> None:
    mppi = MPPI(NormalSequences(min_std=0.2), (2, 1), (64,) * 12, 8, temperature=1e-3)
    plan = mppi.plan(lambda c: -c.square().sum(dim=(2, 3)), mppi.begin(1, "cpu"), torch.Generator().manual_seed(0))
    assert float(plan.last_returns.std()) > 0.02


def test_choices_are_weighed_likewise() -> None:
    mppi = MPPI(CategoricalSequences(), (1, 3), (300,), 300, warm_start=True, select="belief", temperature=1.0)
    worth = torch.tensor([0.0, 1.0, 3.0])
    plan = mppi.plan(lambda c: (c[:, :, 0] * worth).sum(dim=-1), mppi.begin(1, "cpu"), torch.Generator().manual_seed(0))
    probability = (worth.exp() / worth.exp().sum()).tolist()
    assert plan.action.tolist() == [[0.0, 0.0, 1.0]]
    assert float(plan.value) == pytest.approx(probability[1] + 3.0 * probability[2], abs=0.1)
