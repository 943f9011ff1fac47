"""Search among K actions that each node draws by its policy, where there are too many to branch to all of them.

Hubert et al. 2021, "Learning and planning in complex action spaces", https://arxiv.org/abs/2104.06303.

An action is a choice of one of N values for each of D factors, and the policy π a product of D distributions over them.
Draws are from β ∝ π^(1/temperature). Those that are alike are one branch: the first of them has the prior

    β̂ / β · π                β̂: its share of the draws; for a temperature of 1 this is that share

and the others are masked. The draws of a node are stratified: the K points of a Latin hypercube, all shifted alike at
random, so that each by itself is a draw from β, and together they miss no value of a factor likelier than 1 / K.

A node's draws are part of its embedding, so any search of `rlsys.planning.mcts` keeps them.
Shape legend: B roots, K draws, D factors, N values of a factor, L logits (D N), F numbers in an embedding of the model,
E in one with draws (F + K D), R nodes of all roots.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rlsys.planning.kernels import inlined_kernel, kernel
from rlsys.planning.model import RecurrentOutput, RootOutput
from rlsys.types import Array

FactoredRecurrentFn = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
"""One step of the model: B embeddings and the values of an action's factors, `[B, D]` float32 -> a RecurrentOutput
whose prior_logits are those of all factors, `[B, L]`."""

_PRIME = 1_099_511_628_211  # FNV's, of 64 bits
_MOST = 1.0 - 1e-9  # of a uniform number: what is drawn with it has a probability above 0


class SampledModel:
    """A model as a search sees it whose actions are drawn in each node: action k of a node is its k-th draw.

    Not to be shared between threads, nor between searches at the same time: it returns the same memory each time.
    """

    def __init__(
        self,
        recurrent_fn: FactoredRecurrentFn,
        values_N: Array,
        *,
        num_samples: int,
        num_factors: int,
        temperature: float = 1.0,
        compiled: bool | None = None,
    ) -> None:
        """Takes a model.

        Args:
          recurrent_fn: the model.
          values_N: float32, what it is told where a factor has each of its values.
          num_samples: K.
          num_factors: D.
          temperature: of the draws, above 0.
          compiled: use compiled passes, which needs a CPU; None for wherever that is possible.
        """
        self._recurrent_fn = recurrent_fn
        self._values_N = values_N
        self._num_samples, self._num_factors = num_samples, num_factors
        self._temperature = temperature
        self._compiled = compiled
        self._strata_KD = _latin_hypercube(num_samples, num_factors)
        self._log_K = np.log(np.arange(1, num_samples + 1))
        self._rng: np.random.Generator | None = None
        self._draws: _Draws | None = None
        self._key: tuple[object, ...] = ()

    def root(self, root: RootOutput, rng: np.random.Generator | None) -> RootOutput:
        """Returns what a search starts from: prior_logits `[B, K]`, -inf for repeated draws.

        Args:
          root: the model's view of the B states, prior_logits `[B, L]`; an action with a logit of -inf is not drawn.
          rng: shifts the draws of all nodes until the next root; None draws the same of the same policy every time.
        """
        self._rng = rng
        embedding = root.embedding
        key = embedding.shape[1:], embedding.dtype, embedding.device
        if self._draws is None or self._key != key:
            kind = _Compiled if (embedding.is_cpu if self._compiled is None else self._compiled) else _Eager
            self._draws = kind(self._strata_KD, self._log_K, self._values_N, self._temperature, embedding)
            self._key = key
        prior_logits_BK, embedding_BE = self._draws.draw(root.prior_logits, self._shift(len(embedding)), embedding)
        return RootOutput(root.value, prior_logits_BK.clone(), embedding_BE.clone())

    def recurrent(self, embedding_BE: Tensor, action_B: Tensor) -> RecurrentOutput:
        """Steps the model with the draws of that index, and draws where they lead; see `RecurrentFn`."""
        draws = self._draws
        assert draws is not None, "root comes before recurrent"
        embedding, value_BD = draws.take(embedding_BE, action_B)
        value_B, reward_B, logits_BL, embedding = self._recurrent_fn(embedding, value_BD)
        prior_logits_BK, embedding_BE = draws.draw(logits_BL, self._shift(len(value_B)), embedding)
        return RecurrentOutput(value_B, reward_B, prior_logits_BK, embedding_BE)

    def drawn(self, embedding: Tensor) -> Array:
        """Returns which values the draws of nodes have, `[R, K, D]` int64, for their embeddings `[R, E]`."""
        num_drawn = self._num_samples * self._num_factors
        values = embedding[:, -num_drawn:].cpu().numpy().astype(np.int64)
        return values.reshape(-1, self._num_samples, self._num_factors)

    def _shift(self, num_roots: int) -> Array:
        shape = num_roots, self._num_factors
        return np.zeros(shape) if self._rng is None else self._rng.random(shape)


class _Arrays:
    """The arrays of two tensors; of the same tensors as last time without asking for them, which would take longer."""

    def __init__(self) -> None:
        self._known: tuple[Tensor | None, Tensor | None] = None, None
        self._arrays: tuple[Array, Array]

    def of(self, first: Tensor, second: Tensor) -> tuple[Array, Array]:
        if first is not self._known[0] or second is not self._known[1]:
            self._known, self._arrays = (first, second), (first.numpy(), second.numpy())
        return self._arrays


class _Compiled:
    """On the CPU, with kept memory and one compiled pass on each side of the model's step."""

    def __init__(self, strata_KD: Array, log_K: Array, values_N: Array, temperature: float, embedding: Tensor) -> None:
        self._strata_KD, self._log_K, self._values_N, self._temperature = strata_KD, log_K, values_N, temperature
        self._shape, self._dtype = embedding.shape[1:], embedding.dtype
        self._num_features = math.prod(self._shape)
        self._batch_size = -1
        self._taken, self._drawn_from = _Arrays(), _Arrays()

    def take(self, embedding_BE: Tensor, action_B: Tensor) -> tuple[Tensor, Tensor]:
        self._reserve(len(action_B))
        embedding_array_BE, action_array_B = self._taken.of(embedding_BE, action_B)
        _take(embedding_array_BE, action_array_B, self._values_N, self._state_array_BF, self._value_array_BD)
        return self._state.to(self._dtype), self._value_BD

    def draw(self, logits_BL: Tensor, shift_BD: Array, embedding: Tensor) -> tuple[Tensor, Tensor]:
        self._reserve(len(logits_BL))
        logits_array_BL, state_array = self._drawn_from.of(logits_BL.float(), embedding.float().contiguous())
        _draw(
            logits_array_BL,
            self._strata_KD,
            shift_BD,
            self._log_K,
            1.0 / self._temperature,
            state_array.reshape(len(state_array), -1),
            self._prior_logits_array_BK,
            self._embedding_array_BE,
        )
        return self._prior_logits_BK, self._embedding_BE

    @torch.inference_mode(False)  # memory made within it could not be written outside it
    def _reserve(self, batch_size: int) -> None:
        if batch_size == self._batch_size:
            return
        self._batch_size = batch_size
        num_samples, num_factors = self._strata_KD.shape
        state_BF, self._value_BD, self._prior_logits_BK, self._embedding_BE = (
            torch.empty(batch_size, width)
            for width in (
                self._num_features,
                num_factors,
                num_samples,
                self._num_features + num_samples * num_factors,
            )
        )
        self._state = state_BF.view(batch_size, *self._shape)
        self._state_array_BF, self._value_array_BD = state_BF.numpy(), self._value_BD.numpy()
        self._prior_logits_array_BK, self._embedding_array_BE = (
            self._prior_logits_BK.numpy(),
            self._embedding_BE.numpy(),
        )


