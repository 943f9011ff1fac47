"""The search tree: fixed-size arrays for B roots that grow in lockstep, one node per root and simulation.

Node 0 is the root and node i is what simulation i added. A node of one of the roots is a *row*: node * B + root, so
what one simulation adds for all roots lies side by side. What is known about taking an action in a node is kept with
that node, as one record per action (an edge): choosing an action reads one short run of memory, and no child.

Shape legend: B roots, N nodes per root (simulations + 1), A actions, R rows (N * B), F features.
"""

from dataclasses import dataclass

import numpy as np

from rlsys.planning import kernels
from rlsys.planning.kernels import EDGE, NO_NODE, NODE, ROOT
from rlsys.types import Array


@dataclass(frozen=True)
class Tree:
    """The trees of B roots: arrays by row for the search, and by root and node for whoever looks at the result.

    Attributes:
      edges: `[R, A]` records `kernels.EDGE`.
      nodes: `[R]` records `kernels.NODE`.
      roots: `[B]` records `kernels.ROOT`.
      embedding: `[R, F]` float32; F = 0 where embeddings live on another device.
      row: `[B]` int64, the rows in which the current simulation takes an action for the first time.
      action: `[B]` int64, those actions.
      parent_embedding: `[B, F]` float32, embeddings of `row`.
    """

    edges: Array
    nodes: Array
    roots: Array
    embedding: Array
    row: Array
    action: Array
    parent_embedding: Array

    @classmethod
    def allocate(cls, num_roots: int, num_nodes: int, num_actions: int, num_features: int = 0) -> "Tree":
        """Returns a tree with room for `num_nodes` nodes per root; `plant` makes it ready.

        Args:
          num_roots: B.
          num_nodes: N, simulations + 1.
          num_actions: A.
          num_features: F, numbers in an embedding that the tree shall keep, or 0.
        """
        num_rows = num_nodes * num_roots
        return cls(
            edges=np.zeros((num_rows, num_actions), EDGE),
            nodes=np.zeros(num_rows, NODE),
            roots=np.zeros(num_roots, ROOT),
            embedding=np.zeros((num_rows, num_features), np.float32),
            row=np.zeros(num_roots, np.int64),
            action=np.zeros(num_roots, np.int64),
            parent_embedding=np.zeros((num_roots, num_features), np.float32),
        )

    @property
    def parent(self) -> Array:
        """`[B, N]` int32, the node above each node; undefined for the root. A copy."""
        return self._by_root(self.nodes["parent"]) // self.roots.size

    @property
    def parent_action(self) -> Array:
        """`[B, N]` int32, the action that led from the parent to each node; undefined for the root."""
        return self._by_root(self.nodes["action"])

    @property
    def raw_value(self) -> Array:
        """`[B, N]` float32, the model's own value of each node."""
        return self._by_root(self.nodes["raw_value"])

    @property
    def child(self) -> Array:
        """`[B, N, A]` int32, the node that an action leads to, NO_NODE where it was never taken. A copy."""
        row = self._by_root(self.edges["child"])
        return np.where(row == NO_NODE, NO_NODE, row // self.roots.size)

    @property
    def prior(self) -> Array:
        """`[B, N, A]` float32, probabilities; exploration noise included at the root."""
        return self._by_root(self.edges["prior"])

    @property
    def reward(self) -> Array:
        """`[B, N, A]` float32, predicted for taking an action; 0 where it was never taken."""
        return self._by_root(self.edges["reward"])

    @property
    def visit_count(self) -> Array:
        """`[B, N, A]` int32, simulations that took an action in a node."""
        return self._by_root(self.edges["visit_count"])

    @property
    def value_sum(self) -> Array:
        """`[B, N, A]` float64, sum of the values backed up into the node that an action leads to."""
        return self._by_root(self.edges["value_sum"])

    @property
    def q_value(self) -> Array:
        """`[B, N, A]` float64, reward + discount * value after an action; 0 where it was never taken. A copy."""
        return np.where(self.visit_count > 0, self._by_root(self.edges["q_value"]), 0.0)

    def _by_root(self, by_row: Array) -> Array:
        """Returns a view `[B, N, ...]` of `[R, ...]`."""
        return by_row.reshape(-1, self.roots.size, *by_row.shape[1:]).swapaxes(0, 1)


def plant(
    tree: Tree,
    value_B: Array,
    prior_logits_BA: Array,
    embedding_BF: Array,
    noise_BA: Array | None = None,
    noise_fraction: float = 0.0,
) -> None:
    """Forgets the last search and expands the roots.

        prior = (1 - noise_fraction) softmax(prior_logits) + noise_fraction * noise

    Args:
      tree: changed in place.
      value_B: float32, the model's value of each root; kept, but not part of any mean.
      prior_logits_BA: float32.
      embedding_BF: float32.
      noise_BA: float64 probabilities, or None for none.
      noise_fraction: share of the noise in [0, 1].
    """
    if noise_BA is None:
        noise_BA, noise_fraction = np.zeros(prior_logits_BA.shape), 0.0
    kernels.plant(tree.edges, tree.nodes, tree.roots, value_B, prior_logits_BA, noise_BA, noise_fraction)
    tree.embedding[: len(embedding_BF)] = embedding_BF


def grow(
    tree: Tree,
    leaf: int,
    value_B: Array,
    reward_B: Array,
    prior_logits_BA: Array,
    embedding_BF: Array,
    discount: float,
) -> None:
    """Adds node `leaf` at the selected edge of every tree and backs its value up to the root.

    On the way up, each edge's value is averaged over its visits and its q value is offered to the root's minimum and
    maximum, which only ever widen during a search (appendix B of https://arxiv.org/abs/1911.08265).

    Args:
      tree: changed in place; `row` and `action` say where the leaf goes.
      leaf: index of the new node, one higher with every call, from 1.
      value_B: float32, the model's value of the leaf.
      reward_B: float32, the reward for getting there.
      prior_logits_BA: float32.
      embedding_BF: float32.
      discount: per step.
    """
    kernels.grow(
        tree.edges,
        tree.nodes,
        tree.roots,
        tree.embedding,
        tree.row,
        tree.action,
        leaf,
        value_B,
        reward_B,
        prior_logits_BA,
        embedding_BF,
        discount,
    )


def summarize(tree: Tree) -> tuple[Array, Array, Array, Array]:
    """Returns what is known at the roots, in arrays of its own.

    Returns:
      visit_counts `[B, A]` int64; q_values `[B, A]` float64, NaN for actions never taken; value `[B]` float64, the mean
      of the returns backed up; depth `[B]` int64, edges of the longest path walked.
    """
    num_roots, num_actions = tree.roots.size, tree.edges.shape[1]
    visit_counts_BA, depth_B = np.empty((num_roots, num_actions), np.int64), np.empty(num_roots, np.int64)
    q_values_BA, value_B = np.empty((num_roots, num_actions)), np.empty(num_roots)
    kernels.summarize(tree.edges, tree.nodes, tree.roots, visit_counts_BA, q_values_BA, value_B, depth_B)
    return visit_counts_BA, q_values_BA, value_B, depth_B
