"""What lies between the matrix products of inference, compiled: each kernel is one pass over memory.

What is compiled into them is all in this file, `_exp` as it is in `rlsys.planning.kernels`, because the cache of the
compiler on disk notices changes of a function's own file alone.

Shape legend: B batch, D state features, A actions, I inputs of a product with bfloat16, U hidden units, V atoms of a
support, P outputs, padded with zeros.
"""

import math

import numpy as np

from rlsys.compiled import njit
from rlsys.nets.scaling import MIN_SPAN
from rlsys.types import Array

TRANSFORM_EPSILON = 1e-3  # of h(x) = sign(x) (sqrt(|x| + 1) - 1) + epsilon x, appendix F of the paper

_kernel = njit(cache=True, nogil=True, error_model="numpy")
_inlined_kernel = njit(inline="always", error_model="numpy")


@_kernel
def add_bias_and_relu(hidden_BU: Array, bias_AU: Array, action_B: Array) -> None:
    """Adds to each row the bias of its action, in place, and replaces negative numbers by 0."""
    zero = np.float32(0)
    for b in range(hidden_BU.shape[0]):
        action = action_B[b]
        for u in range(hidden_BU.shape[1]):
            activation = hidden_BU[b, u] + bias_AU[action, u]
            hidden_BU[b, u] = zero if activation < zero else activation  # this way round, NaN stays NaN


@_kernel
def relu_of_bits(bits_BU: Array) -> None:
    """Replaces negative numbers by 0: a bfloat16 and the int16 of the same bits have the same sign."""
    for b in range(bits_BU.shape[0]):
        for u in range(bits_BU.shape[1]):
            bits_BU[b, u] = max(bits_BU[b, u], np.int16(0))


@_kernel
def append_one_hot_and_one(input_BD: Array, action_B: Array, output_BI: Array) -> None:
    """Writes state, one-hot action (none where there is no room for it) and 1 beside each other."""
    num_features, num_inputs = input_BD.shape[1], output_BI.shape[1]
    for b in range(output_BI.shape[0]):
        output_BI[b, :num_features] = input_BD[b]
        output_BI[b, num_features : num_inputs - 1] = 0
        if num_features < num_inputs - 1:
            output_BI[b, num_features + action_B[b]] = 1
        output_BI[b, num_inputs - 1] = 1


@_kernel
def add_bias(raw_BP: Array, bias_A: Array, output_BA: Array) -> None:
    """Writes the sums, without the padding."""
    for b in range(output_BA.shape[0]):
        for a in range(output_BA.shape[1]):
            output_BA[b, a] = raw_BP[b, a] + bias_A[a]


@_kernel
def scale_state(raw_BP: Array, bias_D: Array, state_BD: Array) -> None:
    """Writes raw + bias after the ReLU, scaled to [0, 1] row by row."""
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
def decode(raw_BP: Array, bias_V: Array, is_categorical: bool, low: int, invert: bool, scalar_B: Array) -> None:
    """Writes the raw values or rewards that outputs of a head stand for.

    Args:
      raw_BP: outputs without their bias; where the head is not categorical, the first is the number itself.
      bias_V: added to them.
      is_categorical: they are logits of integer atoms, whose expectation counts.
      low: the lowest atom.
      invert: they are squashed by h, and h⁻¹ is applied.
      scalar_B: written.
    """
    expectation_B = _expectation(raw_BP, bias_V, low) if is_categorical else raw_BP[:, 0].astype(np.float64) + bias_V[0]
    for b in range(scalar_B.size):
        x = expectation_B[b]
        if invert:
            root = math.sqrt(1.0 + 4.0 * TRANSFORM_EPSILON * (abs(x) + 1.0 + TRANSFORM_EPSILON))
            x = math.copysign(((root - 1.0) / (2.0 * TRANSFORM_EPSILON)) ** 2 - 1.0, x)
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
