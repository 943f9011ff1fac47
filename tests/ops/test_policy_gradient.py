"""Losses of policies and values against their sums written out, and the optimizer that their scale is made for."""

import numpy as np
import torch
from torch import Tensor

from rlsys.ops.policy_gradient import baseline_loss, policy_gradient_loss

SIZE, LENGTH = 3, 5


def make(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_mask() -> Tensor:
    """A mask that leaves out some rows."""
    mask_BT = torch.rand(SIZE, LENGTH, generator=torch.Generator().manual_seed(1)) < 0.7
    assert mask_BT.any()
    assert not mask_BT.all()
    return mask_BT


def test_losses_are_sums_over_the_rows_of_the_mask() -> None:
    log_policy_BT, mask_BT = make(SIZE, LENGTH, seed=0), make_mask()
    advantage_BT = make(SIZE, LENGTH, seed=2) * mask_BT
    value_BT, target_BT = make(SIZE, LENGTH, seed=3), make(SIZE, LENGTH, seed=4)
    policy = value = 0.0
    for index in np.ndindex(SIZE, LENGTH):
        if not mask_BT[index]:
            continue
        policy -= (log_policy_BT[index] * advantage_BT[index]).item()
        value += 0.5 * (target_BT[index] - value_BT[index]).item() ** 2
    np.testing.assert_allclose(policy_gradient_loss(log_policy_BT, advantage_BT).item(), policy, rtol=1e-12)
    np.testing.assert_allclose(baseline_loss(value_BT, target_BT, mask_BT).item(), value, rtol=1e-12)


def test_rows_outside_the_mask_and_targets_get_no_gradient() -> None:
    mask_BT, log_policy_BT = make_mask(), make(SIZE, LENGTH, seed=0).requires_grad_()
    advantage_BT = (make(SIZE, LENGTH, seed=2) * mask_BT).requires_grad_()
    value_BT, target_BT = make(SIZE, LENGTH, seed=3).requires_grad_(), make(SIZE, LENGTH, seed=4).requires_grad_()
    (policy_gradient_loss(log_policy_BT, advantage_BT) + baseline_loss(value_BT, target_BT, mask_BT)).backward()
    assert advantage_BT.grad is None
    assert target_BT.grad is None
    assert log_policy_BT.grad is not None
    assert torch.equal(log_policy_BT.grad != 0.0, mask_BT)
    assert value_BT.grad is not None
    torch.testing.assert_close(value_BT.grad, (value_BT - target_BT).detach() * mask_BT)


def test_rmsprop_adds_epsilon_outside_the_root() -> None:
    alpha, epsilon, rate = 0.99, 0.01, 0.1
    parameter = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.RMSprop([parameter], lr=rate, alpha=alpha, eps=epsilon)
    expected, square = np.zeros(3), np.zeros(3)
    for step in range(5):
        gradient = make(3, seed=step)
        parameter.grad = gradient
        optimizer.step()
        square = alpha * square + (1.0 - alpha) * gradient.numpy() ** 2
        # Inside the root, as TensorFlow has it, ε = 0.01 would be ten times as large where gradients vanish.
        expected -= rate * gradient.numpy() / (np.sqrt(square) + epsilon)
    np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-12)
