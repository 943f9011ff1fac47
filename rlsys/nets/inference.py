# mypy: disallow-untyped-decorators=False
"""Fast inference of small fully connected world models, for search: layers that share an input are one matrix product.

The networks are MuZero's for vector observations (Schrittwieser et al. 2020, https://arxiv.org/abs/1911.08265), each of
the five functions a perceptron with one hidden layer. Next state and reward read the same input, and so do value and
policy: one recurrent inference is two wide products with two narrow ones behind each. On a CPU the products are BLAS
calls into buffers that are kept, and what lies between them is compiled: one pass over memory where torch needs many.

Shape legend: B batch, O observation features, D state features, A actions, I inputs of a product with bfloat16, U
hidden units of both perceptrons of a pair, V atoms of a support, P outputs, padded with zeros to full vector registers.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.compiled import njit
from rlsys.errors import WorkerError
from rlsys.nets.scaling import MIN_SPAN, min_max_scale
from rlsys.ops.support import support_mean
from rlsys.ops.value_transform import signed_parabolic
from rlsys.types import Array

Perceptron = tuple[nn.Linear, nn.Linear]
"""Input and output layer; a ReLU lies between them."""
Support = tuple[int, int]
"""Lowest and highest integer atom of a categorical value or reward."""
Precision = Literal["float32", "bfloat16"]
Recurrent = tuple[Tensor, Tensor, Tensor, Tensor]
"""value `[B]`, reward `[B]`, prior_logits `[B, A]`, embedding `[B, D]`."""

_TRANSFORM_EPSILON = 1e-3  # of h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x, appendix F of the paper
_LANES = 16  # float32 numbers in the widest vector register

_kernel = njit(cache=True, nogil=True, error_model="numpy")
_inlined_kernel = njit(inline="always", error_model="numpy")


@dataclass(frozen=True)
class FullyConnected:
    """MuZero's five functions as perceptrons.

    Attributes:
      representation: observation `[O]` -> state `[D]`, which then passes a ReLU and is scaled to [0, 1].
      dynamics: state and one-hot action `[D + A]` -> next state `[D]`, likewise.
      reward: state and one-hot action `[D + A]` -> logits of the reward's atoms, or the reward itself `[1]`.
      value: state `[D]` -> logits of the value's atoms, or the value itself `[1]`.
      policy: state `[D]` -> logits `[A]`.
      num_actions: A.
      value_support: atoms of the value, None where the network predicts a scalar.
      reward_support: atoms of the reward, likewise.
      inverse_transform: True where values and rewards are predicted as h(x), so that h⁻¹ must bring them back.

    Raises:
      WorkerError: a weight is not finite.
    """

    representation: Perceptron
    dynamics: Perceptron
    reward: Perceptron
    value: Perceptron
    policy: Perceptron
    num_actions: int
    value_support: Support | None
    reward_support: Support | None
    inverse_transform: bool = True

    def __post_init__(self) -> None:
        for head, support in ((self.value, self.value_support), (self.reward, self.reward_support)):
            num_outputs = 1 if support is None else support[1] - support[0] + 1
            assert head[1].out_features == num_outputs, (head[1].out_features, support)
        for name in ("representation", "dynamics", "reward", "value", "policy"):
            parameters = [parameter for layer in getattr(self, name) for parameter in layer.parameters()]
            if not all(bool(parameter.isfinite().all()) for parameter in parameters):
                raise WorkerError(
                    f"the {name} network has weights that are not finite; search needs numbers. Go back to the last "
                    "good checkpoint, and clip gradients or lower the learning rate."
                )


class FusedFC:
    """Inference with a snapshot of fully connected networks.

    It does not follow later changes of the layers: build a new one after each, which takes about a millisecond. Not to
    be shared between threads, as intermediate results live in its buffers.
    """

    def __init__(
        self, networks: FullyConnected, *, precision: Precision = "float32", compiled: bool | None = None
    ) -> None:
        """Packs the weights.

        Args:
          networks: layers, copied; all of them on one device.
          precision: of the products; "bfloat16" pays from about 100 rows on a CPU that multiplies it natively.
          compiled: use compiled passes and kept buffers, which needs a CPU; None for wherever that is possible.
        """
        if compiled is None:
            compiled = networks.policy[0].weight.is_cpu
        self._network: _Network = _Compiled(networks, precision) if compiled else _Eager(networks, precision)

    def initial(self, observation_BO: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns value `[B]`, prior_logits `[B, A]` and embedding `[B, D]` of float32 observations, new each time."""
        return self._network.initial(observation_BO)

    def recurrent(self, embedding_BD: Tensor, action_B: Tensor) -> Recurrent:
        """Returns value `[B]`, reward `[B]`, prior_logits `[B, A]` and next embedding `[B, D]`, all in float32.

        Compiled, it returns the same tensors each time: the next call with as many rows overwrites them.

        Args:
          embedding_BD: contiguous float32, from `initial` or from here.
          action_B: int64.
        """
        return self._network.recurrent(embedding_BD, action_B)


