"""torch's optimizers on one vector of parameters."""

import copy

import pytest
import torch
from torch import nn

from rlsys.nets.flat import FlatParameters
from rlsys.nets.optimizers import FlatOptimizer


def make(seed: int = 0) -> tuple[FlatParameters, FlatOptimizer]:
    torch.manual_seed(seed)
    flat = FlatParameters(nn.Linear(3, 2))
    return flat, FlatOptimizer(flat, torch.optim.SGD([flat.vector], lr=9.0, momentum=0.5))


def test_each_step_takes_its_own_learning_rate() -> None:
    flat, optimizer = make()
    expected = flat.vector.detach().clone()
    flat.gradient.fill_(1.0)
    momentum = 0.0
    for rate in (0.1, 0.01):
        momentum = 0.5 * momentum + 1.0
        expected -= rate * momentum
        optimizer.step(rate)
    torch.testing.assert_close(flat.vector.detach(), expected)


def test_it_remembers_nothing_before_the_first_step_and_a_loaded_one_goes_on_alike() -> None:
    (flat, optimizer), (twin_flat, twin) = make(), make()
    assert optimizer.save() == {}
    twin.load(optimizer.save())
    for each, step in ((flat, optimizer), (twin_flat, twin)):
        each.gradient.fill_(1.0)
        step.step(0.1)
    (_, late), saved = make(1), copy.deepcopy(optimizer.save())
    assert saved.keys() == {"momentum_buffer"}
    late.load(saved)
    assert late.save()["momentum_buffer"] == pytest.approx(twin.save()["momentum_buffer"])
