"""Losses of policies and values against their sums written out, and the optimizer that their scale is made for."""

import numpy as np
import torch
from torch import Tensor

from rlsys.ops.policy_gradient import baseline_loss, log_probability, negative_entropy, policy_gradient_loss

SIZE, LENGTH, ACTIONS = 3, 5, 4


def make(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_policy() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, π, actions and a mask that leaves out some rows."""
    logits_BTA = 2.0 * make(SIZE, LENGTH, ACTIONS, seed=0)
    policy_BTA = logits_BTA.exp() / logits_BTA.exp().sum(dim=-1, keepdim=True)
    generator = torch.Generator().manual_seed(1)
    action_BT = torch.randint(ACTIONS, (SIZE, LENGTH), generator=generator)
    mask_BT = torch.rand(SIZE, LENGTH, generator=generator) < 0.7
    assert mask_BT.any()
    assert not mask_BT.all()
    return logits_BTA, policy_BTA, action_BT, mask_BT


def test_a_log_probability_is_the_logarithm_of_the_softmax_at_the_action() -> None:
    logits_BTA, policy_BTA, action_BT, _ = make_policy()
    found_BT = log_probability(logits_BTA, action_BT)
    for index in np.ndindex(SIZE, LENGTH):
        torch.testing.assert_close(found_BT[index], policy_BTA[index][action_BT[index]].log())


def test_log_probabilities_of_certain_policies_stay_finite() -> None:
    logits_BA = torch.tensor([[0.0, 1e4], [-1e4, 0.0]])
    assert log_probability(logits_BA, torch.tensor([0, 0])).tolist() == [-1e4, -1e4]
    assert negative_entropy(logits_BA, torch.ones(2)).item() == 0.0


def test_losses_are_sums_over_the_rows_of_the_mask() -> None:
    logits_BTA, policy_BTA, action_BT, mask_BT = make_policy()
    advantage_BT = make(SIZE, LENGTH, seed=2) * mask_BT
    value_BT, target_BT = make(SIZE, LENGTH, seed=3), make(SIZE, LENGTH, seed=4)
    policy = value = entropy = 0.0
    for index in np.ndindex(SIZE, LENGTH):
        if not mask_BT[index]:
            continue
        chances_A = policy_BTA[index]
        policy -= (chances_A[action_BT[index]].log() * advantage_BT[index]).item()
        value += 0.5 * (target_BT[index] - value_BT[index]).item() ** 2
        entropy += sum((p * p.log()).item() for p in chances_A)
    found_BT = log_probability(logits_BTA, action_BT)
    np.testing.assert_allclose(policy_gradient_loss(found_BT, advantage_BT).item(), policy, rtol=1e-12)
    np.testing.assert_allclose(baseline_loss(value_BT, target_BT, mask_BT).item(), value, rtol=1e-12)
    np.testing.assert_allclose(negative_entropy(logits_BTA, mask_BT).item(), entropy, rtol=1e-12)


def test_rows_outside_the_mask_and_targets_get_no_gradient() -> None:
    logits_BTA, _, action_BT, mask_BT = make_policy()
    logits_BTA.requires_grad_()
    advantage_BT = (make(SIZE, LENGTH, seed=2) * mask_BT).requires_grad_()
    value_BT, target_BT = make(SIZE, LENGTH, seed=3).requires_grad_(), make(SIZE, LENGTH, seed=4).requires_grad_()
    policy = policy_gradient_loss(log_probability(logits_BTA, action_BT), advantage_BT)
    (policy + baseline_loss(value_BT, target_BT, mask_BT) + negative_entropy(logits_BTA, mask_BT)).backward()
    assert advantage_BT.grad is None
    assert target_BT.grad is None
    assert logits_BTA.grad is not None
    assert torch.equal(logits_BTA.grad.abs().sum(dim=-1) > 0.0, mask_BT)
    assert value_BT.grad is not None
    torch.testing.assert_close(value_BT.grad, (value_BT - target_BT).detach() * mask_BT)


def test_the_entropy_is_largest_for_the_uniform_policy() -> None:
    uniform = negative_entropy(torch.zeros(1, ACTIONS), torch.ones(1))
    np.testing.assert_allclose(uniform.item(), -np.log(ACTIONS), rtol=1e-6)
    for seed in range(20):
        assert negative_entropy(make(1, ACTIONS, seed=seed), torch.ones(1)) > uniform


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
