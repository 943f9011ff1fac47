"""The actor-critic's losses, written out."""

import pytest
import torch

from rlsys.algorithms.iris.actor_critic import ActorCritic
from rlsys.algorithms.iris.config import ActorCriticConfig
from rlsys.algorithms.iris.imagination import Dream
from rlsys.algorithms.iris.losses import actor_critic_losses


def test_losses_are_those_of_the_formula() -> None:
    config = ActorCriticConfig(gamma=0.5, lambda_=0.5, entropy_weight=0.1)
    value = torch.tensor([[1.0, 2.0, 4.0]], requires_grad=True)
    dream = Dream(
        action=torch.zeros(1, 2, dtype=torch.int64),
        log_probability=torch.tensor([[-1.0, -2.0]], requires_grad=True),
        entropy=torch.tensor([[0.5, 0.7]]),
        value=value,
        value_said=value[..., None],
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
    assert value.grad is None, "advantages have no gradient"
    losses["value_loss"].backward()
    assert value.grad is not None
    torch.testing.assert_close(value.grad, torch.tensor([[1.0 - first, 2.0 - last, 0.0]]))


def test_what_comes_after_an_end_is_worth_nothing() -> None:
    value = torch.tensor([[0.0, 9.0, 9.0]])
    nothing, end = torch.zeros(1, 2), torch.tensor([[True, False]])
    dream = Dream(nothing.long(), nothing, nothing, value, value[..., None], torch.ones(1, 2), end)
    config = ActorCriticConfig(gamma=1.0, lambda_=1.0)
    assert float(actor_critic_losses(config, dream)["value_loss"]) == pytest.approx((1.0 + (10.0 - 9.0) ** 2) / 2)


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
        losses = actor_critic_losses(config, Dream(nothing.long(), nothing, nothing, value, said, reward, end))
        optimizer.zero_grad()
        losses["value_loss"].backward()
        optimizer.step()
    torch.testing.assert_close(judged.value.detach(), reward[:, 0], rtol=0.1, atol=0.2)