class _Network(Protocol):
    def initial(self, observation_BO: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...
    def recurrent(self, embedding_BD: Tensor, action_B: Tensor) -> Recurrent: ...


class _Eager:
    """On any device, with torch's own functions."""

    def __init__(self, networks: FullyConnected, precision: Precision) -> None:
        dtype = getattr(torch, precision)
        self._networks = networks
        self._representation = [_detached(layer) for layer in networks.representation]
        self._dynamics = _EagerPair(networks.dynamics, networks.reward, networks.num_actions, dtype)
        self._prediction = _EagerPair(networks.value, networks.policy, 0, dtype)

    def initial(self, observation_BO: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        input_layer, output_layer = self._representation
        hidden_BU = functional.relu(functional.linear(observation_BO, *input_layer))
        embedding_BD = min_max_scale(functional.relu(functional.linear(hidden_BU, *output_layer)))
        value_BV, prior_logits_BA = self._prediction(embedding_BD, None)
        return self._scalar(value_BV, self._networks.value_support), prior_logits_BA, embedding_BD

    def recurrent(self, embedding_BD: Tensor, action_B: Tensor) -> Recurrent:
        state_BD, reward_BV = self._dynamics(embedding_BD, action_B)
        next_embedding_BD = min_max_scale(functional.relu(state_BD))
        value_BV, prior_logits_BA = self._prediction(next_embedding_BD, None)
        reward_B = self._scalar(reward_BV, self._networks.reward_support)
        return self._scalar(value_BV, self._networks.value_support), reward_B, prior_logits_BA, next_embedding_BD

    def _scalar(self, output_BV: Tensor, support: Support | None) -> Tensor:
        scalar_B = output_BV[:, 0] if support is None else support_mean(output_BV, support[0])
        return signed_parabolic(scalar_B, _TRANSFORM_EPSILON) if self._networks.inverse_transform else scalar_B


class _EagerPair:
    """Two perceptrons on one input; both outputs in float32."""

    def __init__(self, first: Perceptron, second: Perceptron, num_actions: int, dtype: torch.dtype) -> None:
        weight_DU, bias_AU = _split_input(first, second, num_actions)
        self._input = weight_DU.to(dtype), bias_AU.to(dtype)
        outputs = [_detached(layer) for _, layer in (first, second)]
        self._outputs = [(weight.t().to(dtype), bias) for weight, bias in outputs]

    def __call__(self, input_BD: Tensor, action_B: Tensor | None) -> list[Tensor]:
        weight_DU, bias_AU = self._input
        hidden_BU = functional.relu(
            input_BD.to(weight_DU.dtype) @ weight_DU + (bias_AU if action_B is None else bias_AU[action_B])
        )
        halves = torch.split(hidden_BU, [len(weight) for weight, _ in self._outputs], dim=1)
        return [(half @ weight).float() + bias for half, (weight, bias) in zip(halves, self._outputs, strict=True)]


class _Buffer:
    """A float32 tensor and the array that shares its memory: making one from the other takes as long as filling it."""

    def __init__(self, *shape: int) -> None:
        self.tensor = torch.empty(shape)
        self.array: Array = self.tensor.numpy()


class _Compiled:
    """On the CPU, with kept buffers and one compiled pass after each product."""

    def __init__(self, networks: FullyConnected, precision: Precision) -> None:
        pair = _Float32Pair if precision == "float32" else _BFloat16Pair
        self._dtype: torch.dtype = getattr(torch, precision)
        self._representation = [_detached(layer) for layer in networks.representation]
        self._dynamics: _Pair = pair(networks.dynamics, networks.reward, networks.num_actions)
        self._prediction: _Pair = pair(networks.value, networks.policy, 0)
        _, self._initial_bias_D = (parameter.numpy() for parameter in self._representation[1])
        self._state_bias_D, self._reward_bias_V, self._value_bias_V, self._policy_bias_A = (
            _detached(layer)[1].numpy()
            for _, layer in (networks.dynamics, networks.reward, networks.value, networks.policy)
        )
        self._reward_code = _decoding(networks.reward_support, networks.inverse_transform)
        self._value_code = _decoding(networks.value_support, networks.inverse_transform)
        self._batch_size = -1

    def initial(self, observation_BO: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if len(observation_BO) != self._batch_size:
            self._reserve(len(observation_BO))
        input_layer, (output_weight, _) = self._representation
        hidden_BU = functional.relu(functional.linear(observation_BO, *input_layer))
        state_BD = functional.linear(hidden_BU, output_weight)
        _scale_state(state_BD.numpy(), self._initial_bias_D, self._embedding.array)
        self._predict()
        return self._value.tensor.clone(), self._prior_logits.tensor.clone(), self._embedding.tensor.clone()

    def recurrent(self, embedding_BD: Tensor, action_B: Tensor) -> Recurrent:
        if len(embedding_BD) != self._batch_size:
            self._reserve(len(embedding_BD))
        state_BP, reward_BP = self._dynamics(embedding_BD, action_B.numpy())
        _decode(reward_BP, self._reward_bias_V, *self._reward_code, self._reward.array)
        _scale_state(state_BP, self._state_bias_D, self._embedding.array)
        self._predict()
        return self._output

    def _predict(self) -> None:
        value_BP, policy_BP = self._prediction(self._embedding.tensor, self._no_action_B)
        _decode(value_BP, self._value_bias_V, *self._value_code, self._value.array)
        _add_bias(policy_BP, self._policy_bias_A, self._prior_logits.array)

    @torch.inference_mode(False)  # buffers made within it could not be written outside it
    def _reserve(self, batch_size: int) -> None:
        self._batch_size = batch_size
        # Both pairs use the same memory for hidden units, which leaves more of the cache to the weights.
        num_hidden = max(self._dynamics.num_hidden, self._prediction.num_hidden)
        hidden = torch.empty(batch_size * num_hidden, dtype=self._dtype)
        self._dynamics.reserve(batch_size, hidden)
        self._prediction.reserve(batch_size, hidden)
        self._value, self._reward = _Buffer(batch_size), _Buffer(batch_size)
        self._prior_logits = _Buffer(batch_size, self._policy_bias_A.size)
        self._embedding = _Buffer(batch_size, self._state_bias_D.size)
        self._output = self._value.tensor, self._reward.tensor, self._prior_logits.tensor, self._embedding.tensor
        self._no_action_B = np.zeros(batch_size, np.int64)


class _Pair(Protocol):
    """Two perceptrons on one input; both outputs `[B, P]` in float32, without their biases, in kept buffers."""

    num_hidden: int

    def __call__(self, input_BD: Tensor, action_B: Array) -> tuple[Array, Array]: ...
    def reserve(self, batch_size: int, hidden: Tensor) -> None: ...


class _Float32Pair:
    """A pair with products of float32.

    The columns of the input layer that belong to one-hot actions are added to its bias, one row per action: so the
    product keeps to the state's features, and the bias is added in the same pass that applies the ReLU.
    """

    def __init__(self, first: Perceptron, second: Perceptron, num_actions: int) -> None:
        self._input_DU, bias_AU = _split_input(first, second, num_actions)
        self._bias_AU = bias_AU.numpy()
        self._output_weights = _padded_output(first), _padded_output(second)
        self.num_hidden = self._input_DU.shape[1]

    def reserve(self, batch_size: int, hidden: Tensor) -> None:
        self._hidden_BU = hidden[: batch_size * self.num_hidden].view(batch_size, self.num_hidden)
        self._hidden_array_BU = self._hidden_BU.numpy()
        first, second = self._output_weights
        self._halves = self._hidden_BU[:, : len(first)], self._hidden_BU[:, len(first) :]
        self._outputs = _Buffer(batch_size, first.shape[1]), _Buffer(batch_size, second.shape[1])

    def __call__(self, input_BD: Tensor, action_B: Array) -> tuple[Array, Array]:
        torch.mm(input_BD, self._input_DU, out=self._hidden_BU)
        _add_bias_and_relu(self._hidden_array_BU, self._bias_AU, action_B)
        first, second = self._outputs
        torch.mm(self._halves[0], self._output_weights[0], out=first.tensor)
        torch.mm(self._halves[1], self._output_weights[1], out=second.tensor)
        return first.array, second.array


class _BFloat16Pair:
    """A pair with products of bfloat16.

    Such a product takes longer to start than to do at these sizes, so there are only two: the input carries the one-hot
    action and a 1 for the bias, and the output layers are the blocks of one matrix.
    """

    def __init__(self, first: Perceptron, second: Perceptron, num_actions: int) -> None:
        weight_UI, bias_U = _joined_input(first, second)
        output_weights = _padded_output(first), _padded_output(second)
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
        num_inputs, num_outputs = len(self._input_IU), self._output_UP.shape[1]
        self._exact_input = _Buffer(batch_size, num_inputs)
        self._input_BI = torch.empty(batch_size, num_inputs, dtype=torch.bfloat16)
        self._hidden_BU = hidden[: batch_size * self.num_hidden].view(batch_size, self.num_hidden)
        self._hidden_bits_BU = self._hidden_BU.view(torch.int16).numpy()
        self._output_BP = torch.empty(batch_size, num_outputs, dtype=torch.bfloat16)
        self._output = _Buffer(batch_size, num_outputs)
        self._outputs = self._output.array[:, : self._num_first], self._output.array[:, self._num_first :]

    def __call__(self, input_BD: Tensor, action_B: Array) -> tuple[Array, Array]:
        _append_one_hot_and_one(input_BD.numpy(), action_B, self._exact_input.array)
        self._input_BI.copy_(self._exact_input.tensor)
        torch.mm(self._input_BI, self._input_IU, out=self._hidden_BU)
        _relu_of_bits(self._hidden_bits_BU)
        torch.mm(self._hidden_BU, self._output_UP, out=self._output_BP)
        self._output.tensor.copy_(self._output_BP)
        return self._outputs


def _detached(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    return layer.weight.detach().clone(), layer.bias.detach().clone()


def _joined_input(first: Perceptron, second: Perceptron) -> tuple[Tensor, Tensor]:
    layers = _detached(first[0]), _detached(second[0])
    return torch.cat([weight for weight, _ in layers]), torch.cat([bias for _, bias in layers])


def _split_input(first: Perceptron, second: Perceptron, num_actions: int) -> tuple[Tensor, Tensor]:
    weight_UI, bias_U = _joined_input(first, second)
    num_features = weight_UI.shape[1] - num_actions
    bias_AU = bias_U + weight_UI[:, num_features:].t() if num_actions else bias_U[None]
    return weight_UI[:, :num_features].t().contiguous(), bias_AU.contiguous()


def _padded_output(perceptron: Perceptron) -> Tensor:
    weight, _ = _detached(perceptron[1])
    return functional.pad(weight, (0, 0, 0, -len(weight) % _LANES)).t().contiguous()


def _decoding(support: Support | None, inverse_transform: bool) -> tuple[bool, int, bool]:
    return support is not None, support[0] if support is not None else 0, inverse_transform


@_kernel
def _add_bias_and_relu(hidden_BU: Array, bias_AU: Array, action_B: Array) -> None:
    zero = np.float32(0)
    for b in range(hidden_BU.shape[0]):
        action = action_B[b]
        for u in range(hidden_BU.shape[1]):
            activation = hidden_BU[b, u] + bias_AU[action, u]
            hidden_BU[b, u] = zero if activation < zero else activation  # this way round, NaN stays NaN


@_kernel
def _relu_of_bits(bits_BU: Array) -> None:
    # A bfloat16 and the int16 of the same bits have the same sign.
    for b in range(bits_BU.shape[0]):
        for u in range(bits_BU.shape[1]):
            bits_BU[b, u] = max(bits_BU[b, u], np.int16(0))


@_kernel
def _append_one_hot_and_one(input_BD: Array, action_B: Array, output_BI: Array) -> None:
    num_features, num_inputs = input_BD.shape[1], output_BI.shape[1]
    for b in range(output_BI.shape[0]):
        output_BI[b, :num_features] = input_BD[b]
        output_BI[b, num_features : num_inputs - 1] = 0
        if num_features < num_inputs - 1:
            output_BI[b, num_features + action_B[b]] = 1
        output_BI[b, num_inputs - 1] = 1


@_kernel
def _add_bias(raw_BP: Array, bias_A: Array, output_BA: Array) -> None:
    for b in range(output_BA.shape[0]):
        for a in range(output_BA.shape[1]):
            output_BA[b, a] = raw_BP[b, a] + bias_A[a]


@_kernel
def _scale_state(raw_BP: Array, bias_D: Array, state_BD: Array) -> None:
    zero = np.float32(0)
    for b in range(state_BD.shape[0]):
        low, high = np.float32(np.inf), zero
        for d in range(state_BD.shape[1]):
            activation = raw_BP[b, d] + bias_D[d]
            activation = zero if activation < zero else activation
            state_BD[b, d] = activation
            low = min(low, activation)
            high = max(high, activation)
        span = max(high - low, np.float32(MIN_SPAN))
        for d in range(state_BD.shape[1]):
            state_BD[b, d] = (state_BD[b, d] - low) / span


@_inlined_kernel
def _exp(x: float) -> float:
    # e^x for x <= 0 to 13 digits, as (e^(x/1024))^1024: without a library call, loops over it vectorise.
    y = max(x, -700.0) * (1.0 / 1024.0)
    power = 1.0 + y * (1.0 + y * (1 / 2 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120 + y * (1 / 720))))))
    for _ in range(10):
        power *= power
    return power


@_kernel
def _decode(raw_BP: Array, bias_V: Array, is_categorical: bool, low: int, invert: bool, scalar_B: Array) -> None:
    expectation_B = _expectation(raw_BP, bias_V, low) if is_categorical else raw_BP[:, 0].astype(np.float64) + bias_V[0]
    for b in range(scalar_B.size):
        x = expectation_B[b]
        if invert:
            root = math.sqrt(1.0 + 4.0 * _TRANSFORM_EPSILON * (abs(x) + 1.0 + _TRANSFORM_EPSILON))
            x = math.copysign(((root - 1.0) / (2.0 * _TRANSFORM_EPSILON)) ** 2 - 1.0, x)
        scalar_B[b] = x


@_kernel
def _expectation(raw_BP: Array, bias_V: Array, low: int) -> Array:
    # Atoms outside, rows inside: then every loop works on neighbouring numbers and vectorises.
    num_rows, num_atoms = raw_BP.shape[0], bias_V.size
    logits_VB = np.empty((num_atoms, num_rows))
    highest_B, total_B, sum_B = np.full(num_rows, -np.inf), np.zeros(num_rows), np.zeros(num_rows)
    for b in range(num_rows):
        for v in range(num_atoms):
            logits_VB[v, b] = raw_BP[b, v] + bias_V[v]
    for v in range(num_atoms):
        for b in range(num_rows):
            highest_B[b] = max(highest_B[b], logits_VB[v, b])
    for v in range(num_atoms):
        for b in range(num_rows):
            logits_VB[v, b] = _exp(logits_VB[v, b] - highest_B[b])
    for v in range(num_atoms):
        for b in range(num_rows):
            total_B[b] += logits_VB[v, b]
            sum_B[b] += logits_VB[v, b] * (low + v)
    return sum_B / total_B
