"""Encoder and decoder: levels of residual blocks, each half the size of the one before.

Esser et al. 2021, https://arxiv.org/abs/2012.09841; sizes of Micheli et al. 2023, appendix A.

Shape legend: N frames, C channels, H and W of frames, h and w of the map that tokens are read from, Z its channels.
"""

import itertools

import torch
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

    def __init__(self, config: TokenizerConfig, shape: tuple[int, int, int], num_in: int) -> None:
        """Takes maps of `num_in` channels, and frames of `shape`: channels, height, width."""
        super().__init__()
        sizes = config.level_channels
        layers: list[nn.Module] = [conv3x3(num_in, sizes[-1]), *_middle(config, sizes[-1])]
        before = sizes[-1]
        for level, num_channels in reversed(list(enumerate(sizes))):
            num_blocks = config.residual_blocks + 1
            layers += _level(config, before, num_channels, num_blocks, config.attends(*shape[1:], level))
            layers += [Double(num_channels)] if level else []
            before = num_channels
        self.layers = nn.Sequential(*layers)
        self.norm = group_norm(before)
        self.out = conv3x3(before, shape[0])

    def forward(self, maps: Tensor) -> Tensor:
        """Returns frames `[N, C, H, W]`, about within [-1, 1], of maps `[N, num_in, h, w]`."""
        frames: Tensor = self.out(swish(self.norm(self.layers(maps))))
        return frames


class Context(nn.Module):
    """What the frame before a frame, and the action between them, add to what encoder and decoder see.

    Micheli et al. 2024, section 3.1 and appendix A, https://arxiv.org/abs/2406.19320.

    Attributes:
      num_encoded: channels that it adds to frames.
      num_decoded: channels that it adds to maps.
    """

    def __init__(
        self, config: TokenizerConfig, shape: tuple[int, int, int], map_shape: tuple[int, int], num_actions: int
    ) -> None:
        super().__init__()
        self.encoder = Encoder(config, shape)
        self.action_in_frame, self.action_in_map = (
            nn.Embedding(num_actions, height * width) for height, width in (shape[1:], map_shape)
        )
        self.num_encoded, self.num_decoded = shape[0] + 1, config.z_channels + 1

    def beside_frames(self, before_NCHW: Tensor, action_N: Tensor) -> Tensor:
        """Returns `[N, num_encoded, H, W]` of the frames before, within [-1, 1], and what was done then."""
        plane = self.action_in_frame(action_N).view(-1, 1, *before_NCHW.shape[2:])
        return torch.cat([before_NCHW, plane], dim=1)

    def beside_maps(self, before_NCHW: Tensor, action_N: Tensor) -> Tensor:
        """Returns `[N, num_decoded, h, w]` of the same."""
        maps = self.encoder(before_NCHW)
        plane = self.action_in_map(action_N).view(-1, 1, *maps.shape[2:])
        return torch.cat([maps, plane.to(maps.dtype)], dim=1)


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
