"""TensorFlow's padding: sizes, and the same numbers as a picture that is padded first."""

import pytest
import torch
from torch.nn import functional

from rlsys.nets.same_padding import SameConv, padding


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (105, 5, 2, (2, 2)),
        (80, 5, 2, (1, 2)),
        (53, 5, 2, (2, 2)),
        (40, 5, 2, (1, 2)),
        (7, 8, 4, (2, 3)),
        (8, 2, 4, (0, 0)),
    ],
)
def test_an_odd_pad_goes_to_the_right_and_below(size: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    assert padding(size, kernel, stride) == expected


@pytest.mark.parametrize("kernel", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("size", [(7, 10), (8, 9), (13, 5)])
def test_numbers_and_gradients_are_those_of_a_padded_picture(kernel: int, stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = SameConv(2, 3, kernel, stride, size).double()
    x_BCHW = torch.rand(4, 2, *size, dtype=torch.float64, requires_grad=True)
    rows, columns = padding(size[0], kernel, stride), padding(size[1], kernel, stride)
    y_BCHW = functional.conv2d(functional.pad(x_BCHW, (*columns, *rows)), conv.weight, conv.bias, stride)
    assert conv(x_BCHW).shape[2:] == y_BCHW.shape[2:] == conv.size == (-(-size[0] // stride), -(-size[1] // stride))
    torch.testing.assert_close(conv(x_BCHW), y_BCHW)
    wanted = (x_BCHW, conv.weight, conv.bias)
    expected = torch.autograd.grad(y_BCHW.square().sum(), wanted)
    torch.testing.assert_close(torch.autograd.grad(conv(x_BCHW).square().sum(), wanted), expected)
