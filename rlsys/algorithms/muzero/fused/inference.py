"""Fast inference of small fully connected world models, for search: layers that share an input are one matrix product.

The networks are MuZero's for vector observations (Schrittwieser et al. 2020, https://arxiv.org/abs/1911.08265), each of
the five functions a perceptron with one hidden layer. Next state and reward read the same input, and so do value and
policy: one recurrent inference is two wide products with two narrow ones behind each. They are BLAS calls into buffers
that are kept, and what lies between them is compiled: one pass over memory where torch needs many.

Shape legend: B batch, O observation features, D state features, A actions, or numbers of an action, U hidden units, V
atoms of a support, P outputs, padded with zeros to full vector registers.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.muzero.fused.kernels import add_bias, decode, scale_state
from rlsys.algorithms.muzero.fused.pairs import BFloat16Pair, Buffer, Float32Pair, Pair
from rlsys.algorithms.muzero.fused.perceptrons import FullyConnected, Support, detached

Precision = Literal["float32", "bfloat16"]
Recurrent = tuple[Tensor, Tensor, Tensor, Tensor]
"""value `[B]`, reward `[B]`, prior_logits `[B, A]`, embedding `[B, D]`."""


class FusedFC:
    """Inference with a snapshot of fully connected networks, on a CPU.

    It does not follow later changes of the layers: build a new one after each, which takes about a millisecond. Not to
    be shared between threads, as intermediate results live in its buffers.
    """

    def __init__(self, networks: FullyConnected, *, precision: Precision = "float32") -> None:
        """Packs the weights.

        Args:
          networks: layers, copied.
          precision: of the products; "bfloat16" pays from about 100 rows on a CPU that multiplies it natively.
        """
        pair = Float32Pair if precision == "float32" else BFloat16Pair
        self._dtype: torch.dtype = getattr(torch, precision)
        self._representation = [detached(layer) for layer in networks.representation]
        self._num_actions, self._num_inputs = networks.num_actions, networks.dynamics[0].in_features
        self._dynamics: Pair = pair(networks.dynamics, networks.reward, networks.num_actions)
        self._prediction: Pair = pair(networks.value, networks.policy, 0)
        _, self._initial_bias_D = (parameter.numpy() for parameter in self._representation[1])
        self._state_bias_D, self._reward_bias_V, self._value_bias_V, self._policy_bias_A = (
            detached(layer)[1].numpy()
            for _, layer in (networks.dynamics, networks.reward, networks.value, networks.policy)
        )
        self._reward_code = _decoding(networks.reward_support, networks.inverse_transform)
        self._value_code = _decoding(networks.value_support, networks.inverse_transform)
        self._batch_size = -1

    def initial(self, observation_BO: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns value `[B]`, prior_logits `[B, A]` and embedding `[B, D]` of float32 observations, new each time."""
        if len(observation_BO) != self._batch_size:
            self._reserve(len(observation_BO))
        input_layer, (output_weight, _) = self._representation
        hidden_BU = functional.relu(functional.linear(observation_BO, *input_layer))
        state_BD = functional.linear(hidden_BU, output_weight)
        scale_state(state_BD.numpy(), self._initial_bias_D, self._embedding.array)
        self._predict()
        return self._value.tensor.clone(), self._prior_logits.tensor.clone(), self._embedding.tensor.clone()

    def recurrent(self, embedding_BD: Tensor, action: Tensor) -> Recurrent:
        """Returns value `[B]`, reward `[B]`, prior_logits `[B, A]` and next embedding `[B, D]`, all in float32.

        It returns the same tensors each time: the next call with as many rows overwrites them.

        Args:
          embedding_BD: contiguous float32, from `initial` or from here.
          action: `[B]` int64, or float32 numbers `[B, A]`.
        """
        if len(embedding_BD) != self._batch_size:
            self._reserve(len(embedding_BD))
        if self._num_actions:
            state_BP, reward_BP = self._dynamics(embedding_BD, action.numpy())
        else:
            torch.cat([embedding_BD, action], dim=1, out=self._state_and_numbers)
            state_BP, reward_BP = self._dynamics(self._state_and_numbers, self._no_action_B)
        decode(reward_BP, self._reward_bias_V, *self._reward_code, self._reward.array)
        scale_state(state_BP, self._state_bias_D, self._embedding.array)
        self._predict()
        return self._output

    def _predict(self) -> None:
        value_BP, policy_BP = self._prediction(self._embedding.tensor, self._no_action_B)
        decode(value_BP, self._value_bias_V, *self._value_code, self._value.array)
        add_bias(policy_BP, self._policy_bias_A, self._prior_logits.array)

    @torch.inference_mode(False)  # buffers made within it could not be written outside it
    def _reserve(self, batch_size: int) -> None:
        self._batch_size = batch_size
        # Both pairs use the same memory for hidden units, which leaves more of the cache to the weights.
        num_hidden = max(self._dynamics.num_hidden, self._prediction.num_hidden)
        hidden = torch.empty(batch_size * num_hidden, dtype=self._dtype)
        self._dynamics.reserve(batch_size, hidden)
        self._prediction.reserve(batch_size, hidden)
        self._value, self._reward = Buffer(batch_size), Buffer(batch_size)
        self._prior_logits = Buffer(batch_size, self._policy_bias_A.size)
        self._embedding = Buffer(batch_size, self._state_bias_D.size)
        self._output = self._value.tensor, self._reward.tensor, self._prior_logits.tensor, self._embedding.tensor
        self._no_action_B = np.zeros(batch_size, np.int64)
        self._state_and_numbers = torch.empty(batch_size, self._num_inputs)


def _decoding(support: Support | None, inverse_transform: bool) -> tuple[bool, int, bool]:
    return support is not None, support[0] if support is not None else 0, inverse_transform
