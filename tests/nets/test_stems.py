"""Stems: sizes known from the papers, and what the layers do."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.nets.elstm import ELSTMCore
from rlsys.nets.pixels import FlattenPixels
from rlsys.nets.stems import DeepStem, DenseStem, NatureStem, PooledConvolutions


def count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.mark.parametrize(
    ("shape", "num_units", "num_actions", "of_stem", "of_all"),
    [
        ((3, 72, 96), 512, 9, 982_592, 1_647_178),
        ((3, 64, 64), 256, 15, 622_144, 890_448),
        ((4, 84, 84), 256, 6, 1_089_232, 1_355_223),
    ],
)
def test_networks_of_the_paper_have_its_number_of_parameters(
    shape: tuple[int, int, int], num_units: int, num_actions: int, of_stem: int, of_all: int
) -> None:
    stem, core = DeepStem(shape, 256), ELSTMCore(257, num_units)
    assert count(stem) == of_stem
    assert count(stem, core, nn.Linear(num_units, num_actions), nn.Linear(num_units, 1)) == of_all
    layer = next(core.each_layer())
    recurrent = (layer.weight, layer.recurrent, layer.bias)
    assert sum(parameter.numel() for parameter in recurrent) == 2 * num_units * (257 + 2)


def deep_features(stem: DeepStem, x_BCHW: Tensor) -> Tensor:
    """The ResNet written out over the parameters, in the order of the figure."""
    found = iter(stem.parameters())

    def conv(x: Tensor) -> Tensor:
        return functional.conv2d(x, next(found), next(found), padding=1)

    x = x_BCHW
    for _ in range(3):
        x = functional.max_pool2d(conv(x), 3, stride=2, padding=1)
        for _ in range(2):
            x = x + conv(conv(x.relu()).relu())
    return functional.linear(x.relu().movedim(1, -1).flatten(1), next(found), next(found)).relu()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_deep_stem_is_that_of_the_figure_in_any_layout_and_with_odd_sizes(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    stem = DeepStem((3, 21, 13), 7).double()
    x_BCHW = torch.rand(2, 3, 21, 13, dtype=torch.float64).contiguous(memory_format=layout)
    torch.testing.assert_close(stem(x_BCHW), deep_features(stem, x_BCHW.contiguous()))


def test_a_scale_multiplies_the_channels_of_all_sections() -> None:
    wide = DeepStem((3, 16, 16), 8, conv_scale=3)
    outputs = {layer.out_channels for layer in wide.modules() if isinstance(layer, nn.Conv2d)}
    assert outputs == {48, 96}
    assert wide.fc.in_features == 96 * 2 * 2
    assert wide(torch.zeros(2, 3, 16, 16)).shape == (2, 8)


def test_the_nature_stem_has_its_flat_size() -> None:
    stem = NatureStem((4, 84, 84), 512)
    assert stem.fc.in_features == 3136
    assert count(stem) == 1_684_128
    assert stem(torch.zeros(1, 4, 84, 84)).shape == (1, 512)


def test_every_stem_is_made_of_features_and_fc() -> None:
    torch.manual_seed(1)
    x_BCHW = torch.rand(2, 3, 40, 36)
    for stem, activation in (
        (DeepStem((3, 40, 36), 5), torch.relu),
        (NatureStem((3, 40, 36), 5), torch.relu),
        (DenseStem(3 * 40 * 36, 5), torch.tanh),
    ):
        torch.testing.assert_close(stem(x_BCHW), activation(stem.fc(stem.features(x_BCHW))))
        prefixes = {name.partition(".")[0] for name, _ in stem.named_parameters()}
        assert prefixes == {"features", "fc"}


def test_pictures_that_lie_channels_last_are_flattened_without_copies_and_so_are_their_gradients() -> None:
    x_BCHW = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    flat = FlattenPixels()(x_BCHW)
    assert flat.data_ptr() == x_BCHW.data_ptr()
    assert torch.equal(flat[1, 3:6], x_BCHW[1, :, 0, 1])
    layouts = []
    x_BCHW.register_hook(lambda gradient: layouts.append(gradient.is_contiguous(memory_format=torch.channels_last)))
    flat.square().sum().backward()  # type: ignore[no-untyped-call]
    assert layouts == [True]


def test_pooled_convolutions_say_how_many_features_there_are() -> None:
    for shape in ((1, 20, 16), (3, 7, 5)):
        stem = PooledConvolutions((4, 6), shape)
        assert stem(torch.rand(2, *shape)).shape == (2, stem.num_features)
