"""Real-time recurrent learning of the eLSTM: exact gradients over all of an episode, at a cost that does not grow.

Irie, Gopalakrishnan and Schmidhuber 2024, https://arxiv.org/abs/2305.19044; the hybrid with backpropagation inside an
unroll is Schmidhuber 1992's. The recurrence is elementwise, with G = 2 gates that have the same kinds of parameters:

    z_t = tanh(W_z x_t + w_z ⊙ c_{t-1} + b_z)      f_t = σ(W_f x_t + w_f ⊙ c_{t-1} + b_f)
    c_t = f_t ⊙ c_{t-1} + (1 - f_t) ⊙ z_t

so unit n of c depends on row n of each parameter alone, and its sensitivity S = ∂c/∂θ is as large as θ:

    S_θ(t) = carry_t ⊙ S_θ(t-1) + local_t ⊗ input_t      carry_t = ∂c_t/∂c_{t-1}, local_t = ∂c_t/∂(W x_t + …)

The gradient of an unroll's loss is what backpropagation gives inside the unroll, and ∂L/∂c_init ⊙ S for all that came
before it. S is advanced over all T rows of an unroll by one matrix product.

Shape legend: B unrolls, T rows, R rows of a table, G gates z and f, N units, D inputs of the cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsys.ops.sensitivities import SensitivityTable, StepDerivatives, without_negligible


@dataclass
class Sensitivities(SensitivityTable):
    """∂c/∂θ of R cells.

    Attributes:
      weight: `[R, G, N, D]`, by the input matrices W.
      recurrent: `[R, G, N]`, by the vectors w.
      bias: `[R, G, N]`.
    """

    weight: Tensor
    recurrent: Tensor
    bias: Tensor

    @classmethod
    def zeros(cls, size: int, num_units: int, num_inputs: int, like: Tensor) -> "Sensitivities":
        """Returns those of `size` cells at the beginning of an episode, with the dtype and device of `like`."""
        vector = (size, 2, num_units)
        return cls(like.new_zeros(*vector, num_inputs), like.new_zeros(vector), like.new_zeros(vector))


@dataclass
class Derivatives(StepDerivatives):
    """What each step did to the cell: enough for its backward pass and for the sensitivities.

    Attributes:
      previous: `[..., N]`, c_{t-1}, already zero where row t begins an episode.
      local: `[..., G, N]`, ∂c_t/∂(W x_t + …) by gate.
      carry: `[..., N]`, ∂c_t/∂c_{t-1}, zero where row t begins an episode.
    """

    previous: Tensor
    local: Tensor
    carry: Tensor


@torch.no_grad()
def derivatives(gates: Tensor, previous: Tensor, recurrent: Tensor, keep: Tensor) -> Derivatives:
    """Returns the derivatives of one or many steps from their activations.

    Args:
      gates: `[..., G, N]`, z and f.
      previous: `[..., N]`, c_{t-1} as the step saw it.
      recurrent: `[G, N]`, w.
      keep: `[..., 1]`, 0 where the step begins an episode, else 1.
    """
    z, f = gates.unbind(dim=-2)
    local, rest = torch.empty_like(gates), 1.0 - f
    of_z, of_f = local.unbind(dim=-2)
    torch.mul(rest, z, out=of_z)
    torch.addcmul(rest, of_z, z, value=-1.0, out=of_z)
    torch.sub(previous, z, out=of_f).mul_(f).mul_(rest)
    carry = torch.addcmul(f, of_z, recurrent[0]).addcmul_(of_f, recurrent[1]).mul_(keep)
    return Derivatives(previous, local, carry)


@torch.no_grad()
def history_gradients(
    table: Sensitivities, initial_BN: Tensor, rows: Sequence[int] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what the time before an unroll adds to the gradients of weight, recurrent and bias.

    Args:
      table: sensitivities when the unroll began.
      initial_BN: ∂L/∂c_init of the unroll's loss.
      rows: rows of the table that belong to the B unrolls; all of them by default.
    """
    rows = range(len(initial_BN)) if rows is None else rows
    weight = torch.zeros_like(table.weight[0])
    # Row by row, so that the sensitivities are read once, and nothing as large as they is written.
    for row, initial_1N1 in zip(rows, initial_BN[:, None, :, None].unbind(), strict=True):
        weight.addcmul_(table.weight[row], initial_1N1)
    index, initial_B1N = list(rows), initial_BN.unsqueeze(1)
    return weight, (initial_B1N * table.recurrent[index]).sum(dim=0), (initial_B1N * table.bias[index]).sum(dim=0)


@torch.no_grad()
def advance_rows(table: Sensitivities, rows: Sequence[int], steps: Derivatives, input_BTD: Tensor) -> None:
    """Moves sensitivities to the time after all rows of an unroll, in place.

    Args:
      table: before row 0 of the unrolls.
      rows: rows of the table that belong to the B unrolls; each once.
      steps: of rows 0 to T - 1, time first: `[T, B, …]`.
      input_BTD: the cell's inputs there.
    """
    whole_BN, after_TBN = _carries(steps.carry)
    whole_B1N, through_TBGN = whole_BN.unsqueeze(1), after_TBN.unsqueeze(2) * steps.local
    # One unroll's sensitivities fit into a CPU's cache, those of all don't: each is scaled and added to while there.
    products_BMT = through_TBGN.flatten(start_dim=2).permute(1, 2, 0)
    for row, whole_1N1, left_MT, right_TD in zip(
        rows, whole_B1N.unsqueeze(-1).unbind(), products_BMT.unbind(), input_BTD.unbind(), strict=True
    ):
        weight = table.weight[row]
        weight.mul_(whole_1N1).flatten(end_dim=1).addmm_(left_MT, right_TD)
    index = list(rows)
    recurrent = (through_TBGN * steps.previous.unsqueeze(2)).sum(dim=0)
    table.recurrent[index] = recurrent.addcmul_(table.recurrent[index], whole_B1N)
    table.bias[index] = through_TBGN.sum(dim=0).addcmul_(table.bias[index], whole_B1N)


def _carries(carry_TBN: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ∂c_T/∂c_init, and `[T, B, N]` ∂c_T/∂c_t: the product of the carries of all later rows."""
    after_TBN = torch.empty_like(carry_TBN)
    after_TBN[-1] = 1.0
    for t in reversed(range(len(carry_TBN) - 1)):
        after_TBN[t] = without_negligible(after_TBN[t + 1] * carry_TBN[t + 1])
    return without_negligible(after_TBN[0] * carry_TBN[0]), after_TBN


def advance(table: Sensitivities, steps: Derivatives, input_BTD: Tensor) -> Sensitivities:
    """Returns the sensitivities of all rows of a table after an unroll; arguments as in `advance_rows`."""
    after = table.clone()
    advance_rows(after, range(len(input_BTD)), steps, input_BTD)
    return after


@torch.no_grad()
def advance_step(sensitivities: Sensitivities, step: Derivatives, input_BD: Tensor) -> Sensitivities:
    """Returns the sensitivities after one row, by the recursion itself: what upstream's actors do at every step.

    Args:
      sensitivities: before the row.
      step: its derivatives, `[B, …]`.
      input_BD: the cell's input.
    """
    s, carry_B1N = sensitivities, step.carry.unsqueeze(1)
    return Sensitivities(
        carry_B1N.unsqueeze(-1) * s.weight + step.local.unsqueeze(-1) * input_BD[:, None, None],
        carry_B1N * s.recurrent + step.local * step.previous.unsqueeze(1),
        carry_B1N * s.bias + step.local,
    )
