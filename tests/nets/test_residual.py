"""Residual blocks."""

import pytest
import torch
from torch import nn

from rlsys.nets.residual import PlainResidualBlock, ResidualBlock, conv3x3


@pytest.mark.parametrize("block", [ResidualBlock, PlainResidualBlock])
def test_a_block_that_adds_nothing_is_a_relu(block: type[ResidualBlock | PlainResidualBlock]) -> None:
    module = block(3)
    nn.init.zeros_(module.conv2.weight)
    x = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(module(x), x.clamp_min(0.0))


def test_a_stride_of_two_halves_the_size_rounding_up() -> None:
    assert conv3x3(1, 2, stride=2)(torch.zeros(1, 1, 7, 8)).shape == (1, 2, 4, 4)
