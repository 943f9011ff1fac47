# mypy: disallow-untyped-decorators=False
"""Fast inference of small fully connected world models, for search: layers that share an input are one matrix product.

The networks are MuZero's for vector observations (Schrittwieser et al. 2020, https://arxiv.org/abs/1911.08265), each of
the five functions a perceptron with one hidden layer. Next state and reward read the same input, and so do value and
policy: one recurrent inference is two wide products with two narrow ones behind each. On a CPU the products are BLAS
calls into buffers that are kept, and what lies between them is compiled: one pass over memory where torch needs many.

Shape legend: B batch, O observation features, D state features, A actions, U hidden units of both perceptrons of a
pair, V atoms of a support, P outputs of a perceptron, padded with zeros to full vector registers.
"""

import math
from typing import Literal, Protocol

import numpy as np
import torch
from numba import njit
from torch import Tensor, nn
from torch.nn import functional

from rlsys.errors import WorkerError
from rlsys.types import Array

Perceptron = tuple[nn.Linear, nn.Linear]
"""Input and output layer; a ReLU lies between them."""
Support = tuple[int, int]
"""Lowest and highest integer atom of a categorical value or reward."""

_TRANSFORM_EPSILON = 0.001  # of h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x, appendix F of the paper
_MIN_SPAN = 1e-5  # a state that is constant becomes 0, not NaN
_LANES = 16  # float32 numbers in the widest vector register

_kernel = njit(cache=True, nogil=True, error_model="numpy")
_inlined_kernel = njit(inline="always", error_model="numpy")


