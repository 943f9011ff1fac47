"""Encoder and decoder: sizes of upstream, and frames of any size."""

import pytest
import torch
from torch import nn

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.layers import Double, Halve, PixelAttention, ResidualBlock
from rlsys.algorithms.iris.tokenizer.networks import Decoder, Encoder


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def count(module: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(part, kind) for part in module.modules())


def test_sizes_are_upstreams() -> None:
    with torch.device("meta"):
        encoder, decoder = Encoder(TokenizerConfig(), (3, 64, 64)), Decoder(TokenizerConfig(), (3, 64, 64), 512)
    assert size(encoder) == 1_418_240
    assert size(decoder) == 1_821_827
    assert [count(encoder, kind) for kind in (ResidualBlock, PixelAttention, Halve)] == [12, 5, 4]
    assert [count(decoder, kind) for kind in (ResidualBlock, PixelAttention, Double)] == [17, 7, 4]


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 12), (4, 16, 8)])
def test_frames_of_any_size_are_seen_and_drawn(shape: tuple[int, int, int]) -> None:
    config = TokenizerConfig(
        z_channels=5, channels=4, channel_multipliers=(1, 3, 2), residual_blocks=1, attention_resolutions=(8, 4)
    )
    encoder, decoder = Encoder(config, shape), Decoder(config, shape, 5)
    maps = encoder(torch.rand(2, *shape))
    assert maps.shape == (2, 5, shape[1] // 4, shape[2] // 4)
    assert decoder(maps).shape == (2, *shape)
    assert count(encoder, PixelAttention) == 1 + sum(config.attends(*shape[1:], level) for level in range(3))


def test_a_picture_that_lies_channels_last_stays_so() -> None:
    config = TokenizerConfig(
        z_channels=5, channels=4, channel_multipliers=(1, 2), residual_blocks=1, attention_resolutions=(8,)
    )
    encoder, decoder = Encoder(config, (3, 8, 8)), Decoder(config, (3, 8, 8), config.z_channels)
    frames = torch.rand(2, 3, 8, 8)
    last = frames.contiguous(memory_format=torch.channels_last)
    maps = encoder(last)
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert decoder(maps).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(decoder(maps), decoder(encoder(frames)), rtol=1e-4, atol=1e-4)
