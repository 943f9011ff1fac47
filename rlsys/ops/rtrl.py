"""Real-time recurrent learning of the eLSTM: exact gradients over all of an episode, at a cost that does not grow.

Irie, Gopalakrishnan and Schmidhuber 2024, https://arxiv.org/abs/2305.19044; the hybrid with backpropagation inside an
unroll is Schmidhuber 1992's. The recurrence is elementwise, with G = 2 gates that have the same kinds of parameters:

    z_t = tanh(W_z x_t + w_z ⊙ c_{t-1} + b_z)      f_t = σ(W_f x_t + w_f ⊙ c_{t-1} + b_f)
    c_t = f_t ⊙ c_{t-1} + (1 - f_t) ⊙ z_t

so unit n of c depends on row n of each parameter alone, and its sensitivity S = ∂c/∂θ is as large as θ:

    S_θ(t) = carry_t ⊙ S_θ(t-1) + local_t ⊗ input_t      carry_t = ∂c_t/∂c_{t-1}, local_t = ∂c_t/∂(W x_t + …)

The gradient of an unroll's loss is what backpropagation gives inside the unroll, and ∂L/∂c_init ⊙ S for all that came
before it. S is advanced over all T rows of the unroll by one batched matrix product.

Shape legend: B unrolls, T rows, G gates z and f, N units, D inputs of the cell.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Sensitivities:
    """∂c/∂θ of B cells.

    Attributes:
      weight: `[B, G, N, D]`, by the input matrices W.
      recurrent: `[B, G, N]`, by the vectors w.
      bias: `[B, G, N]`.
    """

    weight: Tensor
    recurrent: Tensor
    bias: Tensor

    @classmethod
    def zeros(cls, size: int, num_units: int, num_inputs: int, like: Tensor) -> "Sensitivities":
        """Returns those of `size` cells at the beginning of an episode, with the dtype and device of `like`."""
        vector = (size, 2, num_units)
        return cls(like.new_zeros(*vector, num_inputs), like.new_zeros(vector), like.new_zeros(vector))

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns all three."""
        return self.weight, self.recurrent, self.bias

    def rows(self, index_B: Tensor) -> "Sensitivities":
        """Returns copies of some cells' sensitivities."""
        return Sensitivities(*(tensor[index_B] for tensor in self.tensors()))

    def put(self, index_B: Tensor, others: "Sensitivities") -> None:
        """Replaces some cells' sensitivities."""
        for tensor, other in zip(self.tensors(), others.tensors(), strict=True):
            tensor[index_B] = other

    def clear(self, index_B: Tensor) -> None:
        """Forgets the history of some cells."""
        for tensor in self.tensors():
            tensor[index_B] = 0.0


@dataclass
class Derivatives:
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
    local = torch.empty_like(gates)
    torch.mul(1.0 - f, 1.0 - z * z, out=local[..., 0, :])
    torch.mul(previous - z, f * (1.0 - f), out=local[..., 1, :])
    carry = ((local * recurrent).sum(dim=-2) + f) * keep
    return Derivatives(previous, local, carry)


@torch.no_grad()
def history_gradients(sensitivities: Sensitivities, initial_BN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what the time before an unroll adds to the gradients of weight, recurrent and bias.

    Args:
      sensitivities: when the unroll began.
      initial_BN: ∂L/∂c_init of the unroll's loss.
    """
    s = sensitivities
    return (
        torch.einsum("bn,bgnd->gnd", initial_BN, s.weight),
        torch.einsum("bn,bgn->gn", initial_BN, s.recurrent),
        torch.einsum("bn,bgn->gn", initial_BN, s.bias),
    )


@torch.no_grad()
def advance(sensitivities: Sensitivities, steps: Derivatives, input_BTD: Tensor) -> Sensitivities:
    """Returns the sensitivities after all rows of an unroll.

    Args:
      sensitivities: before row 0.
      steps: of rows 0 to T - 1, time first: `[T, B, …]`.
      input_BTD: the cell's inputs there.
    """
    after_TBN = torch.empty_like(steps.carry)  # ∂c_T/∂c_t: the product of the carries of all later rows
    after_TBN[-1] = 1.0
    for t in reversed(range(len(after_TBN) - 1)):
        torch.mul(after_TBN[t + 1], steps.carry[t + 1], out=after_TBN[t])
    whole_B1N = (after_TBN[0] * steps.carry[0]).unsqueeze(1)
    through_TBGN = after_TBN.unsqueeze(2) * steps.local
    size, _, num_units, num_inputs = sensitivities.weight.shape
    old = (sensitivities.weight * whole_B1N.unsqueeze(-1)).view(size, 2 * num_units, num_inputs)
    weight = old.baddbmm_(through_TBGN.flatten(start_dim=2).permute(1, 2, 0), input_BTD)
    return Sensitivities(
        weight.view_as(sensitivities.weight),
        sensitivities.recurrent * whole_B1N + (through_TBGN * steps.previous.unsqueeze(2)).sum(dim=0),
        sensitivities.bias * whole_B1N + through_TBGN.sum(dim=0),
    )


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
