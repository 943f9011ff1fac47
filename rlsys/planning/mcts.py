"""Batched Monte-Carlo tree search over a model that is given as functions.

All B roots take each simulation together: one walk down every tree, one call of the model for the B leaves, one walk
back up. No root's result depends on the others, so a batch gives what its roots give one by one, as far as the model's
arithmetic does not depend on the batch size.

Schrittwieser et al. 2020, https://arxiv.org/abs/1911.08265, appendix B, and Danihelka et al. 2022, "Policy improvement
by planning with Gumbel", https://openreview.net/forum?id=bERaNdoegnO.
Shape legend: B roots, N nodes per root (simulations + 1), A actions, M considered actions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlsys.errors import WorkerError
from rlsys.planning import puct
from rlsys.planning.tree import Tree, grow, plant
from rlsys.types import Array


class RootOutput(NamedTuple):
    """The model's view of the roots.

    Attributes:
      value: `[B]`.
      prior_logits: `[B, A]`.
      embedding: `[B, ...]`, what `RecurrentFn` continues from; opaque to the search.
    """

    value: Tensor
    prior_logits: Tensor
    embedding: Tensor


RecurrentFn = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor, Tensor]]
"""Model of one step: (embedding `[B, ...]`, action `[B]` int64) -> (value `[B]`, reward `[B]`, prior_logits `[B, A]`,
embedding `[B, ...]`), the reward for the step and the rest after it. Its input is overwritten by the next call, and its
output is copied before."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
      visit_counts: `[B, A]` int64; each row sums to the number of simulations.
      root_value: `[B]` float64, mean of the returns backed up to the root; the model's own root value has no part in it.
      q_values: `[B, A]` float64, reward + discount * value of each action, NaN where it was never taken.
      depth: `[B]` int64, edges of the longest path walked.
      tree: the trees, valid until the next search with the same workspace.
    """

    visit_counts: Array
    root_value: Array
    q_values: Array
    depth: Array
    tree: Tree

    @property
    def q_max(self) -> Array:
        """`[B]` float64, the highest q value among the actions that were taken."""
        return np.asarray(np.nanmax(self.q_values, axis=1))


class Workspace:
    """Memory that searches of one worker share; a search with another shape or device replaces it."""

    def __init__(self) -> None:
        self._tree: Tree | None = None
        self._model: _Model | None = None

    def tree(self, num_roots: int, num_nodes: int, num_actions: int) -> Tree:
        if self._tree is None or self._tree.edges.shape != (num_roots, num_nodes, num_actions):
            self._tree = Tree.allocate(num_roots, num_nodes, num_actions)
        return self._tree


class _HostModel:
    """The model on the CPU: embeddings of all nodes, and no copies but the rows that a simulation needs."""

    def __init__(self, recurrent_fn: RecurrentFn, embedding: Tensor, tree: Tree) -> None:
        num_roots, num_nodes, _ = tree.edges.shape
        self._recurrent_fn = recurrent_fn
        self._embedding = torch.empty(num_nodes, *embedding.shape, dtype=embedding.dtype)
        self._rows = self._embedding.unbind()
        self._flat = self._embedding.flatten(0, 1)
        self._parent = torch.empty_like(embedding)
        self._row_B = torch.from_numpy(tree.embedding_row)
        self._action_B = torch.from_numpy(tree.action)
        self._rows[0].copy_(embedding)

    def __call__(self, leaf: int) -> tuple[Array, Array, Array]:
        torch.index_select(self._flat, 0, self._row_B, out=self._parent)
        value_B, reward_B, prior_logits_BA, embedding = self._recurrent_fn(self._parent, self._action_B)
        self._rows[leaf].copy_(embedding)
        return _float32(value_B), _float32(reward_B), _float32(prior_logits_BA)


def _float32(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.float().numpy())


@torch.inference_mode()
def puct_search(
    recurrent_fn: RecurrentFn,
    root: RootOutput,
    *,
    num_simulations: int,
    discount: float,
    pb_c_base: float = 19652.0,
    pb_c_init: float = 1.25,
    init_value_score: float = 0.0,
    noise_BA: Array | None = None,
    exploration_fraction: float = 0.25,
    workspace: Workspace | None = None,
) -> SearchResult:
    tree = Tree.allocate(len(root.value), num_simulations + 1, root.prior_logits.shape[1]) if workspace is None else workspace.tree(len(root.value), num_simulations + 1, root.prior_logits.shape[1])
    model = _HostModel(recurrent_fn, root.embedding, tree)
    exploration = puct.exploration_weights(num_simulations, pb_c_base, pb_c_init)
    plant(tree, _float32(root.value), _float32(root.prior_logits), noise_BA, exploration_fraction)
    for leaf in range(1, num_simulations + 1):
        puct.select(tree, exploration, init_value_score)
        value_B, reward_B, prior_logits_BA = model(leaf)
        grow(tree, leaf, value_B, reward_B, prior_logits_BA, discount)
    return SearchResult(tree.visit_count[:,0].astype(np.int64), tree.roots["value_sum"]/num_simulations, tree.q_value[:,0].copy(), tree.roots["depth"].copy(), tree)
