"""The unroll of FCNetwork on a CPU, with its gradient written out: nearly all of the time goes to matrix products.

Autograd spends as long on small steps and on fresh memory as on the products. Here perceptrons that share an input are
one product, biases are columns of it, heads see all steps at once, and intermediate results live in memory that is
kept. `Network.unroll` is the definition; tests hold this against it.

Shape legend: B windows, K unroll steps, M rows, O observation features, S state features, A actions, U hidden units, I
inputs of a product with 1 for the bias among them. Rows are ordered by step, then by window.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rlsys.algorithms.muzero.networks import HIDDEN_SIZE, FCNetwork, Perceptron, Unroll
from rlsys.compiled import njit
from rlsys.nets.scaling import MIN_SPAN
from rlsys.types import Array

_kernel = njit(cache=True, nogil=True, error_model="numpy")


class FusedUnroll:
    """Unrolls one network again and again. Each call must be followed by its backward pass before the next one."""

    def __init__(self, network: FCNetwork, dtype: torch.dtype) -> None:
        """Takes a network on the CPU.

        Args:
          network: its parameters are read at each call.
          dtype: of the products, float32 or bfloat16; gradients are float32.
        """
        self._network = network
        self._dtype = dtype
        self._steps: _Steps | None = None

    def __call__(self, observation: Tensor, action_BK: Tensor) -> Unroll:
        """Returns what `Network.unroll` returns."""
        observation_BO = self._network.rescale(observation).flatten(start_dim=1)
        sizes = (*action_BK.shape[:2], observation_BO.shape[1])
        if self._steps is None or self._steps.sizes != sizes:
            self._steps = _Steps(self._network, sizes, self._dtype)
        self._steps.start(observation_BO, action_BK)
        outputs = _Unroll.apply(self._steps, *self._network.parameters())  # type: ignore[no-untyped-call]
        return Unroll(*(output.transpose(0, 1) for output in outputs))


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, steps: "_Steps", *parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.steps = steps
        return steps.forward()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, value: Tensor, reward: Tensor, policy: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.steps.backward(*(grad.reshape(-1, grad.shape[-1]) for grad in (value, reward, policy)))


class _Steps:
    """One unroll, forward and backward, for one size of batch.

    Attributes:
      sizes: B, K, O.
    """

    def __init__(self, network: FCNetwork, sizes: tuple[int, int, int], dtype: torch.dtype) -> None:
        self.sizes = num_windows, num_steps, num_features = sizes
        state_size = self._state_size = network.dynamics.out.out_features
        self._rows = [slice(k * num_windows, (k + 1) * num_windows) for k in range(num_steps + 1)]
        num_states = num_windows * (num_steps + 1)
        # A row: the state, 1 for the bias, the action, one-hot or numbers. Prediction reads it as far as the 1.
        self._input = torch.zeros(num_states, network.dynamics.hidden.in_features + 1)
        self._input[:, state_size] = 1.0
        self._rounded = self._input if dtype == torch.float32 else self._input.to(dtype)
        self._observation = torch.ones(num_windows, num_features + 1, dtype=dtype)
        self._activation = torch.empty(num_states, state_size)
        self._state_gradient = torch.empty(num_states, state_size)
        workspace = torch.empty(num_states, 2 * HIDDEN_SIZE, dtype=dtype)
        self._representation = _Perceptrons([network.representation], self._observation, num_features, workspace)
        self._transition = _Perceptrons(
            [network.dynamics, network.reward], self._rounded[:-num_windows], state_size, workspace
        )
        self._prediction = _Perceptrons(
            [network.value, network.policy], self._rounded[:, : state_size + 1], state_size, workspace
        )

    def start(self, observation_BO: Tensor, action_BK: Tensor) -> None:
        """Writes the inputs of an unroll."""
        num_windows, num_steps, num_features = self.sizes
        self._observation[:, :num_features] = observation_BO
        action = self._input[:-num_windows, self._state_size + 1 :].view(num_steps, num_windows, -1)
        if action_BK.is_floating_point():
            action.copy_(action_BK.transpose(0, 1))
        else:
            action.zero_().scatter_(2, action_BK.t().unsqueeze(-1), 1.0)

    def forward(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns value `[K + 1, B, V]`, reward `[K, B, R]` and policy `[K + 1, B, A]` in float32."""
        num_windows, _, _ = self.sizes
        for perceptrons in (self._representation, self._transition, self._prediction):
            perceptrons.pack()
        self._representation.hide(self._rows[0])
        self._keep_state(0, self._representation.output(0, self._rows[0]))
        for step, rows in enumerate(self._rows[:-1]):
            self._transition.hide(rows)
            self._keep_state(step + 1, self._transition.output(0, rows))
        everything = slice(None)
        self._prediction.hide(everything)
        heads = (
            self._prediction.output(0, everything),
            self._transition.output(1, everything),
            self._prediction.output(1, everything),
        )
        value, reward, policy = (output.float().view(-1, num_windows, output.shape[1]) for output in heads)
        return value, reward, policy

    def backward(self, value: Tensor, reward: Tensor, policy: Tensor) -> list[Tensor]:
        """Returns the gradients of all parameters in the network's order.

        Args:
          value: gradient of the value output, `[(K + 1) B, V]`.
          reward: `[K B, R]`, likewise.
          policy: `[(K + 1) B, A]`, likewise.
        """
        prediction, transition, representation = self._prediction, self._transition, self._representation
        for rows in self._rows:  # one step fits into the processor's cache
            prediction.unhide(rows, [value[rows], policy[rows]])
        self._state_gradient.copy_(prediction.input_gradient(slice(None))[:, : self._state_size])
        of_value, of_policy = prediction.gradients([value, policy])
        for step in reversed(range(self.sizes[1])):
            rows = self._rows[step]
            transition.unhide(rows, [self._unscale(step + 1), reward[rows]])
            through = transition.input_gradient(rows)[:, : self._state_size]
            self._state_gradient[rows].add_(through, alpha=FCNetwork.dynamics_gradient)
        of_dynamics, of_reward = transition.gradients([self._state_gradient[self._rows[0].stop :], reward])
        first = self._unscale(0)
        representation.unhide(self._rows[0], [first])
        [of_representation] = representation.gradients([first])
        return [*of_representation, *of_dynamics, *of_reward, *of_value, *of_policy]

    def _keep_state(self, step: int, raw: Tensor) -> None:
        """Scales a state into the input of the next products."""
        rows = self._rows[step]
        self._activation[rows] = raw
        state = self._input[rows, : self._state_size]
        _scale(self._activation[rows].numpy(), state.numpy())
        if self._rounded is not self._input:
            self._rounded[rows] = self._input[rows]

    def _unscale(self, step: int) -> Tensor:
        """Turns the gradient of a state into that of what it was before it was scaled, and returns it."""
        rows = self._rows[step]
        gradient = self._state_gradient[rows]
        _unscale(self._activation[rows].numpy(), gradient.numpy())
        return gradient


