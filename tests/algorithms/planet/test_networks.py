"""Encoder, decoder and heads: sizes of the paper, any size of pictures, and products in place of slow convolutions."""

import pytest
import torch
from torch import nn

from rlsys.algorithms.planet.networks import ConvDecoder, ConvEncoder, Dense, FirstPixels, LastPixels
from rlsys.algorithms.planet.seen import decoder_kernels, decoder_layers


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_are_those_of_the_paper() -> None:
    assert size(ConvEncoder((3, 64, 64), 32)) == 690_144
    assert ConvEncoder((3, 64, 64), 32).num_features == 1_024
    assert size(ConvDecoder(230, (3, 64, 64), 32)) == 3_795_555
    assert size(Dense(230, [100, 100], 1)) == 33_301
    assert size(Dense(230, [300, 300, 300], 1)) == 250_201
    assert decoder_kernels(64, 4) == (5, 5, 6, 6)


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (1, 20, 16), (3, 32, 32), (1, 64, 64), (3, 84, 84), (3, 105, 80), (3, 156, 156)]
)
def test_pictures_of_any_size_are_seen_and_drawn(shape: tuple[int, int, int]) -> None:
    encoder, decoder = ConvEncoder(shape, 2), ConvDecoder(9, shape, 2)
    assert encoder(torch.zeros(2, *shape)).shape == (2, encoder.num_features)
    assert decoder(torch.zeros(2, 9)).shape == (2, *shape)


@pytest.mark.parametrize("shape", [(3, 3), (157, 157), (8, 100), (64, 200)])
def test_sizes_that_no_layers_draw_are_known(shape: tuple[int, int]) -> None:
    assert decoder_layers(*shape) is None


def test_the_first_pixels_are_those_of_a_transposed_convolution() -> None:
    torch.manual_seed(0)
    layer, inner = FirstPixels(6, 4, (5, 3)), torch.randn(2, 6)
    nn.init.normal_(layer.bias)
    reference = nn.ConvTranspose2d(6, 4, (5, 3), 2)
    with torch.no_grad():
        reference.weight.copy_(layer.weight.view(6, 5, 3, 4).permute(0, 3, 1, 2))
        reference.bias.copy_(layer.bias)  # type: ignore[union-attr]
    torch.testing.assert_close(layer(inner), reference(inner[:, :, None, None]))


@pytest.mark.parametrize(("kernel", "num_out"), [((6, 6), 3), ((5, 4), 1), ((2, 3), 4)])
def test_a_transposed_convolution_to_few_channels_is_a_convolution_to_those_of_four_pixels(
    kernel: tuple[int, int], num_out: int
) -> None:
    torch.manual_seed(0)
    layer, reference = LastPixels(6, num_out, kernel, 2), nn.ConvTranspose2d(6, num_out, kernel, 2)
    layer.load_state_dict(reference.state_dict())
    inner, expected = (torch.randn(3, 6, 7, 4).requires_grad_() for _ in range(2))
    expected.data.copy_(inner.data)
    pixels, plain = layer(inner), reference(expected)
    torch.testing.assert_close(pixels, plain)
    towards = torch.randn_like(plain)
    (pixels * towards).sum().backward()
    (plain * towards).sum().backward()
    torch.testing.assert_close(inner.grad, expected.grad)
    torch.testing.assert_close(layer.weight.grad, reference.weight.grad, rtol=1e-4, atol=1e-4)
    assert layer.bias is not None and reference.bias is not None
    torch.testing.assert_close(layer.bias.grad, reference.bias.grad, rtol=1e-4, atol=1e-4)
