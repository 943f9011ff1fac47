"""Adafactor without momentum, as tensor2tensor has it. Shazeer and Stern 2018, https://arxiv.org/abs/1804.04235.

    V ← β V + (1 - β) (G² + 1e-30),  β = 1 - t^-0.8        kept as the means of its rows and columns, R and C
    U = G / √(R C / mean R)                                per place of a kernel; V itself for vectors
    W ← W - α max(rms W, 1e-3) U / max(1, rms U)

torch's own factors the last two axes, which of a convolution are its height and width; here it is inputs and outputs.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from rlsys.nets.flat import copied_arrays
from rlsys.types import Array

_DECAY = 0.8
_EPSILON = 1e-30
_SMALLEST_SCALE = 1e-3
_FACTORED_FROM = 2


class Adafactor:
    """Updates named parameters in place by their gradients; learning rates come with each step."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = dict(parameters)
        self._step = 0
        self._moments: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            shape = parameter.shape
            if len(shape) >= _FACTORED_FROM:
                self._moments[f"{name}/rows"] = parameter.new_zeros(shape[0], 1, *shape[2:])
                self._moments[f"{name}/columns"] = parameter.new_zeros(1, *shape[1:])
            else:
                self._moments[f"{name}/all"] = torch.zeros_like(parameter, requires_grad=False)

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Does one update."""
        self._step += 1
        keep = 1.0 - self._step**-_DECAY
        for name, parameter in self._parameters.items():
            gradient = parameter.grad
            assert gradient is not None, name
            update = gradient * self._inverse_root(name, gradient, keep)
            update /= _rms(update).clamp_min(1.0)
            parameter.sub_(update * (learning_rate * _rms(parameter).clamp_min(_SMALLEST_SCALE)))

    def _inverse_root(self, name: str, gradient: Tensor, keep: float) -> Tensor:
        square = gradient.square() + _EPSILON
        if gradient.dim() < _FACTORED_FROM:
            return self._mix(f"{name}/all", square, keep).rsqrt()
        rows = self._mix(f"{name}/rows", square.mean(dim=1, keepdim=True), keep)
        columns = self._mix(f"{name}/columns", square.mean(dim=0, keepdim=True), keep)
        return (rows / rows.mean(dim=0, keepdim=True)).rsqrt() * columns.rsqrt()

    def _mix(self, name: str, value: Tensor, keep: float) -> Tensor:
        return self._moments[name].lerp_(value, 1.0 - keep)

    def save(self) -> dict[str, Array | int]:
        """Returns what it remembers."""
        return {**copied_arrays(self._moments), "step": self._step}

    def load(self, saved: Mapping[str, Array | int]) -> None:
        """Takes over what `save` returned."""
        self._step = int(saved["step"])
        for name, moment in self._moments.items():
            moment.copy_(torch.as_tensor(saved[name]))


def _rms(x: Tensor) -> Tensor:
    return torch.sqrt(x.square().mean())
