"""The cross-entropy against its definition."""

import numpy as np
import torch

from rlsys.ops.losses import cross_entropy


def test_cross_entropy_equals_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    target = torch.rand(4, 3, 5, generator=generator, dtype=torch.float64)
    probabilities = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)
    for index in np.ndindex(4, 3):
        expected = -sum(t * p.log() for t, p in zip(target[index], probabilities[index], strict=True))
        torch.testing.assert_close(cross_entropy(logits, target)[index], expected)


def test_an_all_zero_target_costs_nothing_and_pulls_nowhere() -> None:
    logits = torch.tensor([[3.0, -1.0, 200.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(1, 3))
    loss.sum().backward()
    assert loss.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()
