"""Observations of several parts, and integers: each part is seen by its kind, and what was seen stands side by side.

Pictures are seen by a stem of the algorithm's, numbers by a dense layer, and an integer by a learned vector: that of
its one-hot code behind a dense layer, without the zeros. Where an observation has named parts, tensors hold the bytes
of its records (`to_device`): so they are moved, cut and shuffled as those of any array, and taken apart only here.

Shape legend: B batch, S frames of a stack, N bytes of a record, F features of a part, n integers.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.nets.observations.kinds import picture_of
from rlsys.nets.observations.normalization import RunningMoments
from rlsys.types import EnvSpec, Part

MakeStem = Callable[[tuple[int, int, int]], tuple[nn.Module, int]]
"""From channels, height and width of a picture to what sees `[B, C, H, W]` in [0, 1], and how many features it has."""


class PartsEncoder(nn.Module):
    """Makes a vector of observations.

    Attributes:
      parts: what sees each part, in the order of `EnvSpec.parts`.
      num_features: of all parts together.
    """

    def __init__(
        self, env: EnvSpec, num_features: int, *, make_stem: MakeStem, smallest_image: int | None, normalizes: bool
    ) -> None:
        """Builds it.

        Args:
          env: whose observations; with parts, or of integers.
          num_features: F of parts that are not pictures.
          make_stem: of pictures.
          smallest_image: pixels on each side of what counts as a picture; None sees all as numbers.
          normalizes: whether numbers are normalised by those seen so far.
        """
        super().__init__()
        self._parts, self._num_stack = env.parts, env.num_stack
        self._record = np.dtype(env.observation.dtype) if env.parts[0].name else None
        self.num_features, parts = 0, list[nn.Module]()
        for part in env.parts:
            size, picture = num_features, picture_of(part, smallest_image)
            if picture is not None:
                stem, size = make_stem((env.num_stack * picture[0], *picture[1:]))
                parts.append(_Picture(stem, channels_last=len(part.spec.shape) == 3 and picture != part.spec.shape))
            elif part.choices:
                parts.append(_Integers(part.choices * env.num_stack, num_features))
            else:
                parts.append(_Numbers(env.num_stack * prod(part.spec.shape), num_features, normalizes=normalizes))
            self.num_features += size
        self.parts = nn.ModuleList(parts)

    def forward(self, observation: Tensor) -> Tensor:
        """Returns features `[B, num_features]` of observations `[B, ...]`, whatever their axes behind the first."""
        arrays = self._split(observation)
        return torch.cat([part(array) for part, array in zip(self.parts, arrays, strict=True)], dim=1)

    def update(self, observation: Tensor, average: Callable[[list[Any]], None]) -> None:
        """Takes in the numbers of observations `[B, ...]`, where they are normalised; `average` as `RunningMoments`."""
        for part, array in zip(self.parts, self._split(observation), strict=True):
            if isinstance(part, _Numbers) and part.moments is not None:
                part.moments.update(array.flatten(start_dim=1), average)

    def _split(self, observation: Tensor) -> list[Tensor]:
        """Returns each part, `[B, S, *part]`."""
        size = len(observation)
        if self._record is None:
            (part,) = self._parts
            return [observation.reshape(size, self._num_stack, *part.spec.shape)]
        record_BSN = observation.reshape(size, self._num_stack, self._record.itemsize)
        return [self._cut(record_BSN, part) for part in self._parts]

    def _cut(self, record_BSN: Tensor, part: Part) -> Tensor:
        assert self._record is not None and self._record.fields is not None
        dtype, begin = self._record.fields[part.name][:2]
        cut = record_BSN[..., begin : begin + dtype.itemsize].clone(memory_format=torch.contiguous_format)  # aligned
        numbers = cut.view(_torch_dtype(dtype.base))
        return numbers.reshape(*record_BSN.shape[:2], *part.spec.shape)


class _Picture(nn.Module):
    """A stem, of the frames of a stack as channels."""

    def __init__(self, stem: nn.Module, *, channels_last: bool) -> None:
        super().__init__()
        self.stem = stem
        self._channels_last = channels_last

    def forward(self, picture: Tensor) -> Tensor:
        """Returns `[B, F]` of `[B, S, H, W]`, `[B, S, C, H, W]` or `[B, S, H, W, C]` of bytes."""
        x = picture.movedim(-1, 2) if self._channels_last else picture
        x_BCHW = x.flatten(start_dim=1, end_dim=-3).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.stem(x_BCHW.float().mul_(1.0 / 255.0))
        return features


class _Numbers(nn.Module):
    """A dense layer."""

    def __init__(self, num_inputs: int, num_features: int, *, normalizes: bool) -> None:
        super().__init__()
        self.moments = RunningMoments(num_inputs) if normalizes else None
        self.dense = nn.Linear(num_inputs, num_features)

    def forward(self, numbers: Tensor) -> Tensor:
        """Returns `[B, F]` of `[B, ...]`, after a tanh."""
        x = numbers.float().flatten(start_dim=1)
        return functional.tanh(self.dense(x if self.moments is None else self.moments(x)))


class _Integers(nn.Module):
    """A learned vector for each value of each of n integers, and their sum."""

    def __init__(self, choices: tuple[int, ...], num_features: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(sum(choices), num_features) * len(choices) ** -0.5)
        first = torch.tensor([0, *np.cumsum(choices)[:-1].tolist()])
        self.register_buffer("_first", first, persistent=False)
        self._first: Tensor

    def forward(self, integers: Tensor) -> Tensor:
        """Returns `[B, F]` of `[B, ...]`, after a tanh."""
        index_Bn = integers.flatten(start_dim=1).long() + self._first
        return functional.tanh(functional.embedding(index_Bn, self.vectors).sum(dim=1))


def _torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    return torch.from_numpy(np.empty(0, dtype)).dtype
