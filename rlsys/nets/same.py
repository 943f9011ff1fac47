"""Padding as TensorFlow's "same": a side of n becomes ⌈n / stride⌉, and an odd pad goes to the right and below."""

from torch import nn


def padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Returns what is padded before and after a side."""
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


class SameConv(nn.Sequential):
    """A convolution of square kernels over pictures of a known size.

    Attributes:
      size: (height, width) of what comes out.
    """

    def __init__(self, num_in: int, num_out: int, kernel: int, stride: int, size: tuple[int, int]) -> None:
        height, width = size
        pad = nn.ZeroPad2d((*padding(width, kernel, stride), *padding(height, kernel, stride)))
        super().__init__(pad, nn.Conv2d(num_in, num_out, kernel, stride))
        self.size = (-(-height // stride), -(-width // stride))
