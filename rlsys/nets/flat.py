"""All parameters of a module in one vector: one kernel updates them, one message averages their gradients."""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rlsys.types import Array

_ALIGNMENT = 16
"""Numbers; each parameter begins at a multiple of it, as fast matrix products want. What lies between stays 0."""


class FlatParameters:
    """Moves a module's parameters and gradients into two contiguous vectors, of which they become views.

    The module must be on its final device, and must not be moved afterwards. Gradients are added to the vector by
    `backward`; set it to zero before. Those of frozen parameters stay 0.

    Attributes:
      vector: `[n]`, a parameter for an optimizer.
      gradient: `[n]`, its `grad`.
    """

    def __init__(self, module: nn.Module) -> None:
        """Takes over the module's parameters, all of one dtype and on one device."""
        self._parameters = dict(module.named_parameters())
        parameters = list(self._parameters.values())
        size = sum(_padded(parameter) for parameter in parameters)
        self.vector = nn.Parameter(torch.zeros(size, dtype=parameters[0].dtype, device=parameters[0].device))
        self.gradient = torch.zeros_like(self.vector)
        self.vector.grad = self.gradient
        values, gradients = self._split(self.vector.data), self._split(self.gradient)
        for parameter, value, gradient in zip(parameters, values, gradients, strict=True):
            parameter.data = value.copy_(parameter.data)
            if parameter.requires_grad:
                parameter.grad = gradient

    def gradients(self) -> Mapping[str, Tensor]:
        """Returns name -> view of that parameter's gradient."""
        return dict(zip(self._parameters, self._split(self.gradient), strict=True))

    def clip(self, max_norm: float | None) -> Tensor:
        """Scales the gradient down to a norm, if one is given; returns the norm that it had."""
        norm: Tensor = torch.linalg.vector_norm(self.gradient)
        if max_norm is not None:
            self.gradient.mul_((max_norm / norm.clamp_min(1e-12)).clamp(max=1.0))
        return norm

    def histograms(self) -> dict[str, Array]:
        """Returns copies of all parameters and gradients, to be watched (`run.debug_histograms`)."""
        gradients = copied_arrays(self.gradients())
        return {
            **{f"weights/{name}": array for name, array in self.to_arrays().items()},
            **{f"gradients/{name}": array for name, array in gradients.items()},
        }

    def save_optimizer(self, optimizer: Optimizer) -> dict[str, Array]:
        """Returns what an optimizer of the vector remembers, name -> array; empty before the first step."""
        state = optimizer.state[self.vector].items()
        return copied_arrays({name: value for name, value in state if value is not None})

    def load_optimizer(self, optimizer: Optimizer, saved: Mapping[str, Array]) -> None:
        """Takes over what `save_optimizer` returned."""
        state = {"state": {0: {name: torch.tensor(value) for name, value in saved.items()}} if saved else {}}
        optimizer.load_state_dict({**optimizer.state_dict(), **state})

    def to_arrays(self) -> dict[str, Array]:
        """Returns name -> array, copied from the device at once and detached from it."""
        copied = self.vector.detach().to("cpu", copy=True)
        return {name: value.numpy() for name, value in zip(self._parameters, self._split(copied), strict=True)}

    def load_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Takes over what `to_arrays` returned."""
        assert arrays.keys() == self._parameters.keys(), (sorted(arrays), sorted(self._parameters))
        for name, value in zip(self._parameters, self._split(self.vector.data), strict=True):
            value.copy_(torch.tensor(arrays[name]))

    def _split(self, vector: Tensor) -> list[Tensor]:
        parameters = self._parameters.values()
        parts = torch.split(vector, [_padded(parameter) for parameter in parameters])
        return [
            part[: parameter.numel()].view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)
        ]


def copied_arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Returns name -> array, copied from the device and detached from it."""
    return {name: tensor.detach().to("cpu", copy=True).numpy() for name, tensor in tensors.items()}


def module_arrays(module: nn.Module) -> dict[str, Array]:
    """Returns name -> array of all parameters and buffers; on a CPU they are views."""
    return {name: tensor.cpu().numpy() for name, tensor in module.state_dict().items()}


def share_arrays(module: nn.Module, arrays: Mapping[str, Array]) -> None:
    """Lets a module compute with what `module_arrays` gave: on a CPU without a copy, so nobody may write the arrays.

    Weights that many processes of a machine map are then there, and in its caches, once.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    is_on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
    module.load_state_dict(tensors, assign=is_on_cpu)


def _padded(parameter: Tensor) -> int:
    return -(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT
