"""Layers of encoder and decoder: residual blocks, attention among pixels, halving and doubling.

Esser et al. 2021, https://arxiv.org/abs/2012.09841; Ho et al. 2020, appendix B, https://arxiv.org/abs/2006.11239.
Any layout of pictures does; with channels last attention needs no copy.

Shape legend: N frames, C channels, H height, W width, P = H · W pixels.
"""

from torch import Tensor, nn
from torch.nn import functional

from rlsys.nets.residual import conv3x3

_MOST_GROUPS = 32
_EPSILON = 1e-6


def group_norm(num_channels: int) -> nn.GroupNorm:
    """Returns a norm of 32 groups, or of the most below that which divide the channels (Wu and He 2018)."""
    num_groups = next(groups for groups in range(_MOST_GROUPS, 0, -1) if num_channels % groups == 0)
    return nn.GroupNorm(num_groups, num_channels, _EPSILON)


def swish(x: Tensor) -> Tensor:
    """Returns x · σ(x), in place of x where nobody will need that for a gradient."""
    return functional.silu(x, inplace=not x.requires_grad)


class ResidualBlock(nn.Module):
    """x + conv(dropout(swish(norm(conv(swish(norm(x))))))); a 1×1 convolution of x where channels change."""

    def __init__(self, num_in: int, num_out: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = group_norm(num_in)
        self.conv1 = conv3x3(num_in, num_out)
        self.norm2 = group_norm(num_out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = conv3x3(num_out, num_out)
        self.skip = nn.Identity() if num_in == num_out else nn.Conv2d(num_in, num_out, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns `[N, num_out, H, W]`."""
        y_NCHW = self.conv1(swish(self.norm1(x_NCHW)))
        y_NCHW = self.conv2(self.dropout(swish(self.norm2(y_NCHW))))
        added: Tensor = y_NCHW + self.skip(x_NCHW)
        return added


class PixelAttention(nn.Module):
    """x + proj(softmax(q·k / √C) v), of one head, among all pixels of a frame."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.norm = group_norm(num_channels)
        self.qkv = nn.Linear(num_channels, 3 * num_channels)
        self.out = nn.Linear(num_channels, num_channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns `[N, C, H, W]`."""
        normed_NPC = self.norm(x_NCHW).flatten(start_dim=2).transpose(1, 2)
        q_N1PC, k_N1PC, v_N1PC = self.qkv(normed_NPC).unsqueeze(1).chunk(3, dim=-1)  # without heads it is not fused
        seen_NPC = functional.scaled_dot_product_attention(q_N1PC, k_N1PC, v_N1PC).squeeze(1)
        attended: Tensor = x_NCHW + self.out(seen_NPC).transpose(1, 2).reshape(x_NCHW.shape)
        return attended


class Halve(nn.Module):
    """A 3×3 convolution of stride 2; what it sees beyond the frame is 0, at the right and below."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_channels, num_channels, 3, stride=2)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns `[N, C, H / 2, W / 2]`."""
        halved: Tensor = self.conv(functional.pad(x_NCHW, (0, 1, 0, 1)))
        return halved


class Double(nn.Module):
    """Each pixel becomes four, and a 3×3 convolution follows."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(num_channels, num_channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Returns `[N, C, 2 H, 2 W]`."""
        doubled: Tensor = self.conv(functional.interpolate(x_NCHW, scale_factor=2.0, mode="nearest"))
        return doubled
