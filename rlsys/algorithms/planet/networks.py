"""Encoder, decoder, heads, and the whole world model of them and a transition model.

Encoder and decoder are those of Ha and Schmidhuber 2018, https://arxiv.org/abs/1803.10122, appendix A.1, and exactly so
for 64 × 64 pixels; for other sizes there are fewer or more layers, and the decoder's kernels are as near to theirs as
the size allows. Hafner et al. 2019, appendix A, https://arxiv.org/abs/1811.04551.

Shape legend: B batch, T frames, C channels, H W height and width, E of an embedding, F features of a state.
"""

import itertools
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.inputs import Actions, Pictures, make_inputs
from rlsys.algorithms.planet.seen import decoder_kernels, decoder_layers, num_halvings, told_parts
from rlsys.algorithms.planet.transitions.cell import dense
from rlsys.algorithms.planet.transitions.make import make_cell
from rlsys.nets.observations.normalization import RunningMoments
from rlsys.nets.pixels import FlattenPixels
from rlsys.types import EnvSpec

_VECTOR_LAYERS = 2
_FEW = 4
"""Channels up to which `LastPixels` is faster than PyTorch's transposed convolution."""
_SMALLEST_DEVIATION = 1e-3
"""Of pictures, which are 1 wide from black to white."""


class NormalizedPictures(nn.Module):
    """Pictures by how they differ from the mean of all so far, in one deviation for all of their pixels.

    Networks need not learn what never changes, and what changes is large, however few pixels it has.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.moments = RunningMoments(prod(shape))
        self._shape = shape

    def forward(self, pictures: Tensor) -> Tensor:
        """Returns `[N, C, H, W]` of such."""
        return (pictures - self._mean()) / self._deviation()

    def denormalize(self, pictures: Tensor) -> Tensor:
        """Returns pictures `[N, C, H, W]` as they are seen."""
        return pictures * self._deviation() + self._mean()

    def _mean(self) -> Tensor:
        return self.moments.mean.view(self._shape)

    def _deviation(self) -> Tensor:
        return self.moments.variance.mean().sqrt().clamp_min(_SMALLEST_DEVIATION)


class ConvEncoder(nn.Sequential):
    """Convolutions k4 s2 of `depth`, 2 · `depth`, … channels, a ReLU after each; 64 pixels become 2 × 2."""

    def __init__(self, shape: tuple[int, int, int], depth: int) -> None:
        num_channels, height, width = shape
        layers: list[nn.Module] = []
        for layer in range(num_halvings(min(height, width))):
            layers += [nn.Conv2d(num_channels, depth * 2**layer, 4, 2), nn.ReLU()]
            num_channels, height, width = depth * 2**layer, (height - 4) // 2 + 1, (width - 4) // 2 + 1
        super().__init__(*layers, FlattenPixels())
        self.num_features = num_channels * height * width
        _begin_as_upstream(self)

    def forward(self, pictures: Tensor) -> Tensor:
        """Returns `[N, num_features]` of pictures `[N, C, H, W]`, which lie channels last: twice as fast on a CPU."""
        hidden = pictures.contiguous(memory_format=torch.channels_last)
        for layer in self:
            hidden = layer(hidden)
        return hidden


class FirstPixels(nn.Module):
    """A transposed convolution of one pixel: the product that it is, `[N, num_in]` -> `[N, num_out, *kernel]`."""

    def __init__(self, num_in: int, num_out: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        self._shape = (*kernel, num_out)
        self.weight = nn.Parameter(torch.empty(num_in, prod(kernel) * num_out))
        self.bias = nn.Parameter(torch.zeros(num_out))
        bound = (6.0 / ((num_in + num_out) * prod(kernel))) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, inner: Tensor) -> Tensor:
        """Returns pixels that lie channels last."""
        pixels = (inner @ self.weight).view(-1, *self._shape) + self.bias
        return pixels.movedim(-1, 1)


class LastPixels(nn.ConvTranspose2d):
    """A transposed convolution of stride 2 to few channels: on a CPU, a convolution to those of four pixels at once."""

    def forward(self, inner: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Returns pixels that lie channels last."""
        if inner.device.type != "cpu" or output_size is not None:
            return super().forward(inner, output_size)
        num_in, num_out, *kernel = self.weight.shape
        height, width = (2 * (size - 1) + edge for size, edge in zip(inner.shape[2:], kernel, strict=True))
        halves = [(edge + 1) // 2 for edge in kernel]
        weight = functional.pad(self.weight, (0, 2 * halves[1] - kernel[1], 0, 2 * halves[0] - kernel[0]))
        weight = weight.view(num_in, num_out, halves[0], 2, halves[1], 2).flip(2, 4).permute(3, 5, 1, 0, 2, 4)
        weight = weight.reshape(4 * num_out, num_in, *halves)
        assert self.bias is not None
        pixels = functional.conv2d(inner, weight, self.bias.repeat(4), padding=(halves[0] - 1, halves[1] - 1))
        rows, columns = pixels.shape[2:]
        by_phase = pixels.movedim(1, -1).reshape(len(inner), rows, columns, 2, 2, num_out).transpose(2, 3)
        whole: Tensor = by_phase.reshape(len(inner), 2 * rows, 2 * columns, num_out)
        return whole[:, :height, :width].movedim(-1, 1)


class ConvDecoder(nn.Module):
    """A dense layer to one pixel of 2^(layers + 1) · `depth` channels, and transposed convolutions of stride 2."""

    def __init__(self, num_features: int, shape: tuple[int, int, int], depth: int) -> None:
        super().__init__()
        num_channels, height, width = shape
        num_layers = decoder_layers(height, width)
        assert num_layers is not None, "refused before"
        heights, widths = decoder_kernels(height, num_layers), decoder_kernels(width, num_layers)
        assert heights is not None and widths is not None, (height, width)
        num_outs = [*(depth * 2**layer for layer in reversed(range(num_layers - 1))), num_channels]
        num_in = depth * 2 ** (num_layers + 1)
        self.inner = dense(num_features, num_in)
        layers: list[nn.Module] = [FirstPixels(num_in, num_outs[0], (heights[0], widths[0]))]
        for before, after, *kernel in zip(num_outs, num_outs[1:], heights[1:], widths[1:], strict=False):
            make = nn.ConvTranspose2d if after > _FEW else LastPixels
            layers += [nn.ReLU(), make(before, after, (kernel[0], kernel[1]), 2)]
        self.layers = nn.Sequential(*layers)
        _begin_as_upstream(self.layers)

    def forward(self, features: Tensor) -> Tensor:
        """Returns means `[N, C, H, W]` of features `[N, F]`."""
        pictures: Tensor = self.layers(self.inner(features))
        return pictures


class Dense(nn.Sequential):
    """Hidden layers with a ReLU each, and one of numbers."""

    def __init__(self, num_in: int, hidden: Sequence[int], num_out: int) -> None:
        sizes = [num_in, *hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [dense(before, after), nn.ReLU()]
        super().__init__(*layers, dense(sizes[-1], num_out))

    def layers(self) -> list[nn.Linear]:
        """Returns those with weights, in order."""
        return [layer for layer in self if isinstance(layer, nn.Linear)]


class Agent(nn.Module):
    """What acting needs of the model: it sees, follows and foretells rewards and values, and draws no pictures."""

    def __init__(self, config: PlanetConfig, env: EnvSpec) -> None:
        super().__init__()
        inputs = make_inputs(env, config.image_bits)
        self.pictures: NormalizedPictures | None = None
        if isinstance(inputs, Pictures):
            self.pictures = NormalizedPictures(inputs.shape) if config.normalize_pictures else None
            self.encoder: nn.Module = ConvEncoder(inputs.shape, config.image_depth)
            num_embedded = self.encoder.num_features
        else:
            num_embedded = config.model_size[0]
            hidden = [config.model_size[0]] * (_VECTOR_LAYERS - 1)
            self.encoder = nn.Sequential(Dense(inputs.size, hidden, num_embedded), nn.ReLU())
        self.cell = make_cell(config, Actions(env, torch.device("cpu")).size, num_embedded)
        layers = [config.head_units] * config.head_layers
        self.reward = Dense(self.cell.num_features, layers, 1)
        self.value = Dense(self.cell.num_features, layers, 1)

    def embed(self, prepared: Tensor) -> Tensor:
        """Returns what the cell's posterior needs of `[..., *input]`: `[..., n]`."""
        axes = 3 if isinstance(self.encoder, ConvEncoder) else 1
        leading = prepared.shape[: prepared.dim() - axes]
        shown = prepared.flatten(end_dim=len(leading) - 1)
        embedded: Tensor = self.encoder(shown if self.pictures is None else self.pictures(shown))
        return self.cell.see(embedded).view(*leading, -1)


class WorldModel(nn.Module):
    """All of the model: what acting needs, what is seen in a state, and what its other parts would be there."""

    def __init__(self, config: PlanetConfig, env: EnvSpec) -> None:
        super().__init__()
        self.agent = Agent(config, env)
        inputs, num_features = make_inputs(env, config.image_bits), self.agent.cell.num_features
        if isinstance(inputs, Pictures):
            self.decoder: nn.Module = ConvDecoder(num_features, inputs.shape, config.image_depth)
        else:
            self.decoder = Dense(num_features, [config.model_size[0]] * _VECTOR_LAYERS, inputs.size)
        layers = [config.head_units] * config.head_layers
        self.told = nn.ModuleDict(
            {part.name: Dense(num_features, layers, prod(part.spec.shape)) for part in told_parts(env)}
        )

    def decode(self, features: Tensor) -> Tensor:
        """Returns means `[..., *input]` of features `[..., F]`."""
        decoded: Tensor = self.decoder(features.flatten(end_dim=-2))
        if self.agent.pictures is not None:
            decoded = self.agent.pictures.denormalize(decoded.float())
        return decoded.reshape(*features.shape[:-1], *decoded.shape[1:])


def _begin_as_upstream(layers: nn.Module) -> None:
    for layer in layers.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
