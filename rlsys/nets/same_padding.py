"""Padding as TensorFlow's "same": a side of n becomes ⌈n / stride⌉, and an odd pad goes to the right and below."""

from torch import Tensor, nn
from torch.nn import functional


def padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Returns what is padded before and after a side; after is as much, or one more."""
    total = max(0, (-(-size // stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


class SameConv(nn.Conv2d):
    """A convolution of square kernels over pictures of a known size.

    Pictures are padded alike on both sides, which costs nothing. Where that is one too much in front, the kernel begins
    with zeros there: a padded copy of the picture took a third of the time.

    Attributes:
      size: (height, width) of what comes out.
    """

    def __init__(self, num_in: int, num_out: int, kernel: int, stride: int, size: tuple[int, int]) -> None:
        height, width = size
        (above, below), (left, right) = padding(height, kernel, stride), padding(width, kernel, stride)
        super().__init__(num_in, num_out, kernel, stride, padding=(below, right))
        self.size = (-(-height // stride), -(-width // stride))
        self._zeros = (right - left, 0, below - above, 0)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns `[B, num_out, *size]`."""
        weight = functional.pad(self.weight, self._zeros) if any(self._zeros) else self.weight
        return functional.conv2d(x_BCHW, weight, self.bias, self.stride, self.padding)
