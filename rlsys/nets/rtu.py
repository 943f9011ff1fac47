"""Recurrent trace units: pairs of numbers that turn and shrink, trained exactly; mathematics in `rlsys.ops.rtu`.

Elelimy, White, Bowling and White 2024, https://arxiv.org/abs/2409.01449. What goes out is tanh of the pair's drive: it
is applied within the recurrence, or, in linear units, after it.

Shape legend: B sequences, T rows, K = 2 numbers of a pair, N units, D inputs, S = K·N numbers of the state, H = S.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from rlsys.nets.rtrl_core import ExactCore, ExactLayer, Record
from rlsys.ops.rtu import (
    Rotation,
    TraceDerivatives,
    TraceSensitivities,
    advance_trace_rows,
    rotation,
    trace_derivatives,
    trace_history_gradients,
    turn,
)


class RTUCore(ExactCore):
    """One or more layers of N trace units; layer k keeps its pairs as `pair_<k>`."""

    def __init__(self, num_inputs: int, num_units: int, *, num_layers: int = 1, linear: bool = False) -> None:
        sizes = [num_inputs] + [2 * num_units] * (num_layers - 1)
        super().__init__(num_inputs, [RTULayer(size, num_units, linear=linear) for size in sizes], "pair")


class RTULayer(ExactLayer[TraceSensitivities, TraceDerivatives]):
    """One layer. At first the units' eigenvalues are uniform on the unit disk, as in the paper."""

    def __init__(self, num_inputs: int, num_units: int, *, linear: bool = False) -> None:
        super().__init__()
        self.linear = linear
        self.num_units = num_units
        self.num_outputs = self.state_size = 2 * num_units
        self.weight = nn.Parameter(torch.randn(2, num_units, num_inputs) / math.sqrt(num_inputs))
        squared_radius = torch.rand(num_units).clamp_(1e-6, 1.0 - 1e-6)
        angle = 2.0 * math.pi * torch.rand(num_units).clamp_min_(1e-6)
        self.log_decay = nn.Parameter((-0.5 * squared_radius.log()).log())
        self.log_angle = nn.Parameter(angle.log())

    def step(self, input_BD: Tensor, state_BS: Tensor) -> tuple[Tensor, Tensor]:
        """See `ExactLayer`."""
        turned_by = rotation(self.log_decay, self.log_angle)
        pair_BKN = turn(self._pairs(state_BS), turned_by.cosine, turned_by.sine) + self._drive(input_BD, turned_by)
        squashed_BS = pair_BKN.flatten(start_dim=1).tanh()
        return squashed_BS, pair_BKN.flatten(start_dim=1) if self.linear else squashed_BS

    def unroll(self, input_BTD: Tensor, keep_TB1: Tensor, state_BS: Tensor) -> tuple[Tensor, Record[TraceDerivatives]]:
        """See `ExactLayer`."""
        record: Record[TraceDerivatives] = Record(input_BTD)
        turned_by = rotation(self.log_decay, self.log_angle)
        drive_TBKN = self._drive(input_BTD.transpose(0, 1).contiguous(), turned_by)
        fixed = self.log_decay.detach(), self.log_angle.detach()
        pairs_TBKN: Tensor = _Scan.apply(  # type: ignore[no-untyped-call]
            drive_TBKN, turned_by.cosine, turned_by.sine, self._pairs(state_BS), keep_TB1, self.linear, fixed, record
        )
        output_BTS = pairs_TBKN.flatten(start_dim=2).transpose(0, 1)
        return output_BTS.tanh() if self.linear else output_BTS, record

    def no_history(self, size: int) -> TraceSensitivities:
        """See `ExactLayer`."""
        _, num_units, num_inputs = self.weight.shape
        return TraceSensitivities.zeros(size, num_units, num_inputs, like=self.weight.detach())

    def history_gradients(
        self, table: TraceSensitivities, initial_BS: Tensor, rows: Sequence[int]
    ) -> tuple[Tensor, ...]:
        """See `ExactLayer`."""
        return trace_history_gradients(table, self._pairs(initial_BS), rows)

    def advance(
        self, table: TraceSensitivities, rows: Sequence[int], steps: TraceDerivatives, input_BTD: Tensor
    ) -> None:
        """See `ExactLayer`."""
        turned_by = rotation(self.log_decay.detach(), self.log_angle.detach())
        advance_trace_rows(table, rows, steps, input_BTD, turned_by)

    def _pairs(self, state_BS: Tensor) -> Tensor:
        return state_BS.view(len(state_BS), 2, self.num_units)

    def _drive(self, x: Tensor, turned_by: Rotation) -> Tensor:
        """Returns n W x, `[..., K, N]`."""
        product = functional.linear(x, self.weight.flatten(end_dim=1))
        return product.view(*product.shape[:-1], 2, self.num_units) * turned_by.scale


