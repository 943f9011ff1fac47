"""Search where a step has two halves: an action is taken, and then chance decides what comes of it.

Antonoglou et al. 2022, "Planning in stochastic environments with a learned model" (Stochastic MuZero),
https://openreview.net/forum?id=X6D9bAHhBQ1.

    state  --action-->  afterstate  --code-->  state          decision nodes and chance nodes take turns, level by level

A code names one of C things that can happen. In a decision node the search's own rule chooses; in a chance node that
code is next whose share of the visits lags most behind its probability σ, the highest σ / (n + 1), so that visits come
to be in proportion to σ without a draw, and a search repeats exactly (`kernels.likeliest`).

All of this is a model like any other for a search with `chance_after = A`: a node has W = max(A, C) branches, of which
those that it does not have are masked, and what kind it is stands behind its embedding. Each half of a step is
discounted by √γ; what a chance node is worth, and the rewards behind it, are divided by √γ. So the worth of an action
at the root is

    √γ (reward / √γ + √γ value) = reward + γ value

and codes differ from what they would be worth in a whole step by 1 / √γ, which only the bounds of q values see.

Shape legend: B roots, A actions, C codes, W branches, F numbers in an embedding of the model.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from rlsys.planning.model import RecurrentOutput, RootOutput


class AfterstateOutput(NamedTuple):
    """What the model makes of actions before anything has happened.

    Attributes:
      value: `[B]`, of states with their actions: what is expected of reward + discount * value.
      code_logits: `[B, C]`, of what can happen.
      embedding: `[B, ...]`, of the same shape and type as those of states.
    """

    value: Tensor
    code_logits: Tensor
    embedding: Tensor


AfterstateFn = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Embeddings of B states and actions `[B]` (int64) -> an AfterstateOutput, or its three fields in that order."""
OutcomeFn = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
"""Embeddings of B afterstates and codes `[B]` (int64) -> a RecurrentOutput, or its four fields in that order."""


class ChanceModel:
    """A model with chance as a search sees it: its branches are actions and codes by turns."""

    def __init__(
        self,
        afterstate_fn: AfterstateFn,
        outcome_fn: OutcomeFn,
        *,
        num_actions: int,
        num_codes: int,
        discount: float,
        by_kind: bool | None = None,
    ) -> None:
        """Takes a model.

        Args:
          afterstate_fn: what actions lead to.
          outcome_fn: what happens then.
          num_actions: A.
          num_codes: C.
          discount: γ of a whole step, in (0, 1].
          by_kind: step nodes of each kind by themselves, rather than all of them in both ways, of which one is thrown
            away; None for wherever batches may differ in size without a cost, on CPUs.
        """
        self._afterstate_fn, self._outcome_fn = afterstate_fn, outcome_fn
        self._num_actions, self._num_codes = num_actions, num_codes
        self._num_branches = max(num_actions, num_codes)
        self._by_kind = by_kind
        self.discount = math.sqrt(discount)
        """What a search discounts a branch by."""
        self._shape = torch.Size()

    def root(self, root: RootOutput) -> RootOutput:
        """Returns decision nodes to start from, with `[B, W]` logits, of the model's view with `[B, A]`."""
        self._shape = root.embedding.shape[1:]
        embedding = _with_kind(root.embedding, is_chance=False)
        return RootOutput(root.value, self._widened(root.prior_logits), embedding)

    def recurrent(self, embedding: Tensor, branch_B: Tensor) -> RecurrentOutput:
        """Takes an action in each decision node, and has a code happen in each chance node; see `RecurrentFn`."""
        is_chance_B = self.is_chance(embedding)
        if embedding.is_cpu if self._by_kind is None else self._by_kind:
            return self._step_by_kind(embedding, branch_B, is_chance_B)
        acted = self._act(embedding, branch_B.clamp(max=self._num_actions - 1))
        happened = self._happen(embedding, branch_B.clamp(max=self._num_codes - 1))
        pairs = zip(happened, acted, strict=True)
        chosen = (torch.where(is_chance_B if one.ndim == 1 else is_chance_B[:, None], one, two) for one, two in pairs)
        return RecurrentOutput(*chosen)

    def _step_by_kind(self, embedding: Tensor, branch_B: Tensor, is_chance_B: Tensor) -> RecurrentOutput:
        size = len(branch_B)
        output = RecurrentOutput(
            value=embedding.new_empty(size),
            reward=embedding.new_empty(size),
            prior_logits=embedding.new_empty(size, self._num_branches),
            embedding=torch.empty_like(embedding),
        )
        for step, is_there_B in ((self._act, ~is_chance_B), (self._happen, is_chance_B)):
            (rows,) = is_there_B.nonzero(as_tuple=True)
            if len(rows):
                for whole, part in zip(output, step(embedding[rows], branch_B[rows]), strict=True):
                    whole.index_copy_(0, rows, part)
        return output

    def _act(self, embedding: Tensor, action_B: Tensor) -> RecurrentOutput:
        """Returns chance nodes behind decision nodes."""
        value_B, code_logits_BC, afterstate = self._afterstate_fn(self._inner(embedding), action_B)
        return RecurrentOutput(
            value=value_B.float() / self.discount,
            reward=torch.zeros_like(value_B, dtype=torch.float32),
            prior_logits=self._widened(code_logits_BC),
            embedding=_with_kind(afterstate, is_chance=True),
        )

    def _happen(self, embedding: Tensor, code_B: Tensor) -> RecurrentOutput:
        """Returns decision nodes behind chance nodes."""
        value_B, reward_B, prior_logits_BA, state = self._outcome_fn(self._inner(embedding), code_B)
        return RecurrentOutput(
            value=value_B.float(),
            reward=reward_B.float() / self.discount,
            prior_logits=self._widened(prior_logits_BA),
            embedding=_with_kind(state, is_chance=False),
        )

    def _inner(self, embedding: Tensor) -> Tensor:
        """Returns the model's own embeddings `[B, ...]` of nodes."""
        return embedding[:, :-1].contiguous().view(-1, *self._shape)

    def is_chance(self, embedding: Tensor) -> Tensor:
        """Returns which nodes are chance's, `[B]` bool."""
        return embedding[:, -1] > 0.5

    def _widened(self, logits: Tensor) -> Tensor:
        missing = self._num_branches - logits.shape[1]
        return functional.pad(logits.float(), (0, missing), value=-math.inf)


def _with_kind(inner: Tensor, *, is_chance: bool) -> Tensor:
    """Returns flat embeddings `[B, F + 1]`, the kind of their nodes behind them."""
    return functional.pad(inner.float().flatten(start_dim=1), (0, 1), value=float(is_chance))
