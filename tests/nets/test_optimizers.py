"""Optimizers of one vector of parameters, beside torch's own."""

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rlsys.nets.flat import FlatParameters
from rlsys.nets.optimizers import SGD, Adam, FlatOptimizer, RMSprop

Make = Callable[[FlatParameters], FlatOptimizer]
BETAS, DECAY, EPSILON, MOMENTUM = (0.8, 0.95), 0.1, 1e-3, 0.9
PAIRS: dict[str, tuple[Make, Callable[[list[nn.Parameter]], torch.optim.Optimizer]]] = {
    "Adam": (
        lambda flat: Adam(flat, betas=BETAS, epsilon=EPSILON, weight_decay=DECAY),
        lambda vectors: torch.optim.Adam(vectors, 9.0, BETAS, EPSILON, weight_decay=DECAY, fused=True),
    ),
    "AdamW": (
        lambda flat: Adam(flat, betas=BETAS, epsilon=EPSILON, weight_decay=DECAY, decoupled=True),
        lambda vectors: torch.optim.AdamW(vectors, 9.0, BETAS, EPSILON, weight_decay=DECAY, fused=True),
    ),
    "RMSprop": (
        lambda flat: RMSprop(flat, alpha=0.9, epsilon=EPSILON, momentum=MOMENTUM, weight_decay=DECAY),
        lambda vectors: torch.optim.RMSprop(vectors, 9.0, 0.9, EPSILON, weight_decay=DECAY, momentum=MOMENTUM),
    ),
    "RMSprop without momentum": (
        lambda flat: RMSprop(flat, epsilon=EPSILON),
        lambda vectors: torch.optim.RMSprop(vectors, eps=EPSILON),
    ),
    "SGD": (
        lambda flat: SGD(flat, momentum=MOMENTUM, weight_decay=DECAY),
        lambda vectors: torch.optim.SGD(vectors, 9.0, MOMENTUM, weight_decay=DECAY, fused=True),
    ),
    "SGD without momentum": (SGD, lambda vectors: torch.optim.SGD(vectors, fused=True)),
}


def make(optimizer: Make = Adam, seed: int = 0) -> tuple[FlatParameters, FlatOptimizer]:
    torch.manual_seed(seed)
    flat = FlatParameters(nn.Linear(7, 5))
    return flat, optimizer(flat)


@pytest.mark.parametrize("name", PAIRS)
def test_steps_are_torchs_to_the_bit_each_with_its_own_learning_rate(name: str) -> None:
    ours, torchs = PAIRS[name]
    (flat, optimizer), (twin, _) = make(ours), make(ours)
    reference = torchs([twin.vector])
    for step in range(4):
        for each in (flat, twin):
            each.gradient.copy_(torch.randn(each.gradient.shape, generator=torch.Generator().manual_seed(step)))
        optimizer.step(0.1 / (step + 1))
        reference.param_groups[0]["lr"] = 0.1 / (step + 1)
        reference.step()
    assert torch.equal(flat.vector, twin.vector)
    remembered = {name: value for name, value in reference.state[twin.vector].items() if value is not None}
    saved = optimizer.save()
    assert saved.keys() == remembered.keys()
    for key, value in remembered.items():
        np.testing.assert_array_equal(saved[key], value.numpy())


@pytest.mark.parametrize("name", PAIRS)
def test_it_remembers_nothing_before_the_first_step_and_a_loaded_one_goes_on_alike(name: str) -> None:
    ours, _ = PAIRS[name]
    (flat, optimizer), (twin, late) = make(ours), make(ours)
    assert optimizer.save() == {}
    late.load(optimizer.save())
    for rate in (0.1, 0.2):
        flat.gradient.fill_(rate)
        optimizer.step(rate)
    late.load(copy.deepcopy(optimizer.save()))
    twin.vector.data.copy_(flat.vector.data)
    for each, step in ((flat, optimizer), (twin, late)):
        each.gradient.fill_(-1.0)
        step.step(0.3)
    assert torch.equal(flat.vector, twin.vector)


def test_decay_can_spare_all_but_trained_weights_of_dense_layers() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Embedding(4, 6), nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3))
    module[3].requires_grad_(False)
    twin, frozen = copy.deepcopy(module), module[3].weight.clone()
    flat = FlatParameters(module)
    ours = Adam(flat, weight_decay=DECAY, decoupled=True, dense_only=True)
    others = [parameter for name, parameter in twin.named_parameters() if name != "1.weight"]
    reference = torch.optim.AdamW(
        [{"params": [twin[1].weight]}, {"params": others, "weight_decay": 0.0}], 0.1, weight_decay=DECAY
    )
    for step in range(3):
        ids = torch.tensor([step, 3])
        flat.gradient.zero_()
        reference.zero_grad()
        for each in (module, twin):
            each(ids).square().sum().backward()
        ours.step(0.1)
        reference.step()
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(flat.parameters[name].data, parameter.data)
    assert torch.equal(module[3].weight, frozen)


def test_what_was_saved_does_not_change_with_later_steps() -> None:
    flat, optimizer = make()
    flat.gradient.fill_(1.0)
    optimizer.step(0.1)
    saved: Any = optimizer.save()
    before = copy.deepcopy(saved)
    optimizer.step(0.1)
    assert all(np.array_equal(saved[name], before[name]) for name in before)


def test_a_step_does_not_wait_for_torchs_compiler_to_be_imported() -> None:
    program = """
import sys, torch
from rlsys.nets.flat import FlatParameters
from rlsys.nets.optimizers import SGD, Adam, RMSprop
flat = FlatParameters(torch.nn.Linear(2, 2))
for optimizer in (Adam, RMSprop, SGD):
    optimizer(flat).step(0.1)
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
