"""The losses, each against its formula, and what each of them trains."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.losses import Losses, Windows, compute_losses
from rlsys.algorithms.planet.networks import WorldModel
from rlsys.algorithms.planet.transitions.cell import Step
from rlsys.types import ArraySpec, EnvSpec, Part

SMALL: dict[str, Any] = {"model_size": 8, "state_size": 4, "image_depth": 2, "head_layers": 1, "head_units": 6}
SIZE, LENGTH = 3, 7
PICTURE = Part("pixels", ArraySpec((3, 16, 16), "uint8"))
POSITION = Part("position", ArraySpec((2,), "float32"))
ENV = EnvSpec(
    id="task",
    observation=ArraySpec((), [("pixels", "u1", (3, 16, 16)), ("position", "<f4", (2,))]),  # type: ignore[arg-type]
    action=ArraySpec((1,), "float32"),
    num_actions=0,
    action_low=(-1.0,),
    action_high=(1.0,),
    parts=(PICTURE, POSITION),
)


def windows() -> Windows:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.rand(SIZE, LENGTH, *shape, generator=generator)

    is_frame = torch.ones(SIZE, LENGTH)
    is_frame[1, 5:] = 0.0  # an episode that ends
    is_row = is_frame.clone()
    is_row[:, 0] = 0.0
    terminated = torch.zeros(SIZE, LENGTH)
    terminated[1, 4] = 1.0
    reward = draw() * is_row
    return Windows(draw(3, 16, 16) - 0.5, draw(1), reward, terminated, is_frame, is_row, {"position": draw(2)})


def lose(**settings: Any) -> tuple[WorldModel, Windows, Tensor, Step, Losses]:
    torch.manual_seed(0)
    config, given = PlanetConfig(**SMALL, **settings), windows()
    model = WorldModel(config, ENV)
    noise = torch.randn(LENGTH, SIZE, model.agent.cell.state_size)
    states = model.agent.cell.unroll(model.agent.embed(given.shown), given.action, noise)
    decoded = model.decode(model.agent.cell.features(states.posterior))
    return model, given, decoded, states, compute_losses(model, config, given, decoded, states)


def counted(values: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([value for value, counts in zip(values.flatten(), mask.flatten(), strict=True) if counts]).mean()


def gaussian(state: Any) -> Normal:
    return Normal(state["mean"], state["stddev"])


def test_pictures_and_rewards_cost_what_a_gaussian_of_unit_variance_finds_unlikely() -> None:
    model, given, decoded, states, losses = lose()
    image = -Normal(decoded, 1.0).log_prob(given.shown).sum(dim=(2, 3, 4))
    torch.testing.assert_close(losses.parts["image_loss"], counted(image, given.is_frame))
    foretold = model.agent.reward(model.agent.cell.features(states.posterior)).squeeze(-1)
    reward = -Normal(foretold, 1.0).log_prob(given.reward)
    torch.testing.assert_close(losses.parts["reward_loss"], counted(reward, given.is_row))


@pytest.mark.parametrize("free_nats", [0.0, 0.05, 3.0])
def test_divergence_is_free_up_to_a_number_of_nats_for_each_frame(free_nats: float) -> None:
    _, given, _, states, losses = lose(free_nats=free_nats)
    divergence = kl_divergence(gaussian(states.posterior), gaussian(states.prior)).sum(dim=-1)
    torch.testing.assert_close(losses.parts["divergence"], counted(divergence.clamp(min=free_nats), given.is_frame))


def test_all_is_weighted_and_added_up() -> None:
    scales = {"image_loss_scale": 2.0, "reward_scale": 3.0, "divergence_scale": 4.0, "global_divergence_scale": 5.0}
    _, given, _, states, losses = lose(**scales)
    standard = Normal(torch.tensor(0.0), torch.tensor(1.0))
    away = kl_divergence(gaussian(states.posterior), standard).sum(dim=-1)
    parts = losses.parts
    torch.testing.assert_close(parts["global_divergence"], counted(away, given.is_frame))
    weights = {"image_loss": 2.0, "reward_loss": 3.0, "divergence": 4.0, "global_divergence": 5.0}
    total = sum(weights.get(name, 1.0) * part for name, part in parts.items())
    torch.testing.assert_close(losses.total, total)


def test_values_are_those_of_what_happened_discounted_to_the_end_of_the_window_or_of_the_episode() -> None:
    model, given, _, states, losses = lose(discount=0.9, value_lambda=1.0)
    value = model.agent.value(model.agent.cell.features(states.posterior)).squeeze(-1)
    target = value.detach().clone()
    for row in range(SIZE):
        last = 4 if row == 1 else LENGTH - 1
        target[row, last] = value[row, last] if row != 1 else 0.0  # frame 4 ends the episode of row 1
        for frame in range(last, 0, -1):
            target[row, frame - 1] = (
                given.reward[row, frame] + 0.9 * (1 - given.terminated[row, frame]) * target[row, frame]
            )
    error = 0.5 * (value - target).square()
    error[1, 4] = 0.0  # nothing is known of the value where it ended
    torch.testing.assert_close(losses.parts["value_loss"], counted(error, given.is_frame))


def test_values_and_other_parts_of_observations_train_their_heads_alone() -> None:
    for name in ("value_loss", "position_loss"):
        model, *_, losses = lose()
        losses.parts[name].backward()  # type: ignore[no-untyped-call]
        trained = {parameter for parameter, tensor in model.named_parameters() if tensor.grad is not None}
        prefix = "agent.value." if name == "value_loss" else "told.position."
        assert trained == {parameter for parameter, _ in model.named_parameters() if parameter.startswith(prefix)}


def test_overshooting_compares_held_posteriors_with_priors_from_further_back() -> None:
    plain = lose(free_nats=0.0, mean_only=True)[-1].parts
    *_, losses = lose(free_nats=0.0, mean_only=True, overshooting=3, overshooting_reward_scale=10.0)
    assert losses.parts.keys() - plain.keys() == {"overshooting_divergence", "overshooting_reward_loss"}
    assert losses.parts["overshooting_divergence"] > 0
    model, *_, losses = lose(overshooting=3, free_nats=0.0)
    losses.parts["overshooting_divergence"].backward()  # type: ignore[no-untyped-call]
    assert model.agent.cell.prior.mean.weight.grad is not None  # type: ignore[union-attr]
    assert "overshooting_divergence" not in lose(overshooting=1)[-1].parts


def test_slow_cells_are_priors_of_fast_ones() -> None:
    settings = {"cw_tau": (1, 2), "cell_as_prior": 0.1}
    model, given, _, states, losses = lose(**settings)
    fast, slow = model.agent.cell.parts(states.posterior)  # type: ignore[operator]
    between = kl_divergence(gaussian(fast), gaussian(slow)).sum(dim=-1)
    torch.testing.assert_close(losses.parts["cell_as_prior"], counted(between, given.is_frame))


def test_what_there_is_not_costs_nothing() -> None:
    model, given, decoded, states, losses = lose(overshooting=3)
    other = replace(given, shown=given.shown.clone(), reward=given.reward.clone())
    other.shown[1, 5:] += 1.0
    other.reward[1, 5:] += 1.0
    other.reward[:, 0] += 1.0
    config = PlanetConfig(**SMALL, overshooting=3)
    torch.manual_seed(1)
    again = compute_losses(model, config, given, decoded, states)
    torch.manual_seed(1)
    changed = compute_losses(model, config, other, decoded, states)
    for name, part in again.parts.items():
        torch.testing.assert_close(part, changed.parts[name], msg=name)
    assert losses.parts.keys() == again.parts.keys()
