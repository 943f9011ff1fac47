"""Real-time recurrent learning of recurrent trace units: a pair of numbers per unit that turns and shrinks.

Elelimy, White, Bowling and White 2024, https://arxiv.org/abs/2409.01449: one complex number per unit, written with
cosine and sine.

    r = exp(-exp(ν))   θ = exp(τ)   g = r cos θ   φ = r sin θ   n = √(1 - r²)
    p_t = g s_{t-1} - φ s'_{t-1} + n W x_t      s_t = f(p_t)
    p'_t = φ s_{t-1} + g s'_{t-1} + n W' x_t    s'_t = f(p'_t)

In linear units f is the identity. Unit n of both depends on row n of each parameter alone, so sensitivities are as in
`rlsys.ops.rtrl`, with pairs where a cell has a number: ∂s_t/∂s_{t-1} is a matrix of 2 × 2 for each unit.

Shape legend: B unrolls, T rows, R rows of a table, K = 2 numbers of a pair, J = 2 the same where one number is
differentiated by the other, N units, D inputs of the unit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rlsys.ops.sensitivities import SensitivityTable, StepDerivatives, without_negligible


class Rotation(NamedTuple):
    """What ν and τ stand for, each `[N]`: g, φ and n."""

    cosine: Tensor
    sine: Tensor
    scale: Tensor


def rotation(log_decay: Tensor, log_angle: Tensor) -> Rotation:
    """Returns it from ν and τ, differentiably."""
    rate, angle = log_decay.exp(), log_angle.exp()
    radius = (-rate).exp()
    return Rotation(radius * angle.cos(), radius * angle.sin(), (-torch.expm1(-2.0 * rate)).sqrt())


def turn(pair: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Returns pairs `[..., K, N]` after their turn."""
    first, second = pair.unbind(dim=-2)
    return torch.stack([cosine * first - sine * second, sine * first + cosine * second], dim=-2)


@dataclass
class TraceSensitivities(SensitivityTable):
    """∂s/∂θ of R pairs of N units.

    Attributes:
      weight: `[R, J, K, N, D]`, of number j by the input matrix of number k.
      log_decay: `[R, J, N]`, by ν.
      log_angle: `[R, J, N]`, by τ.
    """

    weight: Tensor
    log_decay: Tensor
    log_angle: Tensor

    @classmethod
    def zeros(cls, size: int, num_units: int, num_inputs: int, like: Tensor) -> "TraceSensitivities":
        """Returns those of `size` sequences at the beginning of an episode, with the dtype and device of `like`."""
        vector = (size, 2, num_units)
        return cls(like.new_zeros(size, 2, 2, num_units, num_inputs), like.new_zeros(vector), like.new_zeros(vector))


@dataclass
class TraceDerivatives(StepDerivatives):
    """What each step did to the pairs.

    Attributes:
      slope: `[T, B, K, N]`, f'(p).
      keep: `[T, B, 1]`, 0 where the step begins an episode, else 1.
      by_decay, by_angle: `[T, B, K, N]`, ∂p/∂ν and ∂p/∂τ of this step alone.
    """

    slope: Tensor
    keep: Tensor
    by_decay: Tensor
    by_angle: Tensor


@torch.no_grad()
def trace_derivatives(
    previous: Tensor, drive: Tensor, slope: Tensor, keep: Tensor, log_decay: Tensor, log_angle: Tensor
) -> TraceDerivatives:
    """Returns the derivatives of the steps from their activations.

    Args:
      previous: `[T, B, K, N]`, pairs as the steps saw them.
      drive: `[T, B, K, N]`, n W x.
      slope: `[T, B, K, N]`, f'(p).
      keep: `[T, B, 1]`, 0 where the step begins an episode, else 1.
      log_decay: `[N]`, ν.
      log_angle: `[N]`, τ.
    """
    cosine, sine, _ = rotation(log_decay, log_angle)
    rate, angle = log_decay.exp(), log_angle.exp()
    turned = turn(previous, cosine, sine)
    # ∂g/∂ν = -e^ν g, ∂φ/∂ν = -e^ν φ and ∂n/∂ν = e^ν n r²/(1 - r²); ∂g/∂τ = -θ φ and ∂φ/∂τ = θ g.
    by_decay = rate * (drive / torch.expm1(2.0 * rate) - turned)
    by_angle = angle * torch.stack([-turned[..., 1, :], turned[..., 0, :]], dim=-2)
    return TraceDerivatives(slope, keep, by_decay, by_angle)


