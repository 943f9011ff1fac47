"""All parameters of a module in one vector: one kernel updates them, one message averages their gradients."""

import warnings
from collections.abc import Collection, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from rlsys.errors import CheckpointError
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
      parameters: name -> the module's parameter, a view of the vector.
      dense: names of those that are weights of dense layers, and are trained.
    """

    def __init__(self, module: nn.Module) -> None:
        """Takes over the module's parameters, all of one dtype and on one device."""
        self.parameters = dict(module.named_parameters())
        self.dense = frozenset(
            f"{name}.weight".lstrip(".")
            for name, part in module.named_modules()
            if isinstance(part, nn.Linear) and part.weight.requires_grad
        )
        parameters = list(self.parameters.values())
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
        return dict(zip(self.parameters, self._split(self.gradient), strict=True))

    def marks(self, names: Collection[str]) -> Tensor:
        """Returns a vector `[n]` like that of the parameters: 1 where it is one of these, 0 elsewhere."""
        marked = torch.zeros_like(self.vector.data)
        for name, part in zip(self.parameters, self._split(marked), strict=True):
            part.fill_(float(name in names))
        return marked

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

    def to_arrays(self) -> dict[str, Array]:
        """Returns name -> array, copied from the device at once and detached from it."""
        copied = self.vector.detach().to("cpu", copy=True)
        return {name: value.numpy() for name, value in zip(self.parameters, self._split(copied), strict=True)}

    def load_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Takes over what `to_arrays` returned."""
        assert arrays.keys() == self.parameters.keys(), (sorted(arrays), sorted(self.parameters))
        for name, value in zip(self.parameters, self._split(self.vector.data), strict=True):
            value.copy_(torch.tensor(arrays[name]))

    def _split(self, vector: Tensor) -> list[Tensor]:
        parameters = self.parameters.values()
        parts = torch.split(vector, [_padded(parameter) for parameter in parameters])
        return [
            part[: parameter.numel()].view(parameter.shape) for part, parameter in zip(parts, parameters, strict=True)
        ]


def copied_arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """Returns name -> array, copied from the device and detached from it."""
    return {name: tensor.detach().to("cpu", copy=True).numpy() for name, tensor in tensors.items()}


def check_fits(module: nn.Module, arrays: object, name: str, remedy: str) -> None:
    """Refuses what is not name -> array of all of a module's parameters and buffers, in their shapes.

    Args:
      module: is to take them over.
      arrays: as they were read.
      name: of the module, for the message.
      remedy: what may have happened, and what to do.

    Raises:
      CheckpointError: it names the first array that does not fit.
    """
    found = {name: np.shape(array) for name, array in arrays.items()} if isinstance(arrays, Mapping) else {}
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    wrong = next((name for name in [*expected, *found] if found.get(name) != expected.get(name)), None)
    if wrong is not None:
        there, here = found.get(wrong, "missing"), expected.get(wrong, "missing")
        raise CheckpointError(f"the {name}'s '{wrong}' is {there}, here it has to be {here}: {remedy}")


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