class _Perceptrons:
    """Perceptrons with one input `[M, I]`. Their hidden layers are one product, their outputs one each."""

    def __init__(self, members: Sequence[Perceptron], inputs: Tensor, bias_column: int, workspace: Tensor) -> None:
        """Takes memory that is kept.

        Args:
          members: read anew by each `pack`.
          inputs: `[M, I]`, filled before `hide`.
          bias_column: where `inputs` holds 1.
          workspace: `[≥ M, ≥ n U]` for n members; holds gradients from `unhide` to `gradients`.
        """
        self._members = members
        self._inputs = inputs
        self._bias_column = bias_column
        num_rows, num_units = len(inputs), HIDDEN_SIZE * len(members)
        self._hidden = inputs.new_empty(num_rows, num_units)
        self._gradient = workspace[:num_rows, :num_units]
        self._units = [slice(i * HIDDEN_SIZE, (i + 1) * HIDDEN_SIZE) for i in range(len(members))]
        self._weight = inputs.new_empty(num_units, inputs.shape[1])
        self._outputs: list[tuple[Tensor, Tensor]] = []

    def pack(self) -> None:
        """Reads the parameters."""
        column = self._bias_column
        for member, units in zip(self._members, self._units, strict=True):
            weight = member.hidden.weight.detach()
            self._weight[units, :column] = weight[:, :column]
            self._weight[units, column] = member.hidden.bias.detach()
            self._weight[units, column + 1 :] = weight[:, column:]
        dtype = self._inputs.dtype
        self._outputs = [
            (member.out.weight.detach().to(dtype), member.out.bias.detach().to(dtype)) for member in self._members
        ]

    def hide(self, rows: slice) -> None:
        """Computes the hidden layers of some rows."""
        hidden = self._hidden[rows]
        torch.mm(self._inputs[rows], self._weight.t(), out=hidden)
        _relu(hidden)

    def output(self, member: int, rows: slice) -> Tensor:
        """Returns a member's outputs `[rows, outputs]`."""
        weight, bias = self._outputs[member]
        return torch.addmm(bias, self._hidden[rows, self._units[member]], weight.t())

    def unhide(self, rows: slice, outputs: Sequence[Tensor]) -> None:
        """Takes the gradients of each member's outputs back through the hidden layers."""
        gradient = self._gradient[rows]
        for units, output, (weight, _) in zip(self._units, outputs, self._outputs, strict=True):
            torch.mm(output.to(weight.dtype), weight, out=gradient[:, units])
        _keep_where_positive(gradient, self._hidden[rows])

    def input_gradient(self, rows: slice) -> Tensor:
        """Returns the gradient of some rows of the input, once they have been taken back."""
        return torch.mm(self._gradient[rows], self._weight)

    def gradients(self, outputs: Sequence[Tensor]) -> list[list[Tensor]]:
        """Returns the gradients of each member's parameters, once all rows have been taken back.

        Args:
          outputs: gradient of each member's outputs, all rows.
        """
        column = self._bias_column
        hidden_IU = torch.mm(self._inputs.t(), self._gradient).float()
        weight_IU = torch.cat([hidden_IU[:column], hidden_IU[column + 1 :]])
        result = []
        for units, gradient in zip(self._units, outputs, strict=True):
            out_weight = torch.mm(gradient.to(self._hidden.dtype).t(), self._hidden[:, units]).float()
            result.append([weight_IU[:, units].t(), hidden_IU[column, units], out_weight, gradient.sum(dim=0)])
        return result


