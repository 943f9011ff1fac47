# mypy: disallow-untyped-decorators=False
"""Fast inference of small fully connected world models, for search: layers that share an input are one matrix product.

The networks are MuZero's for vector observations (Schrittwieser et al. 2020, https://arxiv.org/abs/1911.08265), each of
the five functions a perceptron with one hidden layer. Next state and reward read the same input, and so do value and
policy: one recurrent inference is two wide products with two narrow ones behind each. On a CPU the products are BLAS
calls into buffers that are kept, and what lies between them is compiled: one pass over memory where torch needs many.

Shape legend: B batch, O observation features, D state features, A actions, U hidden units of both perceptrons of a
pair, P outputs of a perceptron, padded with zeros to full vector registers.
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
_MIN_SPAN = 1e-5  # a state that varies less is constant up to rounding, and becomes 0
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

        Raises:
          WorkerError: a weight is not finite.
        """
        _check_finite(
            {"representation": representation, "dynamics": dynamics, "reward": reward, "value": value, "policy": policy}
        )
        on_cpu = policy[0].weight.is_cpu
        pair = _TorchPair if not on_cpu else _CPUPair if precision == "float32" else _CPUBFloat16Pair
        heads = _CompiledHeads if on_cpu else _TorchHeads
        self._representation = tuple(_detached(layer) for layer in representation)
        self._dynamics: _Pair = pair(dynamics, reward, num_actions, precision)
        self._prediction: _Pair = pair(value, policy, 0, precision)
        self._heads: _Heads = heads(dynamics, reward, value, policy, reward_support, value_support, inverse_transform)

    def initial(self, observation_BO: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns value `[B]`, prior_logits `[B, A]` and embedding `[B, D]` of float32 observations."""
        (input_weight, input_bias), (output_weight, output_bias) = self._representation
        hidden_BU = functional.relu(functional.linear(observation_BO, input_weight, input_bias))
        embedding_BD = self._heads.state(functional.linear(hidden_BU, output_weight))
        return *self._predict(embedding_BD), embedding_BD

    def recurrent(self, embedding_BD: Tensor, action_B: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns value `[B]`, reward `[B]`, prior_logits `[B, A]` and the next embedding `[B, D]`, all float32."""
        state_BP, reward_BP = self._dynamics(embedding_BD, action_B)
        reward_B = self._heads.reward(reward_BP)
        embedding_BD = self._heads.state(state_BP)
        value_B, prior_logits_BA = self._predict(embedding_BD)
        return value_B, reward_B, prior_logits_BA, embedding_BD

    def _predict(self, embedding_BD: Tensor) -> tuple[Tensor, Tensor]:
        value_BP, policy_BP = self._prediction(embedding_BD, None)
        return self._heads.value(value_BP), self._heads.policy(policy_BP)
