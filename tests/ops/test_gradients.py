"""Scaling of gradients."""

import torch

from rlsys.ops.gradients import scale_gradient


def test_only_the_gradient_is_scaled() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = scale_gradient(x, 0.5)
    (y * torch.tensor([3.0, 4.0])).sum().backward()
    assert torch.equal(y, x)
    assert x.grad is not None and x.grad.tolist() == [1.5, 2.0]