@torch.no_grad()
def trace_history_gradients(
    table: TraceSensitivities, initial_BJN: Tensor, rows: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what the time before an unroll adds to the gradients of weight, log_decay and log_angle.

    Args:
      table: sensitivities when the unroll began.
      initial_BJN: ∂L/∂s_init of the unroll's loss.
      rows: rows of the table that belong to the B unrolls.
    """
    weight_KND = torch.zeros_like(table.weight[0, 0])
    for row, initial_JN in zip(rows, initial_BJN.unbind(), strict=True):
        for part_KND, initial_N in zip(table.weight[row].unbind(), initial_JN.unbind(), strict=True):
            weight_KND.addcmul_(part_KND, initial_N.unsqueeze(-1))
    index = list(rows)
    return (
        weight_KND,
        (initial_BJN * table.log_decay[index]).sum(dim=(0, 1)),
        (initial_BJN * table.log_angle[index]).sum(dim=(0, 1)),
    )


@torch.no_grad()
def advance_trace_rows(
    table: TraceSensitivities, rows: Sequence[int], steps: TraceDerivatives, input_BTD: Tensor, turned_by: Rotation
) -> None:
    """Moves sensitivities to the time after all rows of an unroll, in place.

    Args:
      table: before row 0 of the unrolls.
      rows: rows of the table that belong to the B unrolls; each once.
      steps: of rows 0 to T - 1.
      input_BTD: the units' inputs there.
      turned_by: the turn of each unit in a step, by the weights that the unroll was made with.
    """
    whole_BJKN, through_TBJKN = _carries(steps, turned_by)
    products_BMT = (through_TBJKN * turned_by.scale).flatten(start_dim=2).permute(1, 2, 0)
    for row, whole_JKN, left_MT, right_TD in zip(
        rows, whole_BJKN.unbind(), products_BMT.unbind(), input_BTD.unbind(), strict=True
    ):
        weight_JKND = table.weight[row]
        weight_JKND.copy_(_apply(whole_JKN[:, :, None, :, None], weight_JKND, dim=0))
        weight_JKND.view(-1, input_BTD.shape[-1]).addmm_(left_MT, right_TD)
    index = list(rows)
    for old_RJN, direct_TBKN in ((table.log_decay, steps.by_decay), (table.log_angle, steps.by_angle)):
        new_BJN = (through_TBJKN * direct_TBKN.unsqueeze(2)).sum(dim=(0, 3))
        old_RJN[index] = new_BJN + _apply(whole_BJKN, old_RJN[index], dim=1)


def _apply(matrix: Tensor, pair: Tensor, dim: int) -> Tensor:
    """Returns Σ_k matrix[j, k] · pair[k]; `matrix` has j and k at `dim` and after it, `pair` has k at `dim`."""
    of_first, of_second = matrix.unbind(dim=dim + 1)
    first, second = (part.unsqueeze(dim) for part in pair.unbind(dim=dim))
    return torch.addcmul(of_first * first, of_second, second)


def _carries(steps: TraceDerivatives, turned_by: Rotation) -> tuple[Tensor, Tensor]:
    """Returns `[B, J, K, N]` ∂s_T/∂s_init, and `[T, B, J, K, N]` ∂s_T/∂p_t."""
    num_rows, size, _, num_units = steps.slope.shape
    through_TBJKN = steps.slope.new_empty(num_rows, size, 2, 2, num_units)
    after_BJKN = torch.eye(2, dtype=turned_by.cosine.dtype, device=turned_by.cosine.device)[:, :, None].expand(
        size, 2, 2, num_units
    )
    for t in reversed(range(num_rows)):
        torch.mul(after_BJKN, steps.slope[t].unsqueeze(1), out=through_TBJKN[t])
        # ∂p/∂s = [[g, -φ], [φ, g]], from the right: the turn back.
        turned = turn(through_TBJKN[t], turned_by.cosine, -turned_by.sine)
        after_BJKN = without_negligible(turned * steps.keep[t, :, :, None, None])
    return after_BJKN, through_TBJKN