_BFLOAT16_MINUS_INFINITY = -128
"""The bits of -inf as an int16. Positive bfloat16 numbers have positive bits; NaNs with a sign lie above this."""


def _relu(x: Tensor) -> None:
    """Replaces negative numbers by 0, keeping NaN; of bfloat16 by their bits, which is four times as fast."""
    if x.dtype == torch.bfloat16:
        torch.threshold_(x.view(torch.int16), _BFLOAT16_MINUS_INFINITY, 0)
    else:
        torch.threshold_(x, 0.0, 0.0)


def _keep_where_positive(gradient: Tensor, x: Tensor) -> None:
    """Replaces gradients by 0 where x is not positive, likewise."""
    if x.dtype == torch.bfloat16:
        gradient, x = gradient.view(torch.int16), x.view(torch.int16)
    torch.ops.aten.threshold_backward.grad_input(gradient, x, 0, grad_input=gradient)


@_kernel
def _scale(activation_BS: Array, state_BS: Array) -> None:
    """Applies the ReLU in place and writes the scaled state."""
    zero = np.float32(0)
    for b in range(activation_BS.shape[0]):
        low, high = np.float32(np.inf), zero
        for s in range(activation_BS.shape[1]):
            value = activation_BS[b, s]
            value = zero if value < zero else value  # this way round, NaN stays NaN
            activation_BS[b, s] = value
            low, high = min(low, value), max(high, value)
        scale = np.float32(1) / max(high - low, np.float32(MIN_SPAN))
        for s in range(activation_BS.shape[1]):
            state_BS[b, s] = (activation_BS[b, s] - low) * scale


@_kernel
def _unscale(activation_BS: Array, gradient_BS: Array) -> None:
    """Replaces the gradient of scaled states by that of what entered the ReLU."""
    zero = np.float32(0)
    num_features = activation_BS.shape[1]
    for b in range(activation_BS.shape[0]):
        lowest, highest = 0, 0
        for s in range(1, num_features):
            lowest = s if activation_BS[b, s] < activation_BS[b, lowest] else lowest
            highest = s if activation_BS[b, s] > activation_BS[b, highest] else highest
        low = activation_BS[b, lowest]
        span = activation_BS[b, highest] - low
        scale = np.float32(1) / max(span, np.float32(MIN_SPAN))
        total, along = zero, zero
        for s in range(num_features):
            gradient = gradient_BS[b, s] * scale
            gradient_BS[b, s] = gradient
            total += gradient
            along += gradient * (activation_BS[b, s] - low)
        along = along * scale if span > np.float32(MIN_SPAN) else zero
        gradient_BS[b, highest] -= along
        gradient_BS[b, lowest] += along - total
        for s in range(num_features):
            gradient_BS[b, s] = gradient_BS[b, s] if activation_BS[b, s] > zero else zero
