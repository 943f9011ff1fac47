"""The cross-entropy against its definition."""

import torch

from rlsys.ops.losses import cross_entropy


def test_cross_entropy_equals_the_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    target = torch.rand(4, 3, 5, generator=generator, dtype=torch.float64)
    probabilities = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)
    expected = [
        [-(t * p.log()).sum().item() for t, p in zip(*rows, strict=True)] for rows in zip(target, probabilities)
    ]
    torch.testing.assert_close(cross_entropy(logits, target), torch.tensor(expected, dtype=torch.float64))


def test_an_all_zero_target_costs_nothing_and_pulls_nowhere() -> None:
    logits = torch.tensor([[3.0, -1.0, 200.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(1, 3))
    loss.sum().backward()
    assert loss.item() == 0.0
    assert logits.grad is not None and not logits.grad.any()
