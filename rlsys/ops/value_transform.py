"""Transforms that let one network head cover small and large returns, and their inverses.

The first is Pohlen et al. 2018, proposition A.2, https://arxiv.org/abs/1805.11593; used by MuZero, appendix F. Both of
its directions are written so that nothing cancels: near 0 they are exact to the last digits of float32, where the
textbook inverse is off by 1e-4.
"""

import torch
from torch import Tensor


def signed_hyperbolic(x: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Returns h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x, elementwise.

    Args:
      x: of any shape, in units of the return.
      epsilon: slope that remains for large |x| and makes h invertible.
    """
    return x / (torch.sqrt(x.abs() + 1.0) + 1.0) + epsilon * x


def signed_parabolic(x: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Returns h⁻¹(x) = sign(x) (((sqrt(1 + 4 ε (|x| + 1 + ε)) - 1) / (2 ε))² - 1), elementwise.

    Args:
      x: of any shape.
      epsilon: as in `signed_hyperbolic`, above 0.
    """
    magnitude = x.abs()
    root = torch.sqrt(1.0 + 4.0 * epsilon * (magnitude + 1.0 + epsilon))
    # With u = sqrt(|h⁻¹(x)| + 1), u - 1 follows without the difference of nearly equal numbers.
    u_minus_1 = 2.0 * magnitude * (1.0 - 2.0 * epsilon / (root + 1.0 + 2.0 * epsilon)) / (1.0 + root)
    return x.sign() * u_minus_1 * (u_minus_1 + 2.0)


def symlog(x: Tensor) -> Tensor:
    """Returns sign(x) ln(|x| + 1), elementwise (Hafner et al. 2023, section 2, https://arxiv.org/abs/2301.04104)."""
    return x.sign() * torch.log1p(x.abs())


def symexp(x: Tensor) -> Tensor:
    """Returns sign(x) (exp |x| - 1), elementwise: the inverse of `symlog`."""
    return x.sign() * torch.expm1(x.abs())
