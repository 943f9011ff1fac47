"""What world models share: heads, how weights begin, and copies of them for inference.

Shape legend: D inputs.
"""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)
_STD = 0.02
"""Of weights at the beginning (GPT-2's)."""


class Head(nn.Module):
    """Two layers that foretell something."""

    def __init__(self, num_in: int, num_hidden: int, num_out: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_in, num_hidden)
        self.out = nn.Linear(num_hidden, num_out)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits `[..., num_out]` of `[..., D]`, in whatever precision its weights have."""
        logits: Tensor = self.out(torch.relu(self.hidden(x.to(self.hidden.weight.dtype))))
        return logits


def initialize(module: nn.Module) -> None:
    """Begins as GPT-2: weights are normal with a deviation of 0.02, biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=_STD)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)


class Snapshot(Generic[N]):
    """A copy of modules to infer with: no dropout, and dense layers rounded, if asked for. All else is shared."""

    def __init__(self, module: N, dtype: torch.dtype) -> None:
        """Takes the modules, and what the weights of dense layers are rounded to."""
        self._of = module
        self._made_of = self._what_is_shared()
        rounded = [] if dtype == torch.float32 else [part for part in module.modules() if _is_dense(part)]
        kept = {id(weight) for part in rounded for weight in part.parameters()}
        shared = (*module.parameters(), *module.buffers())
        self.module = copy.deepcopy(module, {id(tensor): tensor for tensor in shared if id(tensor) not in kept})
        self.module.eval()
        for part in self.module.modules():
            if rounded and _is_dense(part):
                part.to(dtype)
        pairs = zip(module.parameters(), self.module.parameters(), strict=True)
        self._rounded = [(weight, copied) for weight, copied in pairs if weight is not copied]

    def _what_is_shared(self) -> list[tuple[int, torch.device]]:
        return [(id(tensor), tensor.device) for tensor in (*self._of.parameters(), *self._of.buffers())]

    @torch.no_grad()
    def refresh(self) -> bool:
        """Copies weights that have changed into the same memory; False if they are others, or elsewhere."""
        if self._made_of != self._what_is_shared():
            return False
        if self._rounded:
            weights, copies = zip(*self._rounded, strict=True)
            torch._foreach_copy_(copies, weights)
        return True


def _is_dense(module: nn.Module) -> bool:
    return type(module) is nn.Linear  # whose subclasses look after themselves
