"""The compiled loops of a search with PUCT, over the arrays of a `Tree`.

They are all in this file because the compiler's cache on disk notices changes of a function's own file alone. Arguments
are as in `tree.py` and `puct.py`, which call them.

An action whose logit is -inf is masked: it has no prior, its q value is -inf, and so it never has the highest score.

Shape legend: B roots, N nodes per root (simulations + 1), A actions, R nodes of all roots (N * B), F features.
"""

import math

import numpy as np

from rlsys.compiled import njit
from rlsys.types import Array

EDGE = np.dtype(
    [
        ("value_sum", np.float64),  # of the child, as seen from the child
        ("q_value", np.float64),  # reward + discount * mean value of the child, NaN until taken, -inf where masked
        ("prior", np.float32),
        ("reward", np.float32),
        ("visit_count", np.int32),
        ("child", np.int32),  # row, NO_NODE until the edge is first taken
    ]
)
NODE = np.dtype(
    [
        ("parent", np.int32),  # row; undefined for a root, as is the action
        ("action", np.int32),  # that led here from the parent
        ("visit_count", np.int32),
        ("raw_value", np.float32),  # the model's own value
    ]
)
ROOT = np.dtype([("value_sum", np.float64), ("q_min", np.float64), ("q_max", np.float64), ("depth", np.int64)])
NO_NODE = -1

kernel = njit(cache=True, nogil=True, error_model="numpy")
"""Compiles a function over tree arrays."""
inlined_kernel = njit(inline="always", error_model="numpy")
"""Compiles a part of a kernel into it. As a call of its own it would count references to each row that it is handed."""


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
        all_masked = highest == -math.inf  # which says nothing: all are alike
        for action in range(num_actions):
            out_BA[root, action] = 0.0 if all_masked else np.float64(logits_BA[root, action]) - highest
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
def _expand(edges: Array, nodes: Array, first_row: int, value_B: Array, logits_BA: Array, prior_BA: Array) -> None:
    num_roots, num_actions = prior_BA.shape
    for index in range(num_roots):
        node = nodes[first_row + index]
        node.visit_count = 0
        node.raw_value = value_B[index]
        num_masked = 0
        for action in range(num_actions):
            num_masked += logits_BA[index, action] == -math.inf
        for action in range(num_actions):
            edge = edges[first_row + index, action]
            edge.value_sum = 0.0
            is_masked = logits_BA[index, action] == -math.inf and num_masked < num_actions
            edge.q_value = -math.inf if is_masked else math.nan
            edge.prior = prior_BA[index, action]
            edge.reward = 0.0
            edge.visit_count = 0
            edge.child = NO_NODE


@inlined_kernel
def _mix(prior_A: Array, logits_A: Array, noise_A: Array, fraction: float) -> None:
    # Of Dirichlet noise, what falls to some of the actions is, in proportion, Dirichlet noise over those.
    any_masked, total = False, 0.0
    for action in range(prior_A.size):
        is_masked = logits_A[action] == -math.inf
        any_masked = any_masked or is_masked
        total += 0.0 if is_masked else noise_A[action]
    share = 0.0 if any_masked and total == 0.0 else fraction  # all of a draw may fall to masked actions
    scale = 1.0 / total if any_masked and total > 0.0 else 1.0
    for action in range(prior_A.size):
        mixed = (1.0 - share) * prior_A[action] + share * (noise_A[action] * scale)
        prior_A[action] = 0.0 if logits_A[action] == -math.inf else mixed


@kernel
def plant(
    edges: Array, nodes: Array, roots: Array, value_B: Array, logits_BA: Array, noise_BA: Array, fraction: float
) -> None:
    """Empties all trees and expands their roots."""
    for index in range(roots.size):
        root = roots[index]
        root.value_sum = 0.0
        root.q_min = math.inf
        root.q_max = -math.inf
        root.depth = 0
    prior_BA = _softmax(logits_BA)
    for index in range(roots.size):
        _mix(prior_BA[index], logits_BA[index], noise_BA[index], fraction)
    _expand(edges, nodes, 0, value_B, logits_BA, prior_BA)


@kernel
def grow(
    edges: Array,
    nodes: Array,
    roots: Array,
    embedding_RF: Array,
    row_B: Array,
    action_B: Array,
    leaf: int,
    value_B: Array,
    reward_B: Array,
    logits_BA: Array,
    leaf_embedding_BF: Array,
    discount: float,
) -> None:
    """Stores embeddings, expands the new leaves and backs their values up."""
    num_roots = roots.size
    first_row = leaf * num_roots
    for index in range(num_roots):
        for feature in range(leaf_embedding_BF.shape[1]):
            embedding_RF[first_row + index, feature] = leaf_embedding_BF[index, feature]
    _expand(edges, nodes, first_row, value_B, logits_BA, _softmax(logits_BA))
    for index in range(num_roots):
        leaf_row = first_row + index
        edge = edges[row_B[index], action_B[index]]
        edge.child = leaf_row
        edge.reward = reward_B[index]
        nodes[leaf_row].parent = row_B[index]
        nodes[leaf_row].action = action_B[index]
        _backup(edges, nodes, roots[index], leaf_row, num_roots, np.float64(value_B[index]), discount)


