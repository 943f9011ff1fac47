"""The RSSM's roll-out on a CPU, against torch's modules step by step."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.planning.shooting import rssm, rssm_kernels
from rlsys.planning.shooting.rssm import RSSMLayers, RSSMScore

ACTIONS, STATES, BELIEFS, HIDDEN = 3, 7, 21, 18


def make_layers(seed: int = 0, scale: float = 2.0, **settings: Any) -> RSSMLayers:
    torch.manual_seed(seed)

    def head(*sizes: int) -> list[nn.Linear]:
        return [nn.Linear(before, after) for before, after in itertools.pairwise(sizes)]

    layers = RSSMLayers(
        input=nn.Linear(STATES + ACTIONS, HIDDEN),
        belief=nn.GRUCell(HIDDEN, BELIEFS),
        prior_hidden=nn.Linear(BELIEFS if settings.get("future_rnn", True) else HIDDEN, HIDDEN),
        mean=nn.Linear(HIDDEN, STATES),
        stddev=nn.Linear(HIDDEN, STATES),
        reward=head(STATES + BELIEFS, 11, 9, 1),
        **{"value": head(STATES + BELIEFS, 5, 1) if settings.pop("has_value", False) else ()},
        **settings,
    )
    with torch.no_grad():
        for name in ("input", "belief", "prior_hidden", "mean", "stddev"):
            for parameter in getattr(layers, name).parameters():
                parameter.mul_(scale)
    return layers


def run(layers: list[nn.Linear], features: Tensor) -> Tensor:
    for layer in layers[:-1]:
        features = functional.relu(layer(features))
    output: Tensor = layers[-1](features)
    return output.squeeze(-1)


@torch.no_grad()
def naive(
    layers: RSSMLayers, sample: Tensor, belief: Tensor, actions: Tensor, noise: Tensor, discount: float
) -> Tensor:
    """Returns what rows of actions `[R, H, A]` are worth, with noise `[H, R, S]`."""
    total = torch.zeros(len(actions))
    for step in range(actions.shape[1]):
        x = functional.relu(layers.input(torch.cat([sample, actions[:, step]], dim=1)))
        belief = layers.belief(x, belief)
        hidden = functional.relu(layers.prior_hidden(belief if layers.future_rnn else x))
        stddev = functional.softplus(layers.stddev(hidden)) + layers.min_stddev
        sample = layers.mean(hidden) + (0.0 if layers.mean_only else 1.0) * stddev * noise[step]
        total += discount**step * run(list(layers.reward), torch.cat([sample, belief], dim=1))
    if layers.value:
        total += discount ** actions.shape[1] * run(list(layers.value), torch.cat([sample, belief], dim=1))
    return total


@pytest.mark.parametrize(
    "settings",
    [{}, {"has_value": True}, {"future_rnn": False}, {"mean_only": True}, {"min_stddev": 0.7}],
    ids=lambda settings: next(iter(settings), "plain"),
)
@pytest.mark.parametrize(("size", "count"), [(1, 10), (3, 7), (3, 390)])
def test_returns_are_those_of_the_model_step_by_step(settings: dict[str, Any], size: int, count: int) -> None:
    layers, horizon = make_layers(**settings), 5
    sample, belief = torch.randn(size, STATES), torch.randn(size, BELIEFS).tanh()
    candidates = torch.rand(size, count, horizon, ACTIONS) * 2.0 - 1.0
    score = RSSMScore(layers, sample, belief, discount=0.9, generator=torch.Generator().manual_seed(1))
    returns = score(candidates)
    rows = [tensor.repeat_interleave(count, dim=0) for tensor in (sample, belief)]
    stream = torch.Generator().manual_seed(1)
    blocks = [min(rssm._BLOCK, size * count - begin) for begin in range(0, size * count, rssm._BLOCK)]
    drawn = [[torch.randn(block, STATES, generator=stream) for _ in range(horizon)] for block in blocks]
    noise = torch.cat([torch.stack(steps) for steps in drawn], dim=1)
    wanted = naive(layers, *rows, candidates.reshape(-1, horizon, ACTIONS), noise, 0.9)
    assert torch.allclose(returns, wanted.view(size, count), atol=2e-5)


@pytest.mark.parametrize("settings", [{}, {"has_value": True}, {"mean_only": True}], ids=str)
def test_rounded_products_are_worth_nearly_the_same(settings: dict[str, Any]) -> None:
    layers = make_layers(scale=1.0, **settings)
    places = torch.randn(3, STATES), torch.randn(3, BELIEFS).tanh()
    candidates = torch.rand(3, 390, 5, ACTIONS) * 2.0 - 1.0
    exact, rounded = (
        RSSMScore(layers, *places, discount=0.9, generator=torch.Generator().manual_seed(1), dtype=dtype)(candidates)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert not torch.equal(rounded, exact), "nothing was rounded"
    assert (rounded - exact).abs().mean() < 0.02 * exact.std()


def test_a_score_can_be_asked_again_and_for_fewer_candidates() -> None:
    layers = make_layers(mean_only=True)
    score = RSSMScore(layers, torch.randn(2, STATES), torch.randn(2, BELIEFS), discount=1.0)
    candidates = torch.rand(2, 300, 4, ACTIONS)
    first = score(candidates)
    assert torch.allclose(score(candidates[:, :20]), first[:, :20], atol=1e-5)
    assert torch.equal(score(candidates), first)


def test_a_broken_weight_is_not_hidden() -> None:
    for name in ("input", "belief", "prior_hidden", "mean", "stddev"):
        layers = make_layers()
        with torch.no_grad():
            for parameter in getattr(layers, name).parameters():
                parameter.fill_(torch.nan)
        score = RSSMScore(layers, torch.zeros(1, STATES), torch.zeros(1, BELIEFS), discount=1.0)
        assert score(torch.zeros(1, 4, 3, ACTIONS)).isnan().all(), name


def test_a_gru_is_torchs_for_numbers_of_any_size() -> None:
    for scale in (0.01, 1.0, 30.0):
        torch.manual_seed(0)
        raw, belief = scale * torch.randn(2, 40, 3 * BELIEFS), torch.randn(40, BELIEFS)
        bias = torch.randn(2, 3 * BELIEFS)
        (x_r, x_z, x_n), (h_r, h_z, h_n) = ((raw[i] + bias[i]).chunk(3, dim=1) for i in range(2))
        r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
        n = (x_n + r * h_n).tanh()
        wanted = (1.0 - z) * n + z * belief
        rows = torch.cat([torch.zeros(40, 2), belief], dim=1).numpy()
        rssm_kernels.update_belief(raw[0].numpy(), raw[1].numpy(), bias[0].numpy(), bias[1].numpy(), rows, 2)
        assert not rows[:, :2].any()
        assert np.allclose(rows[:, 2:], wanted.numpy(), atol=2e-6)


def test_deviations_are_softplus_for_numbers_of_any_size() -> None:
    raw = torch.cat([torch.linspace(-200.0, 200.0, 4001), torch.linspace(-3.0, 3.0, 999)])[:, None]
    both = torch.cat([torch.zeros_like(raw), raw], dim=1).contiguous().numpy()
    rows, noise = np.zeros((len(raw), 3), np.float32), np.ones((len(raw), 1), np.float32)
    rssm_kernels.draw_state(both, np.array([0.25, 0.5], np.float32), 0.1, noise, rows, 1)
    wanted = 0.25 + functional.softplus(raw.double() + 0.5) + 0.1
    assert np.allclose(rows[:, 1], wanted[:, 0].numpy(), rtol=2e-6, atol=1e-6)
