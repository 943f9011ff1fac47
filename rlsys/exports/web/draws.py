"""Random numbers as an input: what is drawn in torch is noted, or given from outside, one tensor after the other."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_KINDS: dict[Any, Literal["uniform", "normal"]] = {
    torch.rand: "uniform",
    torch.rand_like: "uniform",
    torch.randn: "normal",
    torch.randn_like: "normal",
}


@dataclass(frozen=True)
class Draw:
    """Independent numbers that are drawn at once.

    Attributes:
      kind: uniform within [0, 1), or from a standard normal distribution.
      shape: of the tensor.
    """

    kind: Literal["uniform", "normal"]
    shape: tuple[int, ...]


class Draws(TorchFunctionMode):
    """While it is entered, `torch.rand`, `torch.randn` and their `_like` return what is given, or are noted.

    Attributes:
      noted: what was drawn, in order.
      values: the numbers themselves.
    """

    def __init__(self, given: Sequence[Tensor] | None = None) -> None:
        """Takes what is given, in the order in which it will be drawn; None: torch draws."""
        super().__init__()
        self._given = given
        self.noted: list[Draw] = []
        self.values: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[Any], args: Sequence[Any] = (), kwargs: Any | None = None
    ) -> Any:
        """Calls a function of torch, or does what it would do."""
        kind = _KINDS.get(func)
        if kind is None:
            return func(*args, **(kwargs or {}))
        value = func(*args, **(kwargs or {})) if self._given is None else self._given[len(self.noted)]
        self.noted.append(Draw(kind, tuple(value.shape)))
        self.values.append(value)
        return value
