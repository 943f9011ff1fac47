"""Losses against their formulas, and a small tokenizer that learns a few frames by heart."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.losses import Losses, TokenizerModel

SHAPE = (3, 8, 8)


def model(**settings: Any) -> TokenizerModel:
    torch.manual_seed(0)
    small = {
        "vocabulary_size": 16,
        "embedding_size": 8,
        "z_channels": 8,
        "channels": 8,
        "channel_multipliers": [1, 1],
        "residual_blocks": 1,
        "attention_resolutions": [4],
        "critic_units": 5,
    }
    return TokenizerModel(TokenizerConfig.model_validate(small | settings), SHAPE)


def frames(count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


def parts(made: TokenizerModel, count: int = 3) -> tuple[Losses, Tensor]:
    """Returns losses, and how far reconstructions are from frames within [-1, 1]."""
    seen = made.tokenizer(frames(count))
    return made(frames(count)), (seen.decoded - (frames(count) * 2 - 1)).detach()


@pytest.mark.parametrize(
    ("settings", "weights"),
    [
        ({}, (1.0, 0.0)),
        ({"reconstruction": "l2", "l1_weight": 3.0}, (0.0, 1.0)),
        ({"reconstruction": "l1_l2", "l1_weight": 0.1, "l2_weight": 0.5}, (0.1, 0.5)),
    ],
)
def test_reconstruction_is_measured_as_asked(settings: dict[str, Any], weights: tuple[float, float]) -> None:
    losses, apart = parts(model(**settings))
    expected = weights[0] * apart.abs().mean() + weights[1] * (apart**2).mean()
    torch.testing.assert_close(losses.parts["reconstruction_loss"].detach(), expected)
    assert losses.parts.keys() == {"reconstruction_loss", "commitment_loss"}
    torch.testing.assert_close(losses.total, losses.parts["reconstruction_loss"] + losses.parts["commitment_loss"])


def test_the_worst_pixel_is_each_frames() -> None:
    losses, apart = parts(model(worst_pixel_weight=0.5, commitment_weight=0.02))
    expected = torch.stack([(frame**2).max() for frame in apart]).mean()
    torch.testing.assert_close(losses.parts["worst_pixel_loss"].detach(), expected)
    told = {name: loss.item() for name, loss in losses.parts.items()}
    total = told["reconstruction_loss"] + 0.5 * told["worst_pixel_loss"] + 0.02 * told["commitment_loss"]
    assert losses.total.item() == pytest.approx(total)


def test_the_critic_foretells_returns_from_codes() -> None:
    made, returns = model(critic_weight=2.0, critic_layers=1), torch.tensor([[1.0, -2.0]])
    assert made.critic is not None
    losses = made(frames(2)[None], returns)
    hidden, _, out = made.critic[1], made.critic[2], made.critic[3]
    codes = made.tokenizer.embed(losses.tokens).flatten(start_dim=1)
    value = torch.relu(codes @ hidden.weight.t() + hidden.bias) @ out.weight[0] + out.bias
    torch.testing.assert_close(losses.parts["value_loss"], ((value - returns[0]) ** 2).mean())
    assert losses.total.item() == pytest.approx(
        (losses.parts["reconstruction_loss"] + losses.parts["commitment_loss"] + 2 * losses.parts["value_loss"]).item()
    )
    losses.parts["value_loss"].backward()
    assert made.tokenizer.before_codes.weight.grad is not None, "encodings learn from it, through the codes"
    assert model().critic is None


def test_codes_are_observed_after_an_update() -> None:
    made = model()
    losses = made(frames(3))
    assert not losses.encoded.requires_grad
    told = made.observe(losses)
    assert told["codes_used"].item() == pytest.approx(losses.tokens.unique().numel() / 16)
    assert told.keys() == {"codes_used", "perplexity", "codes_revived"}


@pytest.mark.parametrize("codebook", ["learned", "ema"])
def test_a_small_tokenizer_learns_a_few_frames_by_heart(codebook: str) -> None:
    made = model(codebook=codebook, channels=16, vocabulary_size=32, revive_dead_codes=10, reconstruction="l2")
    optimizer = torch.optim.Adam(made.parameters(), 5e-3)
    levels = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    shown = levels.repeat_interleave(2, 2).repeat_interleave(2, 3)
    errors, used = [], []
    for _ in range(45):
        losses = made(shown)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        used.append(made.observe(losses)["codes_used"].item())
        errors.append(losses.parts["reconstruction_loss"].item())
    assert errors[-1] < 0.1 * errors[0], errors[::10]
    assert used[-1] > 0.5
    assert (made.tokenizer.reconstruct(shown) - shown).abs().mean() < 0.1


def test_a_fixed_tokenizer_begins_as_the_pretrained_one_and_learns_nothing(tmp_path: Path) -> None:
    trained = model(critic_weight=1.0)
    torch.save(trained.state_dict(), tmp_path / "agent.pt")
    torch.manual_seed(1)
    fixed = model(train=False, initial=str(tmp_path / "agent.pt"))
    assert torch.equal(fixed.tokenizer.encode(frames(2)), trained.tokenizer.encode(frames(2)))
    assert not any(parameter.requires_grad for parameter in fixed.parameters())
    assert not fixed(frames(2)).total.requires_grad
