"""What PlaNet sees of an observation, what it does in an environment, and the numbers by which it knows both.

A picture is quantised to `image_bits`, as Glow's are, and centred: what differs by less than a step looks equal, and
noise of one step hides which. Kingma and Dhariwal 2018, https://arxiv.org/abs/1807.03039.
"""

from math import prod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.planet.seen import picture_in, seen_part
from rlsys.nets.transfer import to_device
from rlsys.types import Array, EnvSpec, Part


class Pictures:
    """Bytes of pictures as the numbers that networks see, and back."""

    def __init__(self, part: Part, bits: int) -> None:
        """Takes a part that is a picture of bytes."""
        picture = picture_in(part)
        assert picture is not None, part
        self.shape = picture
        """Channels, height and width."""
        self._as_shown = part.spec.shape
        self._channels_last = len(self._as_shown) == 3 and self._as_shown != picture
        self._shift = 8 - bits
        self._num_levels = 2**bits

    def prepare(self, shown: Tensor, dequantiser: torch.Generator | None = None) -> Tensor:
        """Returns `[..., C, H, W]` in [-0.5, 0.5) of bytes `[..., *part]`; it lies channels last.

        Args:
          shown: of any leading axes.
          dequantiser: draws where in its step each number is; None for the middle.
        """
        levels = (self._channels_first(shown) >> self._shift).movedim(-3, -1).contiguous()
        if dequantiser is None:
            prepared = levels.float().add_(0.5)
        else:
            prepared = torch.rand(levels.shape, generator=dequantiser, device=levels.device).add_(levels)
        return prepared.mul_(1 / self._num_levels).sub_(0.5).movedim(-1, -3)

    def show(self, predicted: Tensor) -> Tensor:
        """Returns bytes `[..., *part]` of predictions `[..., C, H, W]`."""
        levels = ((predicted + 0.5) * self._num_levels).floor().clamp(0, self._num_levels - 1)
        step = 2**self._shift
        shown: Tensor = (levels * step + (step - 1) // 2).to(torch.uint8)
        if self._channels_last:
            shown = shown.movedim(-3, -1)
        return shown.reshape(*predicted.shape[:-3], *self._as_shown)

    def _channels_first(self, shown: Tensor) -> Tensor:
        if self._channels_last:
            return shown.movedim(-1, -3)
        return shown.reshape(*shown.shape[: shown.dim() - len(self._as_shown)], *self.shape)


class Vectors:
    """Numbers as networks see them: one row, rescaled where bounds are known."""

    def __init__(self, part: Part, env: EnvSpec) -> None:
        """Takes an environment's only part."""
        self.size = prod(part.spec.shape)
        self._as_shown, self._dtype = part.spec.shape, getattr(torch, np.dtype(part.spec.dtype).name)
        self._low = torch.tensor(env.observation_low or (0.0,))
        self._width = torch.tensor(env.observation_high or (1.0,)) - self._low

    def prepare(self, shown: Tensor, dequantiser: torch.Generator | None = None) -> Tensor:
        """Returns `[..., n]` of `[..., *part]`; nothing is drawn."""
        flat = shown.reshape(*shown.shape[: shown.dim() - len(self._as_shown)], self.size).float()
        return (flat - self._low.to(flat.device)) / self._width.to(flat.device)

    def show(self, predicted: Tensor) -> Tensor:
        """Returns `[..., *part]` of predictions `[..., n]`."""
        raw = predicted * self._width.to(predicted.device) + self._low.to(predicted.device)
        if not self._dtype.is_floating_point:
            raw = raw.round()
        return raw.to(self._dtype).reshape(*predicted.shape[:-1], *self._as_shown)


Inputs = Pictures | Vectors


def make_inputs(env: EnvSpec, bits: int) -> Inputs:
    """Returns how the seen part of an environment is prepared."""
    part = seen_part(env)
    assert part is not None, "refused before"
    return Vectors(part, env) if picture_in(part) is None else Pictures(part, bits)


class Actions:
    """Actions as the model knows them: numbers in [-1, 1], or one-hot."""

    def __init__(self, env: EnvSpec, device: torch.device) -> None:
        """Takes an environment of discrete actions, or of numbers with finite bounds."""
        self._shape, self._dtype = env.action.shape, env.action.dtype
        self.num_choices = env.num_actions
        """Of discrete actions; 0 for numbers."""
        self.size = env.num_actions or prod(env.action.shape)
        """A."""
        self._device = device
        low, high = (torch.tensor(bounds, dtype=torch.float32) for bounds in (env.action_low, env.action_high))
        self._middle, self._half = ((high + low) / 2).to(device), ((high - low) / 2).to(device)

    def encode(self, action: Tensor) -> Tensor:
        """Returns `[..., A]` of an environment's actions `[..., *action]`."""
        if self.num_choices:
            return functional.one_hot(action.long(), self.num_choices).float()
        flat = action.reshape(*action.shape[: action.dim() - len(self._shape)], self.size).float()
        return (flat - self._middle) / self._half

    def decode(self, action: Tensor) -> Array:
        """Returns an environment's actions `[B, *action]` of `[B, A]`."""
        if self.num_choices:
            chosen: Array = action.argmax(dim=-1).cpu().numpy()
            return chosen
        raw = (action * self._half + self._middle).cpu().numpy()
        return raw.astype(self._dtype).reshape(len(raw), *self._shape)

    def read(self, action: Array) -> Tensor:
        """Returns `encode` of an array, on the device."""
        return self.encode(to_device(action, self._device))