class _Eager:
    """On any device, with torch's own functions."""

    def __init__(self, strata_KD: Array, log_K: Array, values_N: Array, temperature: float, embedding: Tensor) -> None:
        device = embedding.device
        self._strata_KD, self._log_K, self._values_N = (
            torch.from_numpy(array).to(device) for array in (strata_KD, log_K, values_N)
        )
        self._temperature = temperature
        self._shape, self._dtype = embedding.shape[1:], embedding.dtype

    def take(self, embedding_BE: Tensor, action_B: Tensor) -> tuple[Tensor, Tensor]:
        num_samples, num_factors = self._strata_KD.shape
        state_BF, drawn = torch.split(embedding_BE, [math.prod(self._shape), num_samples * num_factors], dim=1)
        drawn_BD = drawn.view(-1, num_samples, num_factors)[torch.arange(len(action_B), device=drawn.device), action_B]
        return state_BF.reshape(-1, *self._shape).to(self._dtype), self._values_N[drawn_BD.long()]

    def draw(self, logits_BL: Tensor, shift_BD: Array, embedding: Tensor) -> tuple[Tensor, Tensor]:
        num_samples, num_factors = self._strata_KD.shape
        size = len(logits_BL)
        log_policy_BDN = logits_BL.double().view(size, num_factors, -1).log_softmax(dim=2)
        cumulative_BDN = (log_policy_BDN / self._temperature).softmax(dim=2).cumsum(dim=2)
        shift = torch.from_numpy(shift_BD).to(logits_BL.device, non_blocking=True)
        uniform_BKD = (((self._strata_KD + 0.5) / num_samples + shift[:, None]) % 1.0).clamp_max(_MOST)
        target_BDK = uniform_BKD.transpose(1, 2) * cumulative_BDN[:, :, -1:]
        drawn_BDK = torch.searchsorted(cumulative_BDN, target_BDK.contiguous(), right=True)
        drawn_BDK.clamp_max_(cumulative_BDN.shape[2] - 1)
        alike_BKK = (drawn_BDK[:, :, :, None] == drawn_BDK[:, :, None]).all(dim=1)
        is_first_BK = alike_BKK.int().argmax(dim=2) == torch.arange(num_samples, device=logits_BL.device)
        log_BK = self._log_K[alike_BKK.sum(dim=2) - 1]
        log_BK = log_BK + (1.0 - 1.0 / self._temperature) * log_policy_BDN.gather(2, drawn_BDK).sum(dim=1)
        prior_logits_BK = log_BK.where(is_first_BK, -math.inf).float()
        drawn_BKD = drawn_BDK.transpose(1, 2).flatten(start_dim=1).float()
        return prior_logits_BK, torch.cat([embedding.float().flatten(start_dim=1), drawn_BKD], dim=1)


