"""Encoder and decoder: levels of residual blocks, each half the size of the one before.

Esser et al. 2021, https://arxiv.org/abs/2012.09841; sizes of Micheli et al. 2023, appendix A.

Shape legend: N frames, C channels, H and W of frames, h and w of the map that tokens are read from, Z its channels.
"""

import itertools

from torch import Tensor, nn

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.tokenizer.layers import Double, Halve, PixelAttention, ResidualBlock, group_norm, swish
from rlsys.nets.residual import conv3x3


class Encoder(nn.Module):
    """Frames to maps."""

    def __init__(self, config: TokenizerConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        sizes = config.level_channels
        layers: list[nn.Module] = [conv3x3(shape[0], config.channels)]
        before = config.channels
        for level, num_channels in enumerate(sizes):
            layers += _level(config, before, num_channels, config.residual_blocks, config.attends(*shape[1:], level))
            layers += [Halve(num_channels)] if level + 1 < len(sizes) else []
            before = num_channels
        self.layers = nn.Sequential(*layers, *_middle(config, before))
        self.norm = group_norm(before)
        self.out = conv3x3(before, config.z_channels)

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        """Returns maps `[N, Z, h, w]` of frames within [-1, 1]."""
        maps: Tensor = self.out(swish(self.norm(self.layers(frames_NCHW))))
        return maps


class Decoder(nn.Module):
    """Maps to frames; each level has a block more than the encoder's."""

    def __init__(self, config: TokenizerConfig, shape: tuple[int, int, int]) -> None:
        super().__init__()
        sizes = config.level_channels
        layers: list[nn.Module] = [conv3x3(config.z_channels, sizes[-1]), *_middle(config, sizes[-1])]
        before = sizes[-1]
        for level, num_channels in reversed(list(enumerate(sizes))):
            num_blocks = config.residual_blocks + 1
            layers += _level(config, before, num_channels, num_blocks, config.attends(*shape[1:], level))
            layers += [Double(num_channels)] if level else []
            before = num_channels
        self.layers = nn.Sequential(*layers)
        self.norm = group_norm(before)
        self.out = conv3x3(before, shape[0])

    def forward(self, maps_NZhw: Tensor) -> Tensor:
        """Returns frames `[N, C, H, W]`, about within [-1, 1]."""
        frames: Tensor = self.out(swish(self.norm(self.layers(maps_NZhw))))
        return frames


def _level(config: TokenizerConfig, before: int, num_channels: int, num_blocks: int, attends: bool) -> list[nn.Module]:
    """Returns blocks of one level, with attention after each where that is asked for."""
    layers: list[nn.Module] = []
    for num_in, num_out in itertools.pairwise([before, *[num_channels] * num_blocks]):
        layers.append(ResidualBlock(num_in, num_out, config.dropout))
        layers += [PixelAttention(num_out)] if attends else []
    return layers


def _middle(config: TokenizerConfig, num_channels: int) -> list[nn.Module]:
    """Returns what both have around the map."""
    first, second = (ResidualBlock(num_channels, num_channels, config.dropout) for _ in range(2))
    return [first, PixelAttention(num_channels), second]
