"""All parameters of a module in one vector: one kernel updates them, one message averages their gradients."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rlsys.types import Array


class FlatParameters:
    """Moves a module's parameters and gradients into two contiguous vectors, of which they become views.

    The module must be on its final device, and must not be moved afterwards. Gradients are added to the vector by
    `backward`; set it to zero before.

    Attributes:
      vector: `[n]`, a parameter for an optimizer; `vector.grad` holds the gradients.
    """

    def __init__(self, module: nn.Module) -> None:
        """Takes over the module's parameters, all of one dtype and on one device."""
        self._parameters = dict(module.named_parameters())
        with torch.no_grad():
            self.vector = nn.Parameter(torch.cat([parameter.reshape(-1) for parameter in self._parameters.values()]))
        self.gradient = torch.zeros_like(self.vector)
        self.vector.grad = self.gradient
        for parameter, value, gradient in zip(
            self._parameters.values(), self._split(self.vector.data), self._split(self.gradient), strict=True
        ):
            parameter.data = value
            parameter.grad = gradient

    @property
    def num_parameters(self) -> int:
        """Numbers in the vector."""
        return self.vector.numel()

    def gradients(self) -> Mapping[str, Tensor]:
        """Returns name -> view of that parameter's gradient."""
        return dict(zip(self._parameters, self._split(self.gradient), strict=True))

    def to_arrays(self) -> dict[str, Array]:
        """Returns name -> array, copied from the device at once and detached from it."""
        copied = self.vector.detach().to("cpu", copy=True)
        return {name: value.numpy() for name, value in zip(self._parameters, self._split(copied), strict=True)}

    def load_arrays(self, arrays: Mapping[str, Array]) -> None:
        """Takes over what `to_arrays` returned."""
        assert arrays.keys() == self._parameters.keys(), (sorted(arrays), sorted(self._parameters))
        with torch.no_grad():
            self.vector.copy_(torch.cat([torch.tensor(arrays[name]).reshape(-1) for name in self._parameters]))

    def _split(self, vector: Tensor) -> list[Tensor]:
        parts = torch.split(vector, [parameter.numel() for parameter in self._parameters.values()])
        return [part.view(parameter.shape) for part, parameter in zip(parts, self._parameters.values(), strict=True)]
