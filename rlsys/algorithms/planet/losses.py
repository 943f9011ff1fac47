"""What the model is trained by: how likely it finds what happened, and how far what it thinks is from what it expected.

    image_loss_scale · -log p(o_t | s_t) + reward_scale · -log p(r_t | s_t)
        + divergence_scale · max(free_nats, KL(q_t ‖ p_t)) + global_divergence_scale · KL(q_t ‖ N(0, 1))

averaged over windows and frames; free nats are given per frame. r_t came with the action that led to frame t. Beside
it, heads that nothing else depends on: values, and other parts of observations. Their gradients end at the features.

Hafner et al. 2019, equations 3 and 7, https://arxiv.org/abs/1811.04551.

Shape legend: B windows, T frames, L = T - 1 rows between them, F features.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.networks import WorldModel
from rlsys.algorithms.planet.overshooting import later, overshoot
from rlsys.algorithms.planet.time_agnostic import best_later
from rlsys.algorithms.planet.transitions.cell import CellState, Step
from rlsys.algorithms.planet.transitions.clockwork import Clockwork
from rlsys.algorithms.planet.transitions.time_agnostic import TimeAgnostic
from rlsys.ops.gaussians import divergence, divergence_from_standard, unit_negative_log_density


@dataclass(frozen=True)
class Windows:
    """What is learned from, as the networks know it.

    Attributes:
      shown: `[B, T, *input]`.
      action: `[B, T, A]`, which led to each frame; 0 for the first.
      reward: `[B, T]`, which came with it; 0 for the first.
      terminated: `[B, T]` float, whether the episode ended there.
      is_frame: `[B, T]` float, 0 for frames that there are not.
      is_row: `[B, T]` float, 0 for the first frame, too: of it neither action nor reward are known.
      told: part -> `[B, T, n]`, other parts of the observations.
    """

    shown: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    is_frame: Tensor
    is_row: Tensor
    told: Mapping[str, Tensor]


@dataclass(frozen=True)
class Losses:
    """Of one batch.

    Attributes:
      total: scalar.
      parts: name -> scalar, before it was weighted.
    """

    total: Tensor
    parts: Mapping[str, Tensor]


def compute_losses(model: WorldModel, config: PlanetConfig, windows: Windows, decoded: Tensor, states: Step) -> Losses:
    """Returns the losses of windows that the model has followed.

    Args:
      model: whose heads are asked.
      config: says how much each loss counts.
      windows: what happened.
      decoded: `[B, T, *input]`, means of what is seen in the posterior's states.
      states: of the transition model, `[B, T, n]`.
    """
    posterior = states.posterior
    features = model.agent.cell.features(posterior)
    image = unit_negative_log_density(decoded, windows.shown, windows.shown.dim() - 2)
    reward = unit_negative_log_density(model.agent.reward(features).squeeze(-1), windows.reward, 0)
    parts = {
        "image_loss": mean(image, windows.is_frame),
        "reward_loss": mean(reward, windows.is_row),
        "divergence": mean(_free(_divergence(posterior, states.prior), config), windows.is_frame),
        "value_loss": _value_loss(model, config, windows, features.detach()),
    }
    scales = {
        "image_loss": config.image_loss_scale,
        "reward_loss": config.reward_scale,
        "divergence": config.divergence_scale,
    }
    if config.global_divergence_scale:
        away = divergence_from_standard(posterior["mean"], posterior["stddev"])
        parts["global_divergence"] = mean(away, windows.is_frame)
        scales["global_divergence"] = config.global_divergence_scale
    if config.cell_as_prior:
        parts["cell_as_prior"] = mean(_between_cells(model, posterior), windows.is_frame)
        scales["cell_as_prior"] = config.cell_as_prior
    if isinstance(model.agent.cell, TimeAgnostic):
        parts |= _time_agnostic(model, config, windows, states, model.agent.cell)
        scales |= {
            "later_image_loss": config.image_loss_scale,
            "later_reward_loss": config.reward_scale,
            "later_divergence": config.divergence_scale,
        }
    for name, head in model.told.items():
        foretold = unit_negative_log_density(head(features.detach()), windows.told[name], 1)
        parts[f"{name}_loss"] = mean(foretold, windows.is_frame)
    if config.overshooting > 1:
        parts |= _overshooting(model, config, windows, posterior)
        scales |= {
            "overshooting_divergence": config.divergence_scale,
            "overshooting_reward_loss": config.overshooting_reward_scale,
        }
    total = sum((scales.get(name, 1.0) * loss for name, loss in parts.items()), torch.zeros_like(parts["image_loss"]))
    return Losses(total, parts)


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean of those that count: `[B, T]` both."""
    return (values * mask).sum() / mask.sum().clamp_min(1.0)


