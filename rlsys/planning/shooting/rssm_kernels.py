"""What lies between the matrix products of an RSSM's roll-out, compiled: each kernel is one pass over memory.

Functions of a number are rational, without a call to a library, so that loops over them vectorise; they are exact to
about 1e-6. All that is compiled into a kernel is in this file, because the compiler's cache on disk notices changes of
a function's own file alone.

Shape legend: N rows, D numbers of a belief, S of a stochastic state, U hidden units.
"""

from typing import Any

import numpy as np

from rlsys.compiled import njit
from rlsys.types import Array

_kernel = njit(cache=True, nogil=True, error_model="numpy")
_reducing_kernel = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
_inlined_kernel = njit(inline="always", error_model="numpy")

_f = np.float32
_SIXTEEN = np.uint32(16)
_ZERO, _HALF, _ONE, _THREE = _f(0.0), _f(0.5), _f(1.0), _f(3.0)
_FAR = _f(7.90531110763549805)  # beyond it, tanh is 1 in float32
_P1, _P3, _P5, _P7 = (
    _f(4.89352455891786e-03),
    _f(6.37261928875436e-04),
    _f(1.48572235717979e-05),
    _f(5.12229709037114e-08),
)
_P9, _P11, _P13 = _f(-8.60467152213735e-11), _f(2.00018790482477e-13), _f(-2.76076847742355e-16)
_Q0, _Q2, _Q4, _Q6 = (
    _f(4.89352518554385e-03),
    _f(2.26843463243900e-03),
    _f(1.18534705686654e-04),
    _f(1.19825839466702e-06),
)
_C3, _C5, _C7, _C9, _C11, _C13 = _f(1 / 3), _f(1 / 5), _f(1 / 7), _f(1 / 9), _f(1 / 11), _f(1 / 13)


@_inlined_kernel
def _tanh(x: Any) -> Any:
    # the quotient of polynomials that Eigen has
    x = -_FAR if x < -_FAR else x  # this way round, NaN stays NaN
    x = _FAR if x > _FAR else x
    y = x * x
    p = _P1 + y * (_P3 + y * (_P5 + y * (_P7 + y * (_P9 + y * (_P11 + y * _P13)))))
    return x * p / (_Q0 + y * (_Q2 + y * (_Q4 + y * _Q6)))


@_inlined_kernel
def _sigmoid(x: Any) -> Any:
    return _HALF + _HALF * _tanh(_HALF * x)


@_inlined_kernel
def _softplus(x: Any) -> Any:
    # max(x, 0) + ln(1 + e^-|x|); with t = tanh(|x| / 2) that logarithm is 2 artanh s of s = (1 - t) / (3 + t) <= 1/3
    t = _tanh(_HALF * abs(x))
    s = (_ONE - t) / (_THREE + t)
    y = s * s
    series = _ONE + y * (_C3 + y * (_C5 + y * (_C7 + y * (_C9 + y * (_C11 + y * _C13)))))
    return (_ZERO if x < _ZERO else x) + (s + s) * series


@_kernel
def add_bias_and_relu(hidden_NU: Array, bias_U: Array) -> None:
    """Adds a bias to each row, in place, and replaces negative numbers by 0."""
    for n in range(hidden_NU.shape[0]):
        for u in range(hidden_NU.shape[1]):
            activation = hidden_NU[n, u] + bias_U[u]
            hidden_NU[n, u] = _ZERO if activation < _ZERO else activation


@_inlined_kernel
def _update_row(x_3D: Any, y_3D: Any, input_bias_3D: Any, belief_bias_3D: Any, h_D: Any) -> None:
    # several short loops over neighbouring numbers, each of few arrays: then all of them vectorise
    size = h_D.size
    for i in range(2 * size):
        x_3D[i] = _sigmoid(x_3D[i] + input_bias_3D[i] + y_3D[i] + belief_bias_3D[i])
    r_D, z_D, n_D, y_D = x_3D[:size], x_3D[size : 2 * size], x_3D[2 * size :], y_3D[2 * size :]
    input_bias_D, belief_bias_D = input_bias_3D[2 * size :], belief_bias_3D[2 * size :]
    for d in range(size):
        n_D[d] = _tanh(n_D[d] + input_bias_D[d] + r_D[d] * (y_D[d] + belief_bias_D[d]))
    for d in range(size):
        h_D[d] = n_D[d] + z_D[d] * (h_D[d] - n_D[d])


