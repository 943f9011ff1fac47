"""Residual blocks of 3×3 convolutions.

Shape legend: B batch, C channels, H height, W width.
"""

from torch import Tensor, nn
from torch.nn import functional


def conv3x3(num_in: int, num_out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """Returns a 3×3 convolution; with stride 2 it halves height and width, rounding up."""
    return nn.Conv2d(num_in, num_out, kernel_size=3, stride=stride, padding=1, bias=bias)


class ResidualBlock(nn.Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))); He et al. 2016, https://arxiv.org/abs/1512.03385."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(num_channels, num_channels, bias=False)
        self.norm1 = nn.BatchNorm2d(num_channels)
        self.conv2 = conv3x3(num_channels, num_channels, bias=False)
        self.norm2 = nn.BatchNorm2d(num_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns `[B, C, H, W]`."""
        y_BCHW = functional.relu(self.norm1(self.conv1(x_BCHW)))
        return functional.relu(x_BCHW + self.norm2(self.conv2(y_BCHW)))


class StridedResidualBlock(nn.Module):
    """relu(conv(x) + bn(conv(relu(bn(conv(x)))))), where the first of both sides halves height and width."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(num_in, num_out, stride=2, bias=False)
        self.norm1 = nn.BatchNorm2d(num_out)
        self.conv2 = conv3x3(num_out, num_out, bias=False)
        self.norm2 = nn.BatchNorm2d(num_out)
        self.shortcut = conv3x3(num_in, num_out, stride=2, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns `[B, num_out, H / 2, W / 2]`."""
        y_BCHW = functional.relu(self.norm1(self.conv1(x_BCHW)))
        return functional.relu(self.shortcut(x_BCHW) + self.norm2(self.conv2(y_BCHW)))


class PlainResidualBlock(nn.Module):
    """relu(x + conv(relu(conv(x)))): a residual block without normalisation, for small networks."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(num_channels, num_channels, bias=False)
        self.conv2 = conv3x3(num_channels, num_channels, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns `[B, C, H, W]`."""
        return functional.relu(x_BCHW + self.conv2(functional.relu(self.conv1(x_BCHW))))
