"""LPIPS: how differently a network that knows many pictures sees two of them.

Zhang et al. 2018, section 3, https://arxiv.org/abs/1801.03924; Simonyan and Zisserman 2015 (VGG16),
https://arxiv.org/abs/1409.1556. Weights come from files; torchvision's and LPIPS's names of them are understood.

Shape legend: N frames, H height, W width, C channels of a layer.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.weight_files import check_fits, read_tensors
from rlsys.config.location import Location
from rlsys.errors import ConfigError

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions between two poolings; the last of each stage is looked at."""
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
"""Of red, green and blue within [-1, 1]: what the network was trained with."""
_EPSILON = 1e-10
_RGB = 3
_SMALLEST = 16
"""Pixels of a side that four poolings leave one of."""


class Lpips(nn.Module):
    """The distance; nothing of it learns, or is saved with what does: its weights are buffers that no state has."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes name -> tensor in the shapes of `expected_shapes`."""
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(_own(name), tensor.float(), persistent=False)
        self.register_buffer("shift", torch.tensor(_SHIFT).view(_RGB, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(_SCALE).view(_RGB, 1, 1), persistent=False)

    def forward(self, frames: Tensor, others: Tensor) -> Tensor:
        """Returns the mean distance of `[N, 1 or 3, H, W]` within [-1, 1] from others; of both there are gradients."""
        distances_N = torch.zeros(len(frames), device=frames.device)
        for stage, (one, other) in enumerate(zip(self._features(frames), self._features(others), strict=True)):
            squared_NCHW = (_unit(one) - _unit(other)).square()
            weight_C = self.get_buffer(_own(_head(stage))).flatten()
            distances_N = distances_N + torch.einsum("nchw,c->nhw", squared_NCHW, weight_C).mean(dim=(1, 2))
        return distances_N.mean()

    def _features(self, frames: Tensor) -> Iterator[Tensor]:
        """Yields what the last layer of each stage sees."""
        x: Tensor = (frames.expand(-1, _RGB, -1, -1) - self.get_buffer("shift")) / self.get_buffer("scale")
        for stage, names in enumerate(_convolutions()):
            if stage:
                x = functional.max_pool2d(x, 2)
            for name in names:
                weight, bias = (self.get_buffer(_own(f"{name}.{kind}")) for kind in ("weight", "bias"))
                x = functional.relu(functional.conv2d(x, weight, bias, padding=1))
            yield x


def load_lpips(config: TokenizerConfig, shape: tuple[int, int, int], section: str = "iris.tokenizer") -> Lpips | None:
    """Returns the distance that is configured, with its weights from their files; None without one.

    Args:
      config: says where they are.
      shape: of frames: channels, height, width.
      section: name of that section of the experiment, for errors.

    Raises:
      ConfigError: a file is missing or holds other weights, or VGG16 does not see such frames.
    """
    if config.perceptual == "none":
        return None
    if shape[0] not in (1, _RGB) or min(shape[1:]) < _SMALLEST:
        raise ConfigError(
            f"{section}.perceptual = 'vgg' with frames of {list(shape)}; VGG16 sees 1 or 3 channels of at least "
            f"{_SMALLEST} × {_SMALLEST}. Set {section}.perceptual=none."
        )
    assert config.vgg_path is not None, "refused before"
    expected = expected_shapes()
    heads = {name: expected[name] for name in map(_head, range(len(_STAGES)))}
    if config.lpips_path is None:
        remedy = f"It must hold torchvision's VGG16; name LPIPS's own file in {section}.lpips_path."
        return Lpips(_checked(config.vgg_path, f"{section}.vgg_path", expected, remedy))
    features = {name: expected[name] for name in expected if name not in heads}
    seen = _checked(config.vgg_path, f"{section}.vgg_path", features, "It must hold torchvision's VGG16.")
    weighed = _checked(config.lpips_path, f"{section}.lpips_path", heads, "It must hold LPIPS's layers for VGG16.")
    return Lpips({**seen, **weighed})


def _checked(
    location: Location, setting: str, expected: Mapping[str, tuple[int, ...]], remedy: str
) -> dict[str, Tensor]:
    """Returns a file's weights, without those of the classifier, if they are the expected ones."""
    named = f"{setting} = '{location}'"
    tensors = read_tensors(Path(location.reveal(setting)), named)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}
    check_fits(kept, expected, named, remedy)
    return kept


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of all weights: torchvision's for VGG16's convolutions, LPIPS's for its linear layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    before = _RGB
    for stage, (names, sizes) in enumerate(zip(_convolutions(), _STAGES, strict=True)):
        for name, num_channels in zip(names, sizes, strict=True):
            shapes |= {f"{name}.weight": (num_channels, before, 3, 3), f"{name}.bias": (num_channels,)}
            before = num_channels
        shapes[_head(stage)] = (1, before, 1, 1)
    return shapes


def _convolutions() -> list[list[str]]:
    """Returns torchvision's names of each stage's convolutions: it counts the ReLU after each, and poolings, too."""
    names, index = [], 0
    for sizes in _STAGES:
        names.append([f"features.{index + 2 * layer}" for layer in range(len(sizes))])
        index += 2 * len(sizes) + 1
    return names


def _head(stage: int) -> str:
    return f"lin{stage}.model.1.weight"


def _own(name: str) -> str:
    """Returns what a weight is called here: names of buffers have no dots."""
    return name.replace(".", "_")


def _unit(x_NCHW: Tensor) -> Tensor:
    """Returns features of length 1 at each pixel."""
    x_NCHW = x_NCHW.float()
    length_N1HW: Tensor = torch.linalg.vector_norm(x_NCHW, dim=1, keepdim=True)
    return x_NCHW / (length_N1HW + _EPSILON)
