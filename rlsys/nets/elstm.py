"""The eLSTM: an LSTM whose recurrence is elementwise, so that its exact gradient over all time is affordable.

Irie, Gopalakrishnan and Schmidhuber 2024, section 3, https://arxiv.org/abs/2305.19044. The equations are in
`rlsys.ops.rtrl`; the output gate looks at input and cell, and has no memory:

    o_t = σ(W_o [x_t ; c_t] + b_o)      h_t = o_t ⊙ c_t

Layers are stacked by giving h of one to the next. Checkpoints do not depend on how the core was trained.

Shape legend: B sequences, T rows, G gates z and f, N units, D inputs, H = N outputs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from rlsys.nets.recurrent import RecurrentCore, Unrolled
from rlsys.ops.rtrl import Derivatives, derivatives

_INITIAL_STD = 0.1


class ELSTMCore(RecurrentCore):
    """One or more eLSTM layers of N units; layer k keeps its cells as `cell_<k>`."""

    def __init__(self, num_inputs: int, num_units: int, *, num_layers: int = 1, forget_bias: float = 0.0) -> None:
        super().__init__()
        self.num_inputs, self.num_outputs = num_inputs, num_units
        self.state_sizes = {f"cell_{layer}": num_units for layer in range(num_layers)}
        sizes = [num_inputs] + [num_units] * (num_layers - 1)
        self.layers = nn.ModuleList([ELSTMLayer(size, num_units, forget_bias) for size in sizes])

    def each_layer(self) -> Iterator["ELSTMLayer"]:
        """Yields the layers, lowest first."""
        for layer in self.layers:
            assert isinstance(layer, ELSTMLayer)
            yield layer

    def step(self, input_BD: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """See `RecurrentCore`."""
        output, after = input_BD, {}
        for name, layer in zip(self.state_sizes, self.each_layer(), strict=True):
            output, after[name] = layer.step(output, state[name])
        return output, after

    def unroll(self, input_BTD: Tensor, first_BT: Tensor, state: Mapping[str, Tensor]) -> Unrolled:
        """See `RecurrentCore`; the records are `ELSTMRecord`s."""
        output, records = input_BTD, []
        keep_TB1 = (~first_BT).t().unsqueeze(-1).to(input_BTD.dtype).contiguous()
        for name, layer in zip(self.state_sizes, self.each_layer(), strict=True):
            output, record = layer.unroll(output, keep_TB1, state[name])
            records.append(record)
        return Unrolled(output, tuple(records))


class ELSTMRecord:
    """What RTRL needs of one layer's unroll.

    Attributes:
      input_BTD: the layer's inputs, detached.
    """

    def __init__(self, input_BTD: Tensor) -> None:
        self.input_BTD = input_BTD.detach()
        self.activations: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        self._derivatives: Derivatives | None = None

    def derivatives(self) -> Derivatives:
        """Returns those of all rows, time first; computed at most once, by whoever asks first."""
        if self._derivatives is None:
            assert self.activations is not None, "the layer has not been unrolled"
            self._derivatives = derivatives(*self.activations)
        return self._derivatives


class ELSTMLayer(nn.Module):
    """One layer."""

    def __init__(self, num_inputs: int, num_units: int, forget_bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(_INITIAL_STD * torch.randn(2, num_units, num_inputs))
        self.recurrent = nn.Parameter(_INITIAL_STD * torch.randn(2, num_units))
        self.bias = nn.Parameter(_INITIAL_STD * torch.randn(2, num_units))
        with torch.no_grad():
            self.bias[1] += forget_bias
        self.output_gate = nn.Linear(num_inputs + num_units, num_units)

    def step(self, input_BD: Tensor, cell_BN: Tensor) -> tuple[Tensor, Tensor]:
        """Returns h `[B, N]` and c `[B, N]` after one row."""
        drive_BGN = self._drive(input_BD) + cell_BN.unsqueeze(1) * self.recurrent
        cell_BN = torch.lerp(drive_BGN[:, 0].tanh(), cell_BN, drive_BGN[:, 1].sigmoid())
        return self._gated(input_BD, cell_BN), cell_BN

    def unroll(self, input_BTD: Tensor, keep_TB1: Tensor, cell_BN: Tensor) -> tuple[Tensor, ELSTMRecord]:
        """Returns h `[B, T, N]` and what RTRL needs."""
        record = ELSTMRecord(input_BTD)
        drive_TBGN = self._drive(input_BTD.transpose(0, 1).contiguous())
        cells_TBN = _Scan.apply(drive_TBGN, self.recurrent, cell_BN, keep_TB1, record)  # type: ignore[no-untyped-call]
        return self._gated(input_BTD, cells_TBN.transpose(0, 1)), record

    def _drive(self, x: Tensor) -> Tensor:
        """Returns what the input does to the gates, `[..., G, N]`."""
        drive = functional.linear(x, self.weight.flatten(end_dim=1), self.bias.flatten())
        return drive.view(*drive.shape[:-1], *self.bias.shape)

    def _gated(self, x: Tensor, cell: Tensor) -> Tensor:
        gate: Tensor = self.output_gate(torch.cat([x, cell], dim=-1))
        return gate.sigmoid() * cell


class _Scan(torch.autograd.Function):
    """The recurrence over T rows: two passes of elementwise operations, forward and backward in time."""

    @staticmethod
    def forward(
        ctx: Any, drive_TBGN: Tensor, recurrent_GN: Tensor, cell_BN: Tensor, keep_TB1: Tensor, record: ELSTMRecord
    ) -> Tensor:
        gates_TBGN = torch.empty_like(drive_TBGN)
        previous_TBN = torch.empty_like(drive_TBGN[:, :, 0])
        cells_TBN = torch.empty_like(previous_TBN)
        for t in range(len(drive_TBGN)):
            previous_BN, gates_BGN = previous_TBN[t], gates_TBGN[t]
            torch.mul(cell_BN, keep_TB1[t], out=previous_BN)
            torch.addcmul(drive_TBGN[t], previous_BN.unsqueeze(1), recurrent_GN, out=gates_BGN)
            z_BN, f_BN = gates_BGN[:, 0].tanh_(), gates_BGN[:, 1].sigmoid_()
            cell_BN = torch.lerp(z_BN, previous_BN, f_BN, out=cells_TBN[t])
        record.activations = (gates_TBGN, previous_TBN, recurrent_GN.detach(), keep_TB1)
        ctx.record = record
        return cells_TBN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TBN: Tensor) -> tuple[Tensor | None, ...]:
        steps: Derivatives = ctx.record.derivatives()
        delta_TBN = torch.empty_like(steps.carry)
        delta_TBN[-1] = grad_TBN[-1]
        for t in reversed(range(len(delta_TBN) - 1)):
            torch.addcmul(grad_TBN[t], steps.carry[t + 1], delta_TBN[t + 1], out=delta_TBN[t])
        drive_TBGN = delta_TBN.unsqueeze(2) * steps.local
        recurrent_GN = (drive_TBGN * steps.previous.unsqueeze(2)).sum(dim=(0, 1))
        return drive_TBGN, recurrent_GN, steps.carry[0] * delta_TBN[0], None, None
