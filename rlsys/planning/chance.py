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
        self, afterstate_fn: AfterstateFn, outcome_fn: OutcomeFn, *, num_actions: int, num_codes: int, discount: float
    ) -> None:
        """Takes a model, and the discount γ in (0, 1] of a whole step."""
        self._afterstate_fn, self._outcome_fn = afterstate_fn, outcome_fn
        self._num_actions, self._num_codes = num_actions, num_codes
        self._num_branches = max(num_actions, num_codes)
        self.discount = math.sqrt(discount)
        """What a search discounts a branch by."""
        self._shape = torch.Size()

    def root(self, root: RootOutput) -> RootOutput:
        """Returns decision nodes to start from, with `[B, W]` logits, of the model's view with `[B, A]`."""
        self._shape = root.embedding.shape[1:]
        is_chance = root.value.new_zeros(len(root.value), 1, dtype=torch.float32)
        embedding = torch.cat([root.embedding.float().flatten(start_dim=1), is_chance], dim=1)
        return RootOutput(root.value, self._widened(root.prior_logits), embedding)

    def recurrent(self, embedding: Tensor, branch_B: Tensor) -> RecurrentOutput:
        """Takes an action in each decision node, and has a code happen in each chance node; see `RecurrentFn`.

        Both are computed for all nodes: shapes never change, which compiled networks and captured graphs want.
        """
        inner, is_chance_B = self.inner(embedding), self.is_chance(embedding)
        value_B, code_logits, afterstate = self._afterstate_fn(inner, branch_B.clamp(max=self._num_actions - 1))
        outcome = RecurrentOutput(*self._outcome_fn(inner, branch_B.clamp(max=self._num_codes - 1)))
        is_chance_B1 = is_chance_B[:, None]
        following = torch.where(
            is_chance_B1,
            outcome.embedding.float().flatten(start_dim=1),
            afterstate.float().flatten(start_dim=1),
        )
        return RecurrentOutput(
            value=torch.where(is_chance_B, outcome.value, value_B / self.discount),
            reward=torch.where(is_chance_B, outcome.reward / self.discount, 0.0),
            prior_logits=torch.where(is_chance_B1, self._widened(outcome.prior_logits), self._widened(code_logits)),
            embedding=torch.cat([following, (~is_chance_B1).float()], dim=1),
        )

    def inner(self, embedding: Tensor) -> Tensor:
        """Returns the model's own embeddings `[B, ...]` of nodes."""
        return embedding[:, :-1].contiguous().view(-1, *self._shape)

    def is_chance(self, embedding: Tensor) -> Tensor:
        """Returns which nodes are chance's, `[B]` bool."""
        return embedding[:, -1] > 0.5

    def _widened(self, logits: Tensor) -> Tensor:
        missing = self._num_branches - logits.shape[1]
        return functional.pad(logits.float(), (0, missing), value=-math.inf)
