"""Encoder, decoder and heads: sizes of the paper, any size of pictures, and products in place of slow convolutions."""

import pytest
import torch
from torch import nn

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.networks import (
    ConvDecoder,
    ConvEncoder,
    Dense,
    FirstPixels,
    LastPixels,
    NormalizedPictures,
    WorldModel,
)
from rlsys.algorithms.planet.seen import decoder_kernels, decoder_layers
from rlsys.types import ArraySpec, EnvSpec


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


def test_pictures_are_normalized_by_their_mean_and_one_deviation() -> None:
    torch.manual_seed(0)
    pictures = torch.linspace(-0.4, 0.3, 192).view(3, 8, 8) + 0.01 * torch.randn(500, 3, 8, 8)
    pictures[:, 0] += 0.2 * torch.randn(500, 8, 8)
    normalized = NormalizedPictures((3, 8, 8))
    for part in pictures.split(100):
        normalized.moments.update(part, lambda _: None)
    shown = normalized(pictures)
    torch.testing.assert_close(shown.mean(dim=0), torch.zeros(3, 8, 8), atol=1e-4, rtol=0.0)
    assert shown.var(dim=0).mean() == pytest.approx(1.0, rel=0.01)
    assert shown[:, 0].std() > 10 * shown[:, 1].std()  # pixels keep their proportions
    torch.testing.assert_close(normalized.denormalize(shown), pictures)


def test_a_picture_that_never_changes_is_normalized_to_small_numbers() -> None:
    normalized, same = NormalizedPictures((1, 8, 8)), torch.full((5, 1, 8, 8), 0.25)
    normalized.moments.update(same, lambda _: None)
    assert normalized(same).abs().max() < 1e-3


def test_networks_of_a_model_see_and_draw_normalized_pictures() -> None:
    env = EnvSpec("task", ArraySpec((8, 8), "uint8"), ArraySpec((), "int64"), 2)
    torch.manual_seed(0)
    model = WorldModel(PlanetConfig(image_depth=2, normalize_pictures=True), env)
    pictures = 0.3 + 0.01 * torch.randn(6, 1, 8, 8)
    assert model.agent.pictures is not None
    model.agent.pictures.moments.update(pictures, lambda _: None)
    expected = model.agent.cell.see(model.agent.encoder(model.agent.pictures(pictures)))
    torch.testing.assert_close(model.agent.embed(pictures[None])[0], expected)
    drawn = model.decode(torch.zeros(1, 6, model.agent.cell.num_features))
    torch.testing.assert_close(drawn[0].mean(dim=0), pictures.mean(dim=0), atol=0.02, rtol=0.0)
