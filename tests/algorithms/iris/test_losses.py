"""The actor-critic's losses, written out."""

import pytest
import torch

from rlsys.algorithms.iris.config import ActorCriticConfig
from rlsys.algorithms.iris.imagination import Dream
from rlsys.algorithms.iris.losses import actor_critic_losses


def test_losses_are_those_of_the_formula() -> None:
    config = ActorCriticConfig(gamma=0.5, lambda_=0.5, entropy_weight=0.1)
    dream = Dream(
        log_probability=torch.tensor([[-1.0, -2.0]], requires_grad=True),
        entropy=torch.tensor([[0.5, 0.7]]),
        value=torch.tensor([[1.0, 2.0, 4.0]], requires_grad=True),
        reward=torch.tensor([[1.0, 0.0]]),
        terminated=torch.tensor([[False, False]]),
    )
    last = 0.5 * 4.0
    first = 1.0 + 0.5 * (0.5 * 2.0 + 0.5 * last)
    losses = actor_critic_losses(config, dream)
    said = {name: loss.item() for name, loss in losses.items()}
    assert said["policy_loss"] == pytest.approx((1.0 * (first - 1.0) + 2.0 * (last - 2.0)) / 2)
    assert said["value_loss"] == pytest.approx(((first - 1.0) ** 2 + (last - 2.0) ** 2) / 2)
    assert said["entropy_loss"] == pytest.approx(-0.1 * 0.6)
    losses["policy_loss"].backward()
    assert dream.value.grad is None, "advantages have no gradient"
    losses["value_loss"].backward()
    assert dream.value.grad is not None
    torch.testing.assert_close(dream.value.grad, torch.tensor([[1.0 - first, 2.0 - last, 0.0]]))


def test_what_comes_after_an_end_is_worth_nothing() -> None:
    value = torch.tensor([[0.0, 9.0, 9.0]])
    dream = Dream(torch.zeros(1, 2), torch.zeros(1, 2), value, torch.ones(1, 2), torch.tensor([[True, False]]))
    config = ActorCriticConfig(gamma=1.0, lambda_=1.0)
    assert float(actor_critic_losses(config, dream)["value_loss"]) == pytest.approx((1.0 + (10.0 - 9.0) ** 2) / 2)