def _divergence(posterior: CellState, prior: CellState) -> Tensor:
    return divergence(posterior["mean"], posterior["stddev"], prior["mean"], prior["stddev"])


def _between_cells(model: WorldModel, posterior: CellState) -> Tensor:
    """Returns the divergences of each cell of a clockwork from the next slower one, summed, `[B, T]`."""
    assert isinstance(model.agent.cell, Clockwork), "refused before"
    cells = model.agent.cell.parts(posterior)
    return torch.stack([_divergence(fast, slow) for fast, slow in itertools.pairwise(cells)]).sum(dim=0)


def _free(nats: Tensor, config: PlanetConfig) -> Tensor:
    return nats.clamp_min(config.free_nats)


def _value_loss(model: WorldModel, config: PlanetConfig, windows: Windows, features: Tensor) -> Tensor:
    """Returns how far values are from λ-returns of what really happened, which end in values; Sutton 1988."""
    value = model.agent.value(features).squeeze(-1)
    known = value.detach()
    goes_on, target = config.discount * (1.0 - windows.terminated), [known[:, -1]]
    for frame in range(value.shape[1] - 1, 0, -1):
        mixed = (1.0 - config.value_lambda) * known[:, frame] + config.value_lambda * target[-1]
        reached = windows.reward[:, frame] + goes_on[:, frame] * mixed
        target.append(torch.where(windows.is_row[:, frame] > 0, reached, known[:, frame - 1]))
    error = 0.5 * (value - torch.stack(target[::-1], dim=1)).square()
    return mean(error, windows.is_frame)


def _time_agnostic(
    model: WorldModel, config: PlanetConfig, windows: Windows, states: Step, cell: TimeAgnostic
) -> dict[str, Tensor]:
    """Returns the losses of the cell that foretells later frames; what is decoded of it is decoded once."""
    prior, posterior = (cell.parts(state)[1] for state in states)
    features = cell.later.features(posterior)
    decoded, shown = model.decode(features).flatten(start_dim=2), windows.shown.flatten(start_dim=2)
    reward = model.agent.reward(features)
    return {
        "later_image_loss": best_later(decoded, shown, windows.is_frame, config.tap_horizon),
        "later_reward_loss": best_later(reward, windows.reward[..., None], windows.is_frame, config.tap_horizon),
        "later_divergence": mean(_free(_divergence(posterior, prior), config), windows.is_frame),
    }


def _overshooting(model: WorldModel, config: PlanetConfig, windows: Windows, posterior: CellState) -> dict[str, Tensor]:
    """Returns the divergences at distances from 1 on, and the rewards there, each averaged over distances.

    The posteriors that priors are compared with are not moved towards them. Where it is asked for, the reward of what
    a prior has come to is trained, too.
    """
    held = {name: part.detach() for name, part in posterior.items()}
    away, missed = [], []
    for distance, prior in enumerate(overshoot(model.agent.cell, posterior, windows.action, config.overshooting), 1):
        target = later(held, distance)
        mask = windows.is_frame[:, distance:]
        away.append(mean(_free(_divergence(target, prior), config), mask))
        if config.overshooting_reward_scale:
            foretold = model.agent.reward(model.agent.cell.features(prior)).squeeze(-1)
            reward = unit_negative_log_density(foretold, windows.reward[:, distance:], 0)
            missed.append(mean(reward, windows.is_row[:, distance:]))
    losses = {"overshooting_divergence": torch.stack(away).mean()}
    return losses | ({"overshooting_reward_loss": torch.stack(missed).mean()} if missed else {})