@inlined_kernel
def _backup(
    edges: Array, nodes: Array, root: np.record, leaf_row: int, num_roots: int, value: np.float64, discount: float
) -> None:
    q_min, q_max = root.q_min, root.q_max
    row = leaf_row
    while row >= num_roots:
        node = nodes[row]
        node.visit_count += 1
        edge = edges[node.parent, node.action]
        edge.visit_count += 1
        edge.value_sum += value
        reward = np.float64(edge.reward)
        edge.q_value = reward + discount * (edge.value_sum / edge.visit_count)
        q_min = min(q_min, edge.q_value)
        q_max = max(q_max, edge.q_value)
        value = reward + discount * value
        row = node.parent
    nodes[row].visit_count += 1
    root.value_sum += value
    root.q_min, root.q_max = q_min, q_max


@kernel
def select(
    edges: Array,
    nodes: Array,
    roots: Array,
    embedding_RF: Array,
    row_B: Array,
    action_B: Array,
    parent_embedding_BF: Array,
    exploration: Array,
    init_value_score: float,
    has_chance: bool,
) -> None:
    """Walks down all trees and gathers the embeddings found there; with chance, every second level is its own."""
    # All roots go down level by level: neighbouring iterations are then independent, and the processor overlaps them.
    num_roots = roots.size
    walking = np.arange(num_roots)
    num_walking = num_roots
    visit_count_B = np.empty(num_roots, np.int64)
    for index in range(num_roots):
        row_B[index] = index
        visit_count_B[index] = nodes[index].visit_count
    depth = 0
    while num_walking > 0:
        depth += 1
        num_left = 0
        for i in range(num_walking):
            index = walking[i]
            root = roots[index]
            edges_A = edges[row_B[index]]
            if has_chance and depth % 2 == 0:
                action = likeliest(edges_A)
            else:
                weight = exploration[visit_count_B[index]]
                action = _best_action(edges_A, weight, root.q_min, root.q_max, init_value_score)
            edge = edges_A[action]
            visit_count_B[index] = edge.visit_count  # that of the child, without going there
            is_inner = edge.child != NO_NODE
            action_B[index] = action
            row_B[index] = edge.child if is_inner else row_B[index]
            root.depth = max(root.depth, depth)
            walking[num_left] = index
            num_left += is_inner
        num_walking = num_left
    for index in range(num_roots):
        row = row_B[index]
        for feature in range(embedding_RF.shape[1]):
            parent_embedding_BF[index, feature] = embedding_RF[row, feature]


@inlined_kernel
def likeliest(edges_A: Array) -> int:
    """Returns the code whose visits lag most behind its probability, the lowest among equals: see `chance.py`.

    It is compiled into `gumbel.py`, too: whoever changes it has to touch that file.
    """
    best_score = -1.0
    best = 0
    for code in range(edges_A.size):
        edge = edges_A[code]
        score = np.float64(edge.prior) / (edge.visit_count + 1)
        is_better = score > best_score and edge.q_value != -math.inf
        best_score = score if is_better else best_score
        best = code if is_better else best
    return best


@inlined_kernel
def _best_action(edges_A: Array, weight: float, q_min: float, q_max: float, init_value_score: float) -> int:
    # No branch depends on an action, since none could be predicted: the q value of an action never taken is NaN, which
    # passes through the arithmetic to where it is replaced. While q_min = q_max, all other q values are equal to them.
    is_flat = not q_max > q_min
    span = 1.0 if is_flat else q_max - q_min
    lift = 1.0 if is_flat else 0.0
    best_score = -math.inf
    best = 0
    for action in range(edges_A.size):
        edge = edges_A[action]
        value = (edge.q_value - q_min) / span + lift
        value = init_value_score if math.isnan(value) else value
        score = weight / (edge.visit_count + 1) * edge.prior + value
        is_better = score > best_score
        best_score = score if is_better else best_score
        best = action if is_better else best
    return best


@kernel
def grow_and_select(
    edges: Array,
    nodes: Array,
    roots: Array,
    embedding_RF: Array,
    row_B: Array,
    action_B: Array,
    parent_embedding_BF: Array,
    leaf: int,
    value_B: Array,
    reward_B: Array,
    logits_BA: Array,
    leaf_embedding_BF: Array,
    discount: float,
    exploration: Array,
    init_value_score: float,
    has_chance: bool,
) -> None:
    """Does both."""
    grow(
        edges,
        nodes,
        roots,
        embedding_RF,
        row_B,
        action_B,
        leaf,
        value_B,
        reward_B,
        logits_BA,
        leaf_embedding_BF,
        discount,
    )
    select(
        edges,
        nodes,
        roots,
        embedding_RF,
        row_B,
        action_B,
        parent_embedding_BF,
        exploration,
        init_value_score,
        has_chance,
    )


@kernel
def summarize(
    edges: Array, nodes: Array, roots: Array, counts_BA: Array, q_values_BA: Array, value_B: Array, depth_B: Array
) -> None:
    """Copies what is known at the roots into the last four arrays."""
    for index in range(roots.size):
        value_B[index] = roots[index].value_sum / nodes[index].visit_count
        depth_B[index] = roots[index].depth
        for action in range(counts_BA.shape[1]):
            edge = edges[index, action]
            counts_BA[index, action] = edge.visit_count
            q_values_BA[index, action] = edge.q_value if edge.visit_count > 0 else math.nan