@_kernel
def update_belief(
    input_N3D: Array, belief_N3D: Array, input_bias_3D: Array, belief_bias_3D: Array, rows_NF: Array, first: int
) -> None:
    """Overwrites beliefs by what a GRU makes of them (Cho et al. 2014, https://arxiv.org/abs/1406.1078).

        r = σ(x_r + h_r)   z = σ(x_z + h_z)   n = tanh(x_n + r h_n)   h' = n + z (h - n)

    Args:
      input_N3D: products of the input, x_r, x_z and x_n side by side as in torch's GRUCell; overwritten.
      belief_N3D: products of the belief, likewise.
      input_bias_3D: biases of the former, which the products lack.
      belief_bias_3D: of the latter.
      rows_NF: in which beliefs h stand from column `first` on.
      first: that column.
    """
    size = input_bias_3D.size // 3
    for row in range(rows_NF.shape[0]):
        h_D = rows_NF[row, first : first + size]
        _update_row(input_N3D[row], belief_N3D[row], input_bias_3D, belief_bias_3D, h_D)


@_kernel
def update_belief_rounded(
    input_N3D: Array, belief_N3D: Array, input_bias_3D: Array, belief_bias_3D: Array, rows_NF: Array, first: int
) -> None:
    """Does the same with products that are bits of bfloat16, uint16: the upper halves of float32's."""
    width = input_bias_3D.size
    bits_3D, more_bits_3D = np.empty(width, np.uint32), np.empty(width, np.uint32)
    x_3D, y_3D = bits_3D.view(np.float32), more_bits_3D.view(np.float32)
    for row in range(rows_NF.shape[0]):
        for i in range(width):
            bits_3D[i] = np.uint32(input_N3D[row, i]) << _SIXTEEN
        for i in range(width):
            more_bits_3D[i] = np.uint32(belief_N3D[row, i]) << _SIXTEEN
        _update_row(x_3D, y_3D, input_bias_3D, belief_bias_3D, rows_NF[row, first : first + width // 3])


@_kernel
def draw_state(raw_N2S: Array, bias_2S: Array, min_stddev: float, noise_NS: Array, rows_NF: Array, first: int) -> None:
    """Writes mean + (softplus(raw deviation) + min_stddev) noise into rows from column `first` on.

    The noise is overwritten.
    """
    size, least = noise_NS.shape[1], _f(min_stddev)
    mean_bias_S, stddev_bias_S = bias_2S[:size], bias_2S[size:]
    for n in range(noise_NS.shape[0]):
        mean_S, stddev_S, noise_S = raw_N2S[n, :size], raw_N2S[n, size:], noise_NS[n]
        sample_S = rows_NF[n, first : first + size]
        for s in range(size):
            noise_S[s] *= _softplus(stddev_S[s] + stddev_bias_S[s]) + least
        for s in range(size):
            sample_S[s] = mean_S[s] + mean_bias_S[s] + noise_S[s]


@_kernel
def take_mean(raw_N2S: Array, bias_2S: Array, rows_NF: Array, first: int) -> None:
    """Writes means likewise."""
    for n in range(raw_N2S.shape[0]):
        for s in range(bias_2S.size // 2):
            rows_NF[n, first + s] = raw_N2S[n, s] + bias_2S[s]


@_reducing_kernel
def add_outputs(hidden_NU: Array, weight_U: Array, bias: float, factor: float, total_N: Array) -> None:
    """Adds factor times the last layer's only output to each row's total."""
    for n in range(hidden_NU.shape[0]):
        output = _f(bias)
        for u in range(hidden_NU.shape[1]):
            output += hidden_NU[n, u] * weight_U[u]
        total_N[n] += _f(factor) * output
