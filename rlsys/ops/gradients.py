"""Operations that change gradients and nothing else."""

from typing import Any

import torch
from torch import Tensor


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Returns `x`; the gradient that comes back through it is multiplied by `factor`."""
    return _ScaleGradient.apply(x, factor)  # type: ignore[no-any-return, no-untyped-call]


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None
