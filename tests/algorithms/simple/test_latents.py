"""Bits that say what will happen: their code, and how they are read."""

import pytest
import torch
from support.worlds import (
    SMALL,
)

from rlsys.algorithms.simple.config import WorldModelConfig
from rlsys.algorithms.simple.latents import Posterior, _bits, _symbols


def posterior(config: WorldModelConfig) -> Posterior:
    torch.manual_seed(0)
    return Posterior(config, num_channels=1, num_features=8, size=(20, 16))


def test_bits_and_symbols_are_the_same_code() -> None:
    symbols = torch.arange(256)[:, None].repeat(1, 2)
    bits = _bits(symbols)
    assert bits.shape == (256, 16)
    assert torch.equal(_symbols(bits), symbols)
    assert bits[1, :8].tolist() == [1, -1, -1, -1, -1, -1, -1, -1], "the lowest bit comes first"


def test_bits_are_read_rounded_in_the_end_and_pass_gradients() -> None:
    reader = posterior(SMALL.model_copy(update={"bottleneck_noise": 0.0}))
    frame, after, action = torch.randn(6, 1, 20, 16), torch.randn(6, 1, 20, 16), torch.randn(6, 8)
    soft = reader(frame, after, action, torch.tensor(0.0)).bits
    assert (soft.abs() < 1).float().mean() > 0.9
    read = reader(frame, after, action, torch.tensor(40_000.0))
    assert set(read.bits.detach().flatten().tolist()) <= {-1.0, 1.0}
    read.bits.sum().backward()
    gradient = reader.embed.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0
    reader._bits.weight.data *= 100  # the noise no longer turns a sign
    read = reader(frame, after, action, torch.tensor(40_000.0))
    assert torch.equal(read.bits.detach(), read.clean)


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_the_noise_before_rounding_does_not_depend_on_the_share_of_bits_that_are_flipped(share: float) -> None:
    reader = posterior(SMALL.model_copy(update={"bottleneck_noise": share}))
    for parameter in reader._bits.parameters():
        parameter.data.zero_()
    frames = torch.randn(2, 500, 1, 20, 16)
    bits = reader(*frames, torch.randn(500, 8), torch.tensor(0.0)).bits.detach()
    noise = bits[bits.abs() < 1].atanh()
    assert noise.abs().max() <= 0.4 + 1e-6, "two deviations"
    assert noise.std() == pytest.approx(0.2 * 0.88, rel=0.05)
