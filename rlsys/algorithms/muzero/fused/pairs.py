"""Two perceptrons that share an input: the products of their hidden layers are one.

Shape legend: B batch, D state features, A actions, I inputs of a product with bfloat16, U hidden units of both, P
outputs, padded with zeros to full vector registers.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.muzero.fused.kernels import add_bias_and_relu, append_one_hot_and_one, relu_of_bits
from rlsys.algorithms.muzero.fused.perceptrons import TwoLayers, joined_input, padded_output, split_input
from rlsys.types import Array


class Buffer:
    """A float32 tensor and the array that shares its memory: making one from the other takes as long as filling it."""

    def __init__(self, *shape: int) -> None:
        self.tensor = torch.empty(shape)
        self.array: Array = self.tensor.numpy()


class Pair(Protocol):
    """Two perceptrons on one input; both outputs `[B, P]` in float32, without their biases, in kept buffers."""

    num_hidden: int

    def __call__(self, input_BD: Tensor, action_B: Array) -> tuple[Array, Array]:
        """Returns both outputs; the next call overwrites them."""

    def reserve(self, batch_size: int, hidden: Tensor) -> None:
        """Makes buffers for so many rows; hidden units go into the given memory, `[≥ batch_size * num_hidden]`."""


class Float32Pair:
    """A pair with products of float32.

    The columns of the input layer that belong to one-hot actions are added to its bias, one row per action: so the
    product keeps to the state's features, and the bias is added in the same pass that applies the ReLU.
    """

    def __init__(self, first: TwoLayers, second: TwoLayers, num_actions: int) -> None:
        self._input_DU, bias_AU = split_input(first, second, num_actions)
        self._bias_AU = bias_AU.numpy()
        self._output_weights = padded_output(first), padded_output(second)
        self.num_hidden = self._input_DU.shape[1]

    def reserve(self, batch_size: int, hidden: Tensor) -> None:
        """See `Pair`."""
        self._hidden_BU = hidden[: batch_size * self.num_hidden].view(batch_size, self.num_hidden)
        self._hidden_array_BU = self._hidden_BU.numpy()
        first, second = self._output_weights
        self._halves = self._hidden_BU[:, : len(first)], self._hidden_BU[:, len(first) :]
        self._outputs = Buffer(batch_size, first.shape[1]), Buffer(batch_size, second.shape[1])

    def __call__(self, input_BD: Tensor, action_B: Array) -> tuple[Array, Array]:
        """See `Pair`."""
        torch.mm(input_BD, self._input_DU, out=self._hidden_BU)
        add_bias_and_relu(self._hidden_array_BU, self._bias_AU, action_B)
        first, second = self._outputs
        torch.mm(self._halves[0], self._output_weights[0], out=first.tensor)
        torch.mm(self._halves[1], self._output_weights[1], out=second.tensor)
        return first.array, second.array


class BFloat16Pair:
    """A pair with products of bfloat16.

    Such a product takes longer to start than to do at these sizes, so there are only two: the input carries the one-hot
    action and a 1 for the bias, and the output layers are the blocks of one matrix.
    """

    def __init__(self, first: TwoLayers, second: TwoLayers, num_actions: int) -> None:
        weight_UI, bias_U = joined_input(first, second)
        output_weights = padded_output(first), padded_output(second)
        self._input_IU = torch.cat([weight_UI, bias_U[:, None]], dim=1).t().contiguous().bfloat16()
        self._output_UP = torch.cat(
            [
                functional.pad(output_weights[0], (0, output_weights[1].shape[1])),
                functional.pad(output_weights[1], (output_weights[0].shape[1], 0)),
            ]
        ).bfloat16()
        self._num_first = output_weights[0].shape[1]
        self.num_hidden = self._input_IU.shape[1]

    def reserve(self, batch_size: int, hidden: Tensor) -> None:
        """See `Pair`."""
        num_inputs, num_outputs = len(self._input_IU), self._output_UP.shape[1]
        self._exact_input = Buffer(batch_size, num_inputs)
        self._input_BI = torch.empty(batch_size, num_inputs, dtype=torch.bfloat16)
        self._hidden_BU = hidden[: batch_size * self.num_hidden].view(batch_size, self.num_hidden)
        self._hidden_bits_BU = self._hidden_BU.view(torch.int16).numpy()
        self._output_BP = torch.empty(batch_size, num_outputs, dtype=torch.bfloat16)
        self._output = Buffer(batch_size, num_outputs)
        self._outputs = self._output.array[:, : self._num_first], self._output.array[:, self._num_first :]

    def __call__(self, input_BD: Tensor, action_B: Array) -> tuple[Array, Array]:
        """See `Pair`."""
        append_one_hot_and_one(input_BD.numpy(), action_B, self._exact_input.array)
        self._input_BI.copy_(self._exact_input.tensor)
        torch.mm(self._input_BI, self._input_IU, out=self._hidden_BU)
        relu_of_bits(self._hidden_bits_BU)
        torch.mm(self._hidden_BU, self._output_UP, out=self._output_BP)
        self._output.tensor.copy_(self._output_BP)
        return self._outputs
