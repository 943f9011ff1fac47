"""The search tree: fixed-size arrays for B roots that grow in lockstep, one node per root and simulation.

Node 0 is the root and node i is what simulation i added, so all roots use the same node index at the same time. What
is known about taking an action in a node is kept with that node, as one record per action (an edge): choosing an
action reads one short run of memory and never looks at the children.

Shape legend: B roots, N nodes per root (simulations + 1), A actions, R nodes of all roots (N * B), F features.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from rlsys.types import Array

EDGE = np.dtype(
    [
        ("value_sum", np.float64),  # of the child, as seen from the child
        ("q_value", np.float64),  # reward + discount * mean value of the child, NaN until the edge is first taken
        ("prior", np.float32),
        ("reward", np.float32),
        ("visit_count", np.int32),
        ("child", np.int32),  # node index, NO_NODE until the edge is first taken
    ]
)
NODE = np.dtype(
    [("parent", np.int32), ("action", np.int32), ("visit_count", np.int32), ("raw_value", np.float32)],
)
ROOT = np.dtype([("value_sum", np.float64), ("q_min", np.float64), ("q_max", np.float64), ("depth", np.int64)])
NO_NODE = -1

kernel = njit(cache=True, nogil=True, error_model="numpy")
"""Compiles a function over tree arrays. A kernel calls only kernels of its own file, because the compiler's cache on
disk notices changes of that file alone."""
inlined_kernel = njit(inline="always", error_model="numpy")
"""Compiles a part of a kernel into it. As a call of its own it would count references to each row that it is handed."""


@dataclass(frozen=True)
class Tree:
    """The trees of B roots.

    Attributes:
      edges: `[B, N, A]` records EDGE.
      nodes: `[B, N]` records NODE.
      roots: `[B]` records ROOT.
      node: `[B]` int64, the node whose edge the current simulation expands.
      action: `[B]` int64, that edge's action.
      row: `[B]` int64, where that node's embedding lies among those of all nodes: node * B + root.
      embedding: `[N * B, F]` float32, embeddings of all nodes; F = 0 where they live on another device.
      parent_embedding: `[B, F]` float32, embeddings at `row`.
    """

    edges: Array
    nodes: Array
    roots: Array
    node: Array
    action: Array
    row: Array
    embedding: Array
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
        return cls(
            edges=np.zeros((num_roots, num_nodes, num_actions), EDGE),
            nodes=np.zeros((num_roots, num_nodes), NODE),
            roots=np.zeros(num_roots, ROOT),
            node=np.zeros(num_roots, np.int64),
            action=np.zeros(num_roots, np.int64),
            row=np.zeros(num_roots, np.int64),
            embedding=np.zeros((num_nodes * num_roots, num_features), np.float32),
            parent_embedding=np.zeros((num_roots, num_features), np.float32),
        )

    @property
    def parent(self) -> Array:
        """`[B, N]` int32, the node above each node; undefined for the root."""
        return self.nodes["parent"]

    @property
    def parent_action(self) -> Array:
        """`[B, N]` int32, the action that led from the parent to each node; undefined for the root."""
        return self.nodes["action"]

    @property
    def raw_value(self) -> Array:
        """`[B, N]` float32, the model's own value of each node."""
        return self.nodes["raw_value"]

    @property
    def child(self) -> Array:
        """`[B, N, A]` int32, the node that an action leads to, NO_NODE where it was never taken."""
        return self.edges["child"]

    @property
    def prior(self) -> Array:
        """`[B, N, A]` float32, probabilities; exploration noise included at the root."""
        return self.edges["prior"]

    @property
    def reward(self) -> Array:
        """`[B, N, A]` float32, predicted for taking an action; 0 where it was never taken."""
        return self.edges["reward"]

    @property
    def visit_count(self) -> Array:
        """`[B, N, A]` int32, simulations that took an action in a node."""
        return self.edges["visit_count"]

    @property
    def value_sum(self) -> Array:
        """`[B, N, A]` float64, sum of the values backed up into the node that an action leads to."""
        return self.edges["value_sum"]

    @property
    def q_value(self) -> Array:
        """`[B, N, A]` float64, reward + discount * value after an action; 0 where it was never taken. A copy."""
        return np.where(self.visit_count > 0, self.edges["q_value"], 0.0)


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
    _plant(tree.edges, tree.nodes, tree.roots, value_B, prior_logits_BA, noise_BA, noise_fraction)
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
      tree: changed in place; `node` and `action` say where the leaf goes.
      leaf: index of the new node, one higher with every call, from 1.
      value_B: float32, the model's value of the leaf.
      reward_B: float32, the reward for getting there.
      prior_logits_BA: float32.
      embedding_BF: float32.
      discount: per step.
    """
    _grow(
        tree.edges,
        tree.nodes,
        tree.roots,
        tree.node,
        tree.action,
        tree.embedding,
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
    num_roots, _, num_actions = tree.edges.shape
    visit_counts_BA, depth_B = np.empty((num_roots, num_actions), np.int64), np.empty(num_roots, np.int64)
    q_values_BA, value_B = np.empty((num_roots, num_actions)), np.empty(num_roots)
    _summarize(tree.edges, tree.nodes, tree.roots, visit_counts_BA, q_values_BA, value_B, depth_B)
    return visit_counts_BA, q_values_BA, value_B, depth_B


@inlined_kernel
def _exp(x: float) -> float:
    """Returns e^x for x ≤ 0 to 13 digits as (e^(x/1024))^1024: no call to a library, so loops over it vectorise."""
    y = max(x, -700.0) * (1.0 / 1024.0)
    power = 1.0 + y * (1.0 + y * (1 / 2 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120 + y * (1 / 720))))))
    for _ in range(10):
        power *= power
    return power


@kernel
def _softmax(logits_BA: Array) -> Array:
    num_roots, num_actions = logits_BA.shape
    out_BA = np.empty((num_roots, num_actions))
    for root in range(num_roots):
        highest = logits_BA[root, 0]
        for action in range(1, num_actions):
            highest = max(highest, logits_BA[root, action])
        for action in range(num_actions):
            out_BA[root, action] = np.float64(logits_BA[root, action]) - highest
    out = out_BA.reshape(-1)
    for i in range(out.size):
        out[i] = _exp(out[i])
    for root in range(num_roots):
        total = 0.0
        for action in range(num_actions):
            total += out_BA[root, action]
        for action in range(num_actions):
            out_BA[root, action] /= total
    return out_BA


@inlined_kernel
def _expand(edges: Array, nodes: Array, node: int, value_B: Array, prior_BA: Array) -> None:
    num_roots, num_actions = prior_BA.shape
    for root in range(num_roots):
        nodes[root, node].visit_count = 0
        nodes[root, node].raw_value = value_B[root]
        row = edges[root, node]
        for action in range(num_actions):
            edge = row[action]
            edge.value_sum = 0.0
            edge.q_value = math.nan
            edge.prior = prior_BA[root, action]
            edge.reward = 0.0
            edge.visit_count = 0
            edge.child = NO_NODE


@kernel
def _plant(
    edges: Array, nodes: Array, roots: Array, value_B: Array, logits_BA: Array, noise_BA: Array, fraction: float
) -> None:
    for root in range(roots.size):
        roots[root].value_sum = 0.0
        roots[root].q_min = math.inf
        roots[root].q_max = -math.inf
        roots[root].depth = 0
    prior_BA = _softmax(logits_BA)
    for root in range(roots.size):
        for action in range(prior_BA.shape[1]):
            prior_BA[root, action] = (1.0 - fraction) * prior_BA[root, action] + fraction * noise_BA[root, action]
    _expand(edges, nodes, 0, value_B, prior_BA)


@kernel
def _grow(
    edges: Array,
    nodes: Array,
    roots: Array,
    node_B: Array,
    action_B: Array,
    all_embedding_RF: Array,
    leaf: int,
    value_B: Array,
    reward_B: Array,
    logits_BA: Array,
    embedding_BF: Array,
    discount: float,
) -> None:
    for root in range(roots.size):
        for feature in range(embedding_BF.shape[1]):
            all_embedding_RF[leaf * roots.size + root, feature] = embedding_BF[root, feature]
    _expand(edges, nodes, leaf, value_B, _softmax(logits_BA))
    for root in range(roots.size):
        edge = edges[root, node_B[root], action_B[root]]
        edge.child = leaf
        edge.reward = reward_B[root]
        nodes[root, leaf].parent = node_B[root]
        nodes[root, leaf].action = action_B[root]
        _backup(edges[root], nodes[root], roots[root], leaf, np.float64(value_B[root]), discount)


@inlined_kernel
def _backup(edges: Array, nodes: Array, root: np.record, leaf: int, value: float, discount: float) -> None:
    q_min, q_max = root.q_min, root.q_max
    child = leaf
    while child != 0:
        node = nodes[child]
        node.visit_count += 1
        edge = edges[node.parent, node.action]
        edge.visit_count += 1
        edge.value_sum += value
        reward = np.float64(edge.reward)
        edge.q_value = reward + discount * (edge.value_sum / edge.visit_count)
        q_min = min(q_min, edge.q_value)
        q_max = max(q_max, edge.q_value)
        value = reward + discount * value
        child = node.parent
    nodes[0].visit_count += 1
    root.value_sum += value
    root.q_min, root.q_max = q_min, q_max


@kernel
def _summarize(
    edges: Array, nodes: Array, roots: Array, counts_BA: Array, q_values_BA: Array, value_B: Array, depth_B: Array
) -> None:
    for root in range(roots.size):
        value_B[root] = roots[root].value_sum / nodes[root, 0].visit_count
        depth_B[root] = roots[root].depth
        for action in range(counts_BA.shape[1]):
            edge = edges[root, 0, action]
            counts_BA[root, action] = edge.visit_count
            q_values_BA[root, action] = edge.q_value