class _Scan(torch.autograd.Function):
    """The recurrence over T rows: two passes of elementwise operations, forward and backward in time."""

    @staticmethod
    def forward(
        ctx: Any,
        drive_TBKN: Tensor,
        cosine_N: Tensor,
        sine_N: Tensor,
        pair_BKN: Tensor,
        keep_TB1: Tensor,
        linear: bool,
        log_decay_and_angle: tuple[Tensor, Tensor],
        record: Record[TraceDerivatives],
    ) -> Tensor:
        previous_TBKN, pairs_TBKN = torch.empty_like(drive_TBKN), torch.empty_like(drive_TBKN)
        for t in range(len(drive_TBKN)):
            torch.mul(pair_BKN, keep_TB1[t].unsqueeze(1), out=previous_TBKN[t])
            pair_BKN = torch.add(turn(previous_TBKN[t], cosine_N, sine_N), drive_TBKN[t], out=pairs_TBKN[t])
            if not linear:
                pair_BKN.tanh_()
        drive_TBKN = drive_TBKN.detach()

        def derive() -> TraceDerivatives:
            slope_TBKN = torch.ones_like(pairs_TBKN) if linear else 1.0 - pairs_TBKN * pairs_TBKN
            return trace_derivatives(previous_TBKN, drive_TBKN, slope_TBKN, keep_TB1, *log_decay_and_angle)

        pairs_TBKN = pairs_TBKN.detach()
        record.derive = derive
        ctx.record, ctx.linear = record, linear
        ctx.save_for_backward(previous_TBKN, pairs_TBKN, cosine_N, sine_N, keep_TB1)
        return pairs_TBKN

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TBKN: Tensor) -> tuple[Tensor | None, ...]:
        previous_TBKN, pairs_TBKN, cosine_N, sine_N, keep_TB1 = ctx.saved_tensors
        slope_TBKN = None if ctx.linear else 1.0 - pairs_TBKN * pairs_TBKN
        delta_TBKN = torch.empty_like(grad_TBKN)
        later_BKN = torch.zeros_like(grad_TBKN[0])
        for t in reversed(range(len(grad_TBKN))):
            delta_BKN = torch.add(grad_TBKN[t], later_BKN, out=delta_TBKN[t])
            if slope_TBKN is not None:
                delta_BKN.mul_(slope_TBKN[t])
            later_BKN = turn(delta_BKN, cosine_N, -sine_N) * keep_TB1[t].unsqueeze(1)
        (delta_1, delta_2), (previous_1, previous_2) = delta_TBKN.unbind(dim=2), previous_TBKN.unbind(dim=2)
        of_cosine_N = (delta_1 * previous_1 + delta_2 * previous_2).sum(dim=(0, 1))
        of_sine_N = (delta_2 * previous_1 - delta_1 * previous_2).sum(dim=(0, 1))
        return delta_TBKN, of_cosine_N, of_sine_N, later_BKN, None, None, None, None