class FusedFC:
    """MuZero's fully connected networks, packed for inference from a snapshot of their weights.

    It does not follow later changes of the layers: build a new one after each, which takes about a millisecond. Not to
    be shared between threads, as intermediate results live in its buffers; what it returns is the caller's.
    """

    def __init__(
        self,
        *,
        representation: Perceptron,
        dynamics: Perceptron,
        reward: Perceptron,
        value: Perceptron,
        policy: Perceptron,
        num_actions: int,
        value_support: Support | None,
        reward_support: Support | None,
        inverse_transform: bool = True,
        precision: Literal["float32", "bfloat16"] = "float32",
        compiled: bool | None = None,
    ) -> None:
        """Packs the weights.

        Args:
          representation: observation `[O]` -> state `[D]`, which then passes a ReLU and is scaled to [0, 1].
          dynamics: state and one-hot action `[D + A]` -> next state `[D]`, likewise.
          reward: state and one-hot action `[D + A]` -> logits of the reward's atoms, or the reward itself `[1]`.
          value: state `[D]` -> logits of the value's atoms, or the value itself `[1]`.
          policy: state `[D]` -> logits `[A]`.
          num_actions: A.
          value_support: atoms of the value, None where the network predicts a scalar.
          reward_support: atoms of the reward, likewise.
          inverse_transform: True where values and rewards are predicted as h(x), so that h⁻¹ must bring them back.
          precision: of the pairs' products; "bfloat16" pays from about 100 rows on a CPU that multiplies it natively.
          compiled: use compiled passes and kept buffers, which needs a CPU; None for wherever that is possible.

        Raises:
          WorkerError: a weight is not finite.
        """
        _check_finite(representation=representation, dynamics=dynamics, reward=reward, value=value, policy=policy)
        if compiled is None:
            compiled = policy[0].weight.is_cpu
        pair = _TorchPair if not compiled else _Float32Pair if precision == "float32" else _BFloat16Pair
        self._representation = tuple(_detached(layer) for layer in representation)
        self._dynamics: _Pair = pair(dynamics, reward, num_actions, precision)
        self._prediction: _Pair = pair(value, policy, 0, precision)
        self._initial_state = _StateHead(representation, compiled)
        self._next_state = _StateHead(dynamics, compiled)
        self._reward = _ScalarHead(reward, reward_support, inverse_transform, compiled)
        self._value = _ScalarHead(value, value_support, inverse_transform, compiled)
        _, self._policy_bias_A = _detached(policy[1])

    def initial(self, observation_BO: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns value `[B]`, prior_logits `[B, A]` and embedding `[B, D]` of float32 observations."""
        (input_weight, input_bias), (output_weight, _) = self._representation
        hidden_BU = functional.relu(functional.linear(observation_BO, input_weight, input_bias))
        embedding_BD = self._initial_state(functional.linear(hidden_BU, output_weight))
        value_B, prior_logits_BA = self._predict(embedding_BD)
        return value_B, prior_logits_BA, embedding_BD

    def recurrent(self, embedding_BD: Tensor, action_B: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns value `[B]`, reward `[B]`, prior_logits `[B, A]` and the next embedding `[B, D]`, in float32.

        Args:
          embedding_BD: contiguous float32, as returned by `initial` and by this function.
          action_B: int64.
        """
        state_BP, reward_BP = self._dynamics(embedding_BD, action_B)
        reward_B = self._reward(reward_BP)
        next_embedding_BD = self._next_state(state_BP)
        value_B, prior_logits_BA = self._predict(next_embedding_BD)
        return value_B, reward_B, prior_logits_BA, next_embedding_BD

    def _predict(self, embedding_BD: Tensor) -> tuple[Tensor, Tensor]:
        value_BP, policy_BP = self._prediction(embedding_BD, None)
        return self._value(value_BP), policy_BP[:, : len(self._policy_bias_A)] + self._policy_bias_A


class _Pair(Protocol):
    """Two perceptrons on one input; returns both outputs `[B, P]` in float32 without their biases, in reused buffers."""

    def __call__(self, input_BD: Tensor, action_B: Tensor | None) -> tuple[Tensor, Tensor]: ...


class _Float32Pair:
    """Compiled, in float32.

    The columns of the input layer that belong to one-hot actions are added to its bias, one row per action: so the
    product keeps to the state's features, and the bias is added in the same pass that applies the ReLU.
    """

    def __init__(self, first: Perceptron, second: Perceptron, num_actions: int, precision: str) -> None:
        self._input_DU, bias_AU = _split_input(first, second, num_actions)
        self._bias_AU = bias_AU.numpy()
        self._outputs = (_padded_output(first), _padded_output(second))
        self._reserve(0)

    def __call__(self, input_BD: Tensor, action_B: Tensor | None) -> tuple[Tensor, Tensor]:
        if len(input_BD) != self._batch_size:
            self._reserve(len(input_BD))
        torch.mm(input_BD, self._input_DU, out=self._hidden_BU)
        _add_bias_and_relu(
            self._hidden_array_BU, self._bias_AU, self._no_action_B if action_B is None else action_B.numpy()
        )
        for hidden, weight, result in zip(self._halves, self._outputs, self._results, strict=True):
            torch.mm(hidden, weight, out=result)
        return self._results

    def _reserve(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._hidden_BU = torch.empty(batch_size, self._input_DU.shape[1])
        self._hidden_array_BU = self._hidden_BU.numpy()
        self._halves = self._hidden_BU.split([len(weight) for weight in self._outputs], dim=1)
        first, second = self._outputs
        self._results = torch.empty(batch_size, first.shape[1]), torch.empty(batch_size, second.shape[1])
        self._no_action_B = np.zeros(batch_size, np.int64)


class _BFloat16Pair:
    """Compiled, with products of bfloat16.

    Such a product takes longer to start than to do at these sizes, so there are only two: the input carries the one-hot
    action and a 1 for the bias, and the output layers are the blocks of one matrix.
    """

    def __init__(self, first: Perceptron, second: Perceptron, num_actions: int, precision: str) -> None:
        weight_UI, bias_U = _joined_input(first, second)
        outputs = (_padded_output(first), _padded_output(second))
        self._num_actions = num_actions
        self._input_IU = torch.cat([weight_UI, bias_U[:, None]], dim=1).t().contiguous().bfloat16()
        self._output_UP = torch.block_diag(*outputs).bfloat16()
        self._widths = [weight.shape[1] for weight in outputs]
        self._reserve(0)

    def __call__(self, input_BD: Tensor, action_B: Tensor | None) -> tuple[Tensor, Tensor]:
        if len(input_BD) != self._batch_size:
            self._reserve(len(input_BD))
        _append_one_hot_and_one(
            input_BD.numpy(), self._no_action_B if action_B is None else action_B.numpy(), self._input_array_BI
        )
        self._rounded_BI.copy_(self._input_BI)
        torch.mm(self._rounded_BI, self._input_IU, out=self._hidden_BU)
        _relu_of_bits(self._hidden_bits_BU)
        torch.mm(self._hidden_BU, self._output_UP, out=self._output_BP)
        self._result_BP.copy_(self._output_BP)
        return self._results

    def _reserve(self, batch_size: int) -> None:
        self._batch_size = batch_size
        num_inputs, num_hidden = self._input_IU.shape
        num_outputs = sum(self._widths)
        self._input_BI = torch.empty(batch_size, num_inputs)
        self._input_array_BI = self._input_BI.numpy()
        self._rounded_BI = torch.empty(batch_size, num_inputs, dtype=torch.bfloat16)
        self._hidden_BU = torch.empty(batch_size, num_hidden, dtype=torch.bfloat16)
        self._hidden_bits_BU = self._hidden_BU.view(torch.int16).numpy()
        self._output_BP = torch.empty(batch_size, num_outputs, dtype=torch.bfloat16)
        self._result_BP = torch.empty(batch_size, num_outputs)
        first, second = self._result_BP.split(self._widths, dim=1)
        self._results = first, second
        self._no_action_B = np.zeros(batch_size, np.int64)


class _TorchPair:
    """On any device and in either precision, with torch's own functions."""

    def __init__(self, first: Perceptron, second: Perceptron, num_actions: int, precision: str) -> None:
        self._dtype: torch.dtype = getattr(torch, precision)
        input_DU, bias_AU = _split_input(first, second, num_actions)
        self._input_DU, self._bias_AU = input_DU.to(self._dtype), bias_AU.to(self._dtype)
        self._outputs = (_padded_output(first).to(self._dtype), _padded_output(second).to(self._dtype))

    def __call__(self, input_BD: Tensor, action_B: Tensor | None) -> tuple[Tensor, Tensor]:
        bias_BU = self._bias_AU if action_B is None else self._bias_AU[action_B]
        hidden_BU = functional.relu(input_BD.to(self._dtype) @ self._input_DU + bias_BU)
        first_BU, second_BU = hidden_BU.split([len(weight) for weight in self._outputs], dim=1)
        return (first_BU @ self._outputs[0]).float(), (second_BU @ self._outputs[1]).float()


class _StateHead:
    """Adds the bias, applies the ReLU and scales each state to [0, 1] by its own minimum and maximum."""

    def __init__(self, perceptron: Perceptron, compiled: bool) -> None:
        _, self._bias_D = _detached(perceptron[1])
        self._bias_array_D = self._bias_D.numpy() if compiled else None

    def __call__(self, raw_BP: Tensor) -> Tensor:
        if self._bias_array_D is not None:
            state_BD = np.empty((len(raw_BP), self._bias_array_D.size), np.float32)
            _scale_state(raw_BP.numpy(), self._bias_array_D, state_BD)
            return torch.from_numpy(state_BD)
        activation_BD = functional.relu(raw_BP[:, : len(self._bias_D)] + self._bias_D)
        low_B1, high_B1 = activation_BD.aminmax(dim=1, keepdim=True)
        return (activation_BD - low_B1) / (high_B1 - low_B1).clamp_min(_MIN_SPAN)


class _ScalarHead:
    """Adds the bias, takes the expectation over the support's atoms if there is one, and inverts h."""

    def __init__(self, perceptron: Perceptron, support: Support | None, invert: bool, compiled: bool) -> None:
        _, self._bias_V = _detached(perceptron[1])
        low, high = support or (0, 0)
        assert len(self._bias_V) == high - low + 1, (len(self._bias_V), support)
        self._bias_array_V = self._bias_V.numpy() if compiled else None
        self._atoms_V = torch.arange(low, high + 1, dtype=torch.float32, device=self._bias_V.device)
        self._low, self._is_categorical, self._invert = low, support is not None, invert

    def __call__(self, raw_BP: Tensor) -> Tensor:
        if self._bias_array_V is not None:
            array_B = np.empty(len(raw_BP), np.float32)
            _decode(raw_BP.numpy(), self._bias_array_V, self._low, self._is_categorical, self._invert, array_B)
            return torch.from_numpy(array_B)
        output_BV = raw_BP[:, : len(self._bias_V)] + self._bias_V
        scalar_B = output_BV.softmax(dim=1) @ self._atoms_V if self._is_categorical else output_BV[:, 0]
        if not self._invert:
            return scalar_B
        root_B = torch.sqrt(1 + 4 * _TRANSFORM_EPSILON * (scalar_B.abs() + 1 + _TRANSFORM_EPSILON))
        return scalar_B.sign() * (((root_B - 1) / (2 * _TRANSFORM_EPSILON)) ** 2 - 1)


def _check_finite(**perceptrons: Perceptron) -> None:
    for name, layers in perceptrons.items():
        parameters = [parameter for layer in layers for parameter in layer.parameters()]
        if not all(bool(parameter.isfinite().all()) for parameter in parameters):
            raise WorkerError(
                f"the {name} network has weights that are not finite; search needs numbers. Go back to the last good "
                "checkpoint, and clip gradients or lower the learning rate."
            )


def _detached(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    return layer.weight.detach().clone(), layer.bias.detach().clone()


def _joined_input(first: Perceptron, second: Perceptron) -> tuple[Tensor, Tensor]:
    layers = (_detached(first[0]), _detached(second[0]))
    return torch.cat([weight for weight, _ in layers]), torch.cat([bias for _, bias in layers])


def _split_input(first: Perceptron, second: Perceptron, num_actions: int) -> tuple[Tensor, Tensor]:
    weight_UI, bias_U = _joined_input(first, second)
    num_features = weight_UI.shape[1] - num_actions
    bias_AU = bias_U + weight_UI[:, num_features:].t() if num_actions else bias_U[None]
    return weight_UI[:, :num_features].t().contiguous(), bias_AU.contiguous()


def _padded_output(perceptron: Perceptron) -> Tensor:
    weight, _ = _detached(perceptron[1])
    return functional.pad(weight, (0, 0, 0, -len(weight) % _LANES)).t().contiguous()


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
    num_features = input_BD.shape[1]
    num_inputs = output_BI.shape[1]
    for b in range(output_BI.shape[0]):
        output_BI[b, :num_features] = input_BD[b]
        output_BI[b, num_features : num_inputs - 1] = 0
        output_BI[b, num_features + action_B[b]] = 1
        output_BI[b, num_inputs - 1] = 1


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
        span = max(high - low, np.float32(_MIN_SPAN))
        for d in range(state_BD.shape[1]):
            state_BD[b, d] = (state_BD[b, d] - low) / span


@_inlined_kernel
def _exp(x: float) -> float:
    """Returns e^x for x <= 0 to 13 digits as (e^(x/1024))^1024: no library call, so loops over it vectorise."""
    y = max(x, -700.0) * (1.0 / 1024.0)
    power = 1.0 + y * (1.0 + y * (1 / 2 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120 + y * (1 / 720))))))
    for _ in range(10):
        power *= power
    return power


@_kernel
def _decode(raw_BP: Array, bias_V: Array, low: int, is_categorical: bool, invert: bool, scalar_B: Array) -> None:
    num_rows = scalar_B.size
    expectation_B = _expectation(raw_BP, bias_V, low) if is_categorical else raw_BP[:, 0].astype(np.float64) + bias_V[0]
    for b in range(num_rows):
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
