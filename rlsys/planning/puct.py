"""Choosing actions inside the tree by PUCT with normalised values.

Schrittwieser et al. 2020, appendix B, https://arxiv.org/abs/1911.08265.
Shape legend: B roots, N nodes per root, A actions.
"""

import math

import numpy as np

from rlsys.planning.tree import NO_NODE, Tree, inlined_kernel, kernel
from rlsys.types import Array


def exploration_weights(num_simulations: int, pb_c_base: float, pb_c_init: float) -> Array:
    """Returns `[num_simulations + 1]`: the factor of a child's prior, by the visits n of its parent.

        (ln((n + pb_c_base + 1) / pb_c_base) + pb_c_init) sqrt(n)

    At n = 0 that factor is 0 and all children would tie; 1 stands there instead, so that the prior decides.
    """
    visits = np.arange(num_simulations + 1, dtype=np.float64)
    weights: Array = (np.log((visits + pb_c_base + 1.0) / pb_c_base) + pb_c_init) * np.sqrt(visits)
    weights[0] = 1.0
    return weights


def select(tree: Tree, exploration: Array, init_value_score: float) -> None:
    """Walks down every tree to an edge that was never taken; writes `node`, `action`, `row` and `parent_embedding`.

    Each step takes the child c of node p with the highest score, the lowest action among equals:

        exploration[N_p] / (N_c + 1) * prior_c + (q_c - q_min) / (q_max - q_min)

    with 1 for the second term where q_max = q_min, and `init_value_score` where c is unvisited.

    Args:
      tree: as `grow` left it; also gets the depth of its deepest path.
      exploration: from `exploration_weights`.
      init_value_score: value term of unvisited children, on the normalised scale.
    """
    arrays = tree.edges, tree.nodes, tree.roots, tree.node, tree.action, tree.row, tree.embedding, tree.parent_embedding
    _select(*arrays, exploration, init_value_score)


@kernel
def _select(
    edges: Array,
    nodes: Array,
    roots: Array,
    node_B: Array,
    action_B: Array,
    row_B: Array,
    embedding_RF: Array,
    parent_embedding_BF: Array,
    exploration: Array,
    init_value_score: float,
) -> None:
    # All roots go down level by level: neighbouring iterations are then independent, and the processor overlaps them.
    num_roots = roots.size
    walking = np.arange(num_roots)
    num_walking = num_roots
    visit_count_B = np.empty(num_roots, np.int64)
    for index in range(num_roots):
        node_B[index] = 0
        visit_count_B[index] = nodes[index, 0].visit_count
    depth = 0
    while num_walking > 0:
        depth += 1
        num_left = 0
        for i in range(num_walking):
            index = walking[i]
            node = node_B[index]
            root = roots[index]
            row = edges[index, node]
            weight = exploration[visit_count_B[index]]
            action = _best_action(row, weight, root.q_min, root.q_max, init_value_score)
            child = row[action].child
            visit_count_B[index] = row[action].visit_count  # that of the child, without going there
            is_inner = child != NO_NODE
            row_B[index] = node * num_roots + index
            action_B[index] = action
            node_B[index] = child if is_inner else node
            root.depth = max(root.depth, depth)
            walking[num_left] = index
            num_left += is_inner
        num_walking = num_left
    for index in range(num_roots):
        row = row_B[index]
        for feature in range(embedding_RF.shape[1]):
            parent_embedding_BF[index, feature] = embedding_RF[row, feature]


@inlined_kernel
def _best_action(row: Array, weight: float, q_min: float, q_max: float, init_value_score: float) -> int:
    # No branch depends on an action, since none could be predicted: the q value of an action never taken is NaN, which
    # passes through the arithmetic to where it is replaced. While q_min = q_max, all other q values are equal to them.
    is_flat = not q_max > q_min
    span = 1.0 if is_flat else q_max - q_min
    lift = 1.0 if is_flat else 0.0
    best_score = -math.inf
    best = 0
    for action in range(row.size):
        edge = row[action]
        value = (edge.q_value - q_min) / span + lift
        value = init_value_score if math.isnan(value) else value
        score = weight / (edge.visit_count + 1) * edge.prior + value
        is_better = score > best_score
        best_score = score if is_better else best_score
        best = action if is_better else best
    return best
