"""The actor-critic's losses, written out."""

import pytest
import torch
from torch import Tensor

from rlsys.algorithms.iris.actor_critic import ActorCritic, Recalled
from rlsys.algorithms.iris.config import ActorCriticConfig
from rlsys.algorithms.iris.imagination import Dream, Opinion
from rlsys.algorithms.iris.losses import actor_critic_losses


def dreamed(reward: Tensor, terminated: Tensor) -> Dream:
    """A dream in which nothing is seen or done that a loss would know of."""
    nothing = torch.zeros(len(reward), 1)
    frames = torch.zeros(len(reward), reward.shape[1] + 1, 1, 1, 1)
    return Dream(frames, Recalled(nothing, nothing), torch.zeros_like(reward).long(), reward, terminated)


def test_losses_are_those_of_the_formula() -> None:
    config = ActorCriticConfig(gamma=0.5, lambda_=0.5, entropy_weight=0.1)
    value = torch.tensor([[1.0, 2.0, 4.0]], requires_grad=True)
    opinion = Opinion(
        log_probability=torch.tensor([[-1.0, -2.0]], requires_grad=True),
        entropy=torch.tensor([[0.5, 0.7]]),
        value=value,
        value_said=value[..., None],
    )
    dream = dreamed(torch.tensor([[1.0, 0.0]]), torch.tensor([[False, False]]))
    last = 0.5 * 4.0
    first = 1.0 + 0.5 * (0.5 * 2.0 + 0.5 * last)
    losses = actor_critic_losses(config, dream, opinion)
    said = {name: loss.item() for name, loss in losses.items()}
    assert said["policy_loss"] == pytest.approx((1.0 * (first - 1.0) + 2.0 * (last - 2.0)) / 2)
    assert said["value_loss"] == pytest.approx(((first - 1.0) ** 2 + (last - 2.0) ** 2) / 2)
    assert said["entropy_loss"] == pytest.approx(-0.1 * 0.6)
    losses["policy_loss"].backward()
    assert value.grad is None, "advantages have no gradient"
    losses["value_loss"].backward()
    assert value.grad is not None
    torch.testing.assert_close(value.grad, torch.tensor([[1.0 - first, 2.0 - last, 0.0]]))


def test_what_comes_after_an_end_is_worth_nothing() -> None:
    value = torch.tensor([[0.0, 9.0, 9.0]])
    nothing, end = torch.zeros(1, 2), torch.tensor([[True, False]])
    opinion, dream = Opinion(nothing, nothing, value, value[..., None]), dreamed(torch.ones(1, 2), end)
    config = ActorCriticConfig(gamma=1.0, lambda_=1.0)
    assert float(actor_critic_losses(config, dream, opinion)["value_loss"]) == pytest.approx(
        (1.0 + (10.0 - 9.0) ** 2) / 2
    )


def test_values_can_be_said_as_distributions() -> None:
    config = ActorCriticConfig(values="two_hot", gamma=0.5, lambda_=1.0)
    actor_critic = ActorCritic(config, (1, 8, 8), num_actions=2)
    frames = torch.rand(3, 1, 8, 8)
    optimizer = torch.optim.Adam(actor_critic.parameters(), lr=3e-3)
    reward = torch.tensor([[100.0], [0.0], [-3.0]])
    for _ in range(150):
        judged = actor_critic(frames, actor_critic.nothing(3))
        assert judged.value.shape == (3,)
        nothing, end = torch.zeros(3, 1), torch.ones(3, 1, dtype=torch.bool)
        value, said = (torch.stack([part, part], dim=1) for part in (judged.value, judged.value_said))
        losses = actor_critic_losses(config, dreamed(reward, end), Opinion(nothing, nothing, value, said))
        optimizer.zero_grad()
        losses["value_loss"].backward()
        optimizer.step()
    torch.testing.assert_close(judged.value.detach(), reward[:, 0], rtol=0.1, atol=0.2)
