"""Stems: from an observation to a vector of features.

Shape legend: B batch, C channels, H height, W width, D features.
"""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from rlsys.nets.pixels import FlattenPixels
from rlsys.nets.residual import conv3x3

_DEEP_CHANNELS = (16, 32, 32)


class DeepStem(nn.Module):
    """IMPALA's ResNet of 15 convolutions; Espeholt et al. 2018, figure 3, https://arxiv.org/abs/1802.01561.

    Attributes:
      features: convolutions; ends with a flat vector.
      fc: the dense layer.
    """

    def __init__(self, shape: tuple[int, int, int], num_features: int, *, conv_scale: int = 1) -> None:
        """Builds the stem.

        Args:
          shape: C, H and W of its input.
          num_features: D.
          conv_scale: factor on all channels.
        """
        super().__init__()
        num_channels, height, width = shape
        sections: list[nn.Module] = []
        for width_of_section in _DEEP_CHANNELS:
            sections.append(_Section(num_channels, width_of_section * conv_scale))
            num_channels, height, width = width_of_section * conv_scale, -(-height // 2), -(-width // 2)
        self.features = nn.Sequential(*sections, nn.ReLU(), FlattenPixels())
        self.fc = nn.Linear(num_channels * height * width, num_features)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns `[B, D]`, after a ReLU."""
        return functional.relu(self.fc(self.features(x_BCHW)))


class NatureStem(nn.Module):
    """DQN's three convolutions; Mnih et al. 2015, https://doi.org/10.1038/nature14236. Attributes as in `DeepStem`."""

    def __init__(self, shape: tuple[int, int, int], num_features: int) -> None:
        super().__init__()
        num_channels, height, width = shape
        layers: list[nn.Module] = []
        for num_out, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            layers += [nn.Conv2d(num_channels, num_out, kernel, stride), nn.ReLU()]
            num_channels, height, width = num_out, (height - kernel) // stride + 1, (width - kernel) // stride + 1
        self.features = nn.Sequential(*layers, FlattenPixels())
        self.fc = nn.Linear(num_channels * height * width, num_features)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns `[B, D]`, after a ReLU."""
        return functional.relu(self.fc(self.features(x_BCHW)))


class DenseStem(nn.Module):
    """Two dense layers for observations that are no images. Attributes as in `DeepStem`."""

    def __init__(self, num_inputs: int, num_features: int) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(num_inputs, num_features), nn.Tanh())
        self.fc = nn.Linear(num_features, num_features)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[B, D]`, after a tanh, for `[B, ...]`."""
        return functional.tanh(self.fc(self.features(x)))


class NoStem(nn.Module):
    """Passes observations on as vectors; without parameters. Attributes as in `DeepStem`."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.fc = nn.Flatten(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[B, D]` for `[B, ...]`."""
        return x.flatten(start_dim=1)


class PooledConvolutions(nn.Sequential):
    """3×3 convolutions, each with a pooling that halves height and width, rounding up, and a ReLU.

    `[B, C, H, W]` become `[B, D]`.

    Attributes:
      num_features: D.
    """

    def __init__(self, channels: Sequence[int], shape: tuple[int, int, int]) -> None:
        """Takes frames of any `shape`: channels, height, width."""
        (height, width), sizes = shape[1:], (shape[0], *channels)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [conv3x3(before, after), nn.MaxPool2d(2, ceil_mode=True), nn.ReLU()]
            height, width = -(-height // 2), -(-width // 2)
        super().__init__(*layers, nn.Flatten())
        self.num_features = sizes[-1] * height * width


class _Section(nn.Module):
    """A convolution, a pooling that halves height and width, and two residual blocks."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.conv = conv3x3(num_in, num_out)
        self.pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.blocks = nn.Sequential(_Block(num_out), _Block(num_out))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns `[B, num_out, ⌈H / 2⌉, ⌈W / 2⌉]`."""
        y_BCHW: Tensor = self.blocks(self.pool(self.conv(x_BCHW)))
        return y_BCHW


class _Block(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(num_channels, num_channels)
        self.conv2 = conv3x3(num_channels, num_channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Returns a tensor of the same shape."""
        y_BCHW: Tensor = self.conv2(functional.relu(self.conv1(functional.relu(x_BCHW))))
        return x_BCHW + y_BCHW
