"""Parameters as views of one vector."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from rlsys.nets.flat import FlatParameters


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def test_training_the_vector_equals_training_the_parameters() -> None:
    separate = network()
    joined = copy.deepcopy(separate)
    flat = FlatParameters(joined)
    optimizers = torch.optim.AdamW(separate.parameters()), torch.optim.AdamW([flat.vector])
    for seed in range(3):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
        flat.gradient.zero_()
        for module, optimizer in zip((separate, joined), optimizers, strict=True):
            if module is separate:
                optimizer.zero_grad()
            module(x).square().sum().backward()
            optimizer.step()
    for expected, found in zip(separate.parameters(), joined.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_arrays_are_copies_and_load_back() -> None:
    module = network()
    flat = FlatParameters(module)
    arrays = flat.to_arrays()
    assert arrays.keys() == dict(module.named_parameters()).keys()
    before = {name: array.copy() for name, array in arrays.items()}
    with torch.no_grad():
        flat.vector.add_(1.0)
    assert all(np.array_equal(arrays[name], before[name]) for name in arrays)
    flat.load_arrays(arrays)
    for name, parameter in module.named_parameters():
        assert np.array_equal(parameter.detach().numpy(), before[name])


def test_parameters_begin_where_fast_products_want_them() -> None:
    module = network()
    flat = FlatParameters(module)
    offsets = [parameter.storage_offset() for parameter in module.parameters()]
    assert all(offset % 16 == 0 for offset in offsets)
    module(torch.ones(1, 3)).sum().backward()
    torch.optim.AdamW([flat.vector], weight_decay=0.1).step()
    used = sum(parameter.abs().sum().item() for parameter in module.parameters())
    assert flat.vector.abs().sum().item() == pytest.approx(used, rel=1e-6)


def test_gradients_are_named_views() -> None:
    module = network()
    flat = FlatParameters(module)
    module(torch.ones(1, 3)).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert torch.equal(flat.gradients()[name], parameter.grad)
    flat.gradient.zero_()
    assert all(not gradient.any() for gradient in flat.gradients().values())