_Draws = _Compiled | _Eager


def _latin_hypercube(num_samples: int, num_factors: int) -> Array:
    """Returns `[K, D]` int64: the part of K equal parts of (0, 1) that a draw lies in; each column has all of them."""
    rng = np.random.default_rng(0)
    return np.stack([np.arange(num_samples), *(rng.permutation(num_samples) for _ in range(num_factors - 1))], axis=1)


@kernel
def _take(embedding_BE: Array, action_B: Array, values_N: Array, state_BF: Array, value_BD: Array) -> None:
    """Writes the model's own embeddings, and the values of the draws of that index."""
    num_features, num_factors = state_BF.shape[1], value_BD.shape[1]
    for b in range(action_B.size):
        for f in range(num_features):
            state_BF[b, f] = embedding_BE[b, f]
        first = num_features + action_B[b] * num_factors
        for d in range(num_factors):
            value_BD[b, d] = values_N[int(embedding_BE[b, first + d])]


@kernel
def _draw(
    logits_BL: Array,
    strata_KD: Array,
    shift_BD: Array,
    log_K: Array,
    sharpness: float,
    state_BF: Array,
    prior_logits_BK: Array,
    embedding_BE: Array,
) -> None:
    """Draws in each node, and writes the logits of their priors, and the model's embedding with the draws behind it."""
    num_samples, num_factors = strata_KD.shape
    num_features = state_BF.shape[1]
    num_values = logits_BL.shape[1] // num_factors
    cumulative_N, drawn_S = np.empty(num_values), np.empty(num_samples, np.int64)
    code_K, log_policy_K = np.empty(num_samples, np.int64), np.zeros(num_samples)
    for b in range(len(logits_BL)):
        drawn_KD = embedding_BE[b, num_features:].reshape(num_samples, num_factors)
        code_K[:] = 0
        for d in range(num_factors):
            logits_N = logits_BL[b, d * num_values : (d + 1) * num_values]
            highest = _accumulate(logits_N, sharpness, cumulative_N)
            moved = 0.5 + shift_BD[b, d] * num_samples
            whole = int(moved)
            _find(cumulative_N, moved - whole, drawn_S)
            for k in range(num_samples):
                stratum = strata_KD[k, d] + whole
                drawn = drawn_S[stratum - num_samples if stratum >= num_samples else stratum]
                drawn_KD[k, d] = drawn
                code_K[k] = code_K[k] * _PRIME + drawn
            if sharpness != 1.0:
                for k in range(num_samples):
                    log_policy_K[k] += logits_N[int(drawn_KD[k, d])] - highest
        _merge(drawn_KD, code_K, log_K, prior_logits_BK[b])
        if sharpness != 1.0:
            for k in range(num_samples):
                prior_logits_BK[b, k] += (1.0 - sharpness) * log_policy_K[k]
                log_policy_K[k] = 0.0
        for f in range(num_features):
            embedding_BE[b, f] = state_BF[b, f]


@inlined_kernel
def _accumulate(logits_N: Array, sharpness: float, cumulative_N: Array) -> float:
    # Writes sums of π^sharpness up to a factor; returns the highest logit.
    highest = -math.inf
    for n in range(logits_N.size):
        highest = max(highest, logits_N[n])
    for n in range(logits_N.size):
        cumulative_N[n] = math.exp(sharpness * (logits_N[n] - highest))
    total = 0.0
    for n in range(logits_N.size):
        total += cumulative_N[n]
        cumulative_N[n] = total
    return highest


@inlined_kernel
def _find(cumulative_N: Array, offset: float, drawn_S: Array) -> None:
    # Writes in which value's part of the sums each of S points at equal distances lies, the first at `offset` of one.
    num_strata, last = drawn_S.size, cumulative_N.size - 1
    step = cumulative_N[last] / num_strata
    found = 0
    for s in range(num_strata):
        target = min(s + offset, num_strata * _MOST) * step
        while found < last and cumulative_N[found] <= target:
            found += 1
        drawn_S[s] = found


@inlined_kernel
def _merge(drawn_KD: Array, code_K: Array, log_K: Array, prior_logits_K: Array) -> None:
    # Writes ln of how often each action was drawn at its first draw, and -inf at the others. Two actions could share a
    # code: then the draws of the second are not merged.
    num_samples, num_factors = drawn_KD.shape
    count_K = np.zeros(num_samples, np.int64)
    for k in range(num_samples):
        first = 0
        while code_K[first] != code_K[k]:
            first += 1
        is_alike = True
        for d in range(num_factors):
            is_alike &= drawn_KD[first, d] == drawn_KD[k, d]
        count_K[first if is_alike else k] += 1
    for k in range(num_samples):
        prior_logits_K[k] = log_K[count_K[k] - 1] if count_K[k] > 0 else -math.inf
