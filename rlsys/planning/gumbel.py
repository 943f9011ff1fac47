"""Choosing actions inside the tree by Gumbel MuZero's rules.

Danihelka et al. 2022, "Policy improvement by planning with Gumbel", https://openreview.net/forum?id=bERaNdoegnO.
Shape legend: B roots, N nodes per root, A actions.

Both rules need a value for every action of a node. That of an action never taken is a mixture of the model's own value
of the node, v, and the values found below it (appendix D, equation 33), where π is the prior and n the visits:

    v_mix = (v + Σ n · Σ_visited π q / Σ_visited π) / (1 + Σ n)

These completed values are scaled to [0, 1] in their node and weighed against logits by σ (equation 8):

    σ(q) = (maxvisit_init + max n) value_scale q
"""

import math

import numpy as np

from rlsys.planning.kernels import NO_NODE, inlined_kernel, kernel
from rlsys.planning.tree import Tree
from rlsys.types import Array

_TINY = 1e-30
_MIN_SPAN = 1e-8


def considered_visits(num_considered: int, num_simulations: int) -> Array:
    """Returns the schedule of sequential halving: `[num_simulations]` int64.

    Simulation i of a root goes to the best of the actions that have exactly the i-th number of visits. So the
    considered actions are tried in turn, and after each of about log2(num_considered) equal phases the better half of
    them stays (figure 1 of the paper).

    Args:
      num_considered: actions that the first phase considers, at least 1.
      num_simulations: length of the schedule.
    """
    if num_considered == 1:
        return np.arange(num_simulations)
    num_phases = math.ceil(math.log2(num_considered))
    visits = [0] * num_considered
    schedule: list[int] = []
    while len(schedule) < num_simulations:
        for _ in range(max(1, num_simulations // (num_phases * num_considered))):
            schedule += visits[:num_considered]
            visits[:num_considered] = [count + 1 for count in visits[:num_considered]]
        num_considered = max(2, num_considered // 2)
    return np.array(schedule[:num_simulations])


def select(tree: Tree, gumbel_BA: Array, considered_visit: int, maxvisit_init: float, value_scale: float) -> None:
    """Walks down every tree to an edge that was never taken; writes `node`, `action`, `row` and `parent_embedding`.

    At the root, of the actions with `considered_visit` visits, the one with the highest gumbel + ln π + σ(q). Below,
    the action whose share of the visits lags most behind the improved policy (equation 14): the highest

        softmax(ln π + σ(q)) - n / (1 + Σ n)

    Args:
      tree: as `grow` left it; also gets the depth of its deepest path.
      gumbel_BA: float64, the same in all simulations of a search.
      considered_visit: from `considered_visits`.
      maxvisit_init: c_visit of the paper.
      value_scale: c_scale of the paper.
    """
    arrays = tree.edges, tree.nodes, tree.roots, tree.node, tree.action, tree.row, tree.embedding, tree.parent_embedding
    _select(*arrays, gumbel_BA, considered_visit, maxvisit_init, value_scale)


def conclude(tree: Tree, gumbel_BA: Array, maxvisit_init: float, value_scale: float) -> tuple[Array, Array]:
    """Returns the roots' best actions `[B]` int64 and improved policies `[B, A]` float64.

    The best action has the highest gumbel + ln π + σ(q) among those with the most visits. The improved policy is
    softmax(ln π + σ(q)) over all actions (equation 11).
    """
    num_roots, _, num_actions = tree.edges.shape
    action_B, policy_BA = np.empty(num_roots, np.int64), np.empty((num_roots, num_actions))
    _conclude(tree.edges, tree.nodes, gumbel_BA, maxvisit_init, value_scale, action_B, policy_BA)
    return action_B, policy_BA


@inlined_kernel
def _completed_values(row: Array, raw_value: float, maxvisit_init: float, value_scale: float, out_A: Array) -> None:
    visits, most, prior_sum, weighted = 0, 0, 0.0, 0.0
    for action in range(row.size):
        edge = row[action]
        if edge.visit_count > 0:
            visits += edge.visit_count
            most = max(most, edge.visit_count)
            prior = max(np.float64(edge.prior), _TINY)
            prior_sum += prior
            weighted += prior * edge.q_value
    mixed = (raw_value + visits * (weighted / prior_sum)) / (1.0 + visits) if visits > 0 else raw_value
    low, high = math.inf, -math.inf
    for action in range(row.size):
        out_A[action] = row[action].q_value if row[action].visit_count > 0 else mixed
        low = min(low, out_A[action])
        high = max(high, out_A[action])
    scale = (maxvisit_init + most) * value_scale / max(high - low, _MIN_SPAN)
    for action in range(row.size):
        out_A[action] = scale * (out_A[action] - low)


@inlined_kernel
def _improved_policy(row: Array, value_A: Array) -> None:
    # In place: σ(q) goes in, softmax(ln π + σ(q)) comes out.
    highest, total = -math.inf, 0.0
    for action in range(row.size):
        value_A[action] += math.log(max(np.float64(row[action].prior), _TINY))
        highest = max(highest, value_A[action])
    for action in range(row.size):
        value_A[action] = math.exp(value_A[action] - highest)
        total += value_A[action]
    for action in range(row.size):
        value_A[action] /= total


@inlined_kernel
def _root_action(row: Array, gumbel_A: Array, value_A: Array, considered_visit: int) -> int:
    best, best_score = 0, -math.inf
    for action in range(row.size):
        score = gumbel_A[action] + math.log(max(np.float64(row[action].prior), _TINY)) + value_A[action]
        if row[action].visit_count == considered_visit and score > best_score:
            best, best_score = action, score
    return best


@inlined_kernel
def _inner_action(row: Array, policy_A: Array) -> int:
    visits = 0
    for action in range(row.size):
        visits += row[action].visit_count
    best, best_score = 0, -math.inf
    for action in range(row.size):
        score = policy_A[action] - row[action].visit_count / (1.0 + visits)
        if score > best_score:
            best, best_score = action, score
    return best


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
    gumbel_BA: Array,
    considered_visit: int,
    maxvisit_init: float,
    value_scale: float,
) -> None:
    num_roots, _, num_actions = edges.shape
    value_A = np.empty(num_actions)
    for root in range(num_roots):
        node, depth = 0, 1
        row = edges[root, 0]
        _completed_values(row, np.float64(nodes[root, 0].raw_value), maxvisit_init, value_scale, value_A)
        action = _root_action(row, gumbel_BA[root], value_A, considered_visit)
        while row[action].child != NO_NODE:
            node = row[action].child
            depth += 1
            row = edges[root, node]
            _completed_values(row, np.float64(nodes[root, node].raw_value), maxvisit_init, value_scale, value_A)
            _improved_policy(row, value_A)
            action = _inner_action(row, value_A)
        node_B[root] = node
        action_B[root] = action
        row_B[root] = node * num_roots + root
        for feature in range(embedding_RF.shape[1]):
            parent_embedding_BF[root, feature] = embedding_RF[node * num_roots + root, feature]
        roots[root].depth = max(roots[root].depth, depth)


@kernel
def _conclude(
    edges: Array,
    nodes: Array,
    gumbel_BA: Array,
    maxvisit_init: float,
    value_scale: float,
    action_B: Array,
    policy_BA: Array,
) -> None:
    for root in range(action_B.size):
        row = edges[root, 0]
        value_A = policy_BA[root]
        _completed_values(row, np.float64(nodes[root, 0].raw_value), maxvisit_init, value_scale, value_A)
        most = 0
        for action in range(row.size):
            most = max(most, row[action].visit_count)
        action_B[root] = _root_action(row, gumbel_BA[root], value_A, most)
        _improved_policy(row, value_A)
