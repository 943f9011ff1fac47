"""Choosing actions inside the tree by Gumbel MuZero's rules.

Danihelka et al. 2022, "Policy improvement by planning with Gumbel", https://openreview.net/forum?id=bERaNdoegnO.
Shape legend: B roots, N nodes per root, A actions.

Both rules need a value for every action of a node. That of an action never taken is a mixture of the model's own value
of the node, v, and the values found below it (appendix D, equation 33), where π is the prior and n the visits:

    v_mix = (v + Σ n · Σ_visited π q / Σ_visited π) / (1 + Σ n)

These completed values are scaled to [0, 1] in their node and weighed against logits by σ (equation 8):

    σ(q) = (maxvisit_init + max n) value_scale q

A masked action, one whose logit is -inf, has ln π = -inf: it is never taken, and the improved policy never takes it.
"""

import math

import numpy as np

from rlsys.planning.kernels import NO_NODE, inlined_kernel, kernel, likeliest
from rlsys.planning.tree import Tree
from rlsys.types import Array

_TINY = np.float64(1e-30)
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


def schedules(prior_logits_BA: Array, max_considered: int, num_simulations: int) -> Array:
    """Returns `[num_simulations, B]` int64: `considered_visits` of each root, of as many actions as it has to consider.

    Args:
      prior_logits_BA: -inf for masked actions, which do not count.
      max_considered: actions that are considered where there are so many.
      num_simulations: length of the schedules.
    """
    num_valid_B = (prior_logits_BA != -np.inf).sum(axis=1)
    counts, index_B = np.unique(np.clip(num_valid_B, 1, max_considered), return_inverse=True)
    table = np.stack([considered_visits(count, num_simulations) for count in counts.tolist()])
    return np.ascontiguousarray(table[index_B].T)


def select(
    tree: Tree,
    gumbel_BA: Array,
    considered_visit_B: Array,
    maxvisit_init: float,
    value_scale: float,
    chance_after: int | None = None,
) -> None:
    """Walks down every tree to an edge that was never taken; writes `row`, `action` and `parent_embedding`.

    At the root, of the actions with `considered_visit_B` visits, the one with the highest gumbel + ln π + σ(q). Below,
    the action whose share of the visits lags most behind the improved policy (equation 14): the highest

        softmax(ln π + σ(q)) - n / (1 + Σ n)

    Args:
      tree: as `grow` left it; also gets the depth of its deepest path.
      gumbel_BA: float64, the same in all simulations of a search.
      considered_visit_B: int64, a row of `schedules`.
      maxvisit_init: c_visit of the paper.
      value_scale: c_scale of the paper.
      chance_after: A, where every second level is chance's (see `chance.py`) and branches behind these are no actions;
        None: all levels and branches are actions'.
    """
    num_actions = tree.edges.shape[1] if chance_after is None else chance_after
    arrays = tree.edges, tree.nodes, tree.roots, tree.embedding, tree.row, tree.action, tree.parent_embedding
    _select(*arrays, gumbel_BA, considered_visit_B, maxvisit_init, value_scale, num_actions, chance_after is not None)


def conclude(
    tree: Tree, gumbel_BA: Array, maxvisit_init: float, value_scale: float, chance_after: int | None = None
) -> tuple[Array, Array]:
    """Returns the roots' best actions `[B]` int64 and improved policies `[B, A]` float64.

    The best action has the highest gumbel + ln π + σ(q) among those with the most visits. The improved policy is
    softmax(ln π + σ(q)) over all actions (equation 11).
    """
    num_roots, num_branches = tree.roots.size, tree.edges.shape[1]
    action_B, policy_BA = np.empty(num_roots, np.int64), np.zeros((num_roots, num_branches))
    num_actions = num_branches if chance_after is None else chance_after
    _conclude(tree.edges, tree.nodes, gumbel_BA, maxvisit_init, value_scale, num_actions, action_B, policy_BA)
    return action_B, policy_BA


@inlined_kernel
def _log_prior(edge: np.record) -> float:
    is_masked = edge.q_value == -math.inf
    return -math.inf if is_masked else math.log(max(np.float64(edge.prior), _TINY))


@inlined_kernel
def _completed_values(
    edges_A: Array, raw_value: np.float64, maxvisit_init: float, value_scale: float, out_A: Array
) -> None:
    visits, most = 0, 0
    prior_sum, weighted = np.float64(0.0), np.float64(0.0)
    for action in range(edges_A.size):
        edge = edges_A[action]
        if edge.visit_count > 0:
            visits += edge.visit_count
            most = max(most, edge.visit_count)
            prior = max(np.float64(edge.prior), _TINY)
            prior_sum += prior
            weighted += prior * edge.q_value
    mixed = (raw_value + visits * (weighted / prior_sum)) / (1.0 + visits) if visits > 0 else raw_value
    low, high = math.inf, -math.inf
    for action in range(edges_A.size):
        out_A[action] = edges_A[action].q_value if edges_A[action].visit_count > 0 else mixed
        low = min(low, out_A[action])
        high = max(high, out_A[action])
    scale = (maxvisit_init + most) * value_scale / max(high - low, _MIN_SPAN)
    for action in range(edges_A.size):
        out_A[action] = scale * (out_A[action] - low)


@inlined_kernel
def _improved_policy(edges_A: Array, value_A: Array) -> None:
    # In place: σ(q) goes in, softmax(ln π + σ(q)) comes out.
    highest, total = -math.inf, 0.0
    for action in range(edges_A.size):
        value_A[action] += _log_prior(edges_A[action])
        highest = max(highest, value_A[action])
    for action in range(edges_A.size):
        value_A[action] = math.exp(value_A[action] - highest)
        total += value_A[action]
    for action in range(edges_A.size):
        value_A[action] /= total


@inlined_kernel
def _root_action(edges_A: Array, gumbel_A: Array, value_A: Array, considered_visit: int) -> int:
    best, best_score = 0, -math.inf
    for action in range(edges_A.size):
        score = gumbel_A[action] + _log_prior(edges_A[action]) + value_A[action]
        if edges_A[action].visit_count == considered_visit and score > best_score:
            best, best_score = action, score
    return best


@inlined_kernel
def _inner_action(edges_A: Array, policy_A: Array) -> int:
    visits = 0
    for action in range(edges_A.size):
        visits += edges_A[action].visit_count
    best, best_score = 0, -math.inf
    for action in range(edges_A.size):
        score = policy_A[action] - edges_A[action].visit_count / (1.0 + visits)
        if edges_A[action].q_value != -math.inf and score > best_score:
            best, best_score = action, score
    return best


@kernel
def _select(
    edges: Array,
    nodes: Array,
    roots: Array,
    embedding_RF: Array,
    row_B: Array,
    action_B: Array,
    parent_embedding_BF: Array,
    gumbel_BA: Array,
    considered_visit_B: Array,
    maxvisit_init: float,
    value_scale: float,
    num_actions: int,
    has_chance: bool,
) -> None:
    value_A = np.empty(num_actions)
    for index in range(roots.size):
        row, depth = index, 1
        edges_A = edges[row, :num_actions]
        _completed_values(edges_A, np.float64(nodes[row].raw_value), maxvisit_init, value_scale, value_A)
        action = _root_action(edges_A, gumbel_BA[index], value_A, considered_visit_B[index])
        while edges_A[action].child != NO_NODE:
            row = edges_A[action].child
            depth += 1
            if has_chance and depth % 2 == 0:
                edges_A = edges[row]
                action = likeliest(edges_A)
            else:
                edges_A = edges[row, :num_actions]
                _completed_values(edges_A, np.float64(nodes[row].raw_value), maxvisit_init, value_scale, value_A)
                _improved_policy(edges_A, value_A)
                action = _inner_action(edges_A, value_A)
        row_B[index] = row
        action_B[index] = action
        for feature in range(embedding_RF.shape[1]):
            parent_embedding_BF[index, feature] = embedding_RF[row, feature]
        roots[index].depth = max(roots[index].depth, depth)


@kernel
def _conclude(
    edges: Array,
    nodes: Array,
    gumbel_BA: Array,
    maxvisit_init: float,
    value_scale: float,
    num_actions: int,
    action_B: Array,
    policy_BA: Array,
) -> None:
    for index in range(action_B.size):
        edges_A, value_A = edges[index, :num_actions], policy_BA[index, :num_actions]
        _completed_values(edges_A, np.float64(nodes[index].raw_value), maxvisit_init, value_scale, value_A)
        most = 0
        for action in range(edges_A.size):
            most = max(most, edges_A[action].visit_count)
        action_B[index] = _root_action(edges_A, gumbel_BA[index], value_A, most)
        _improved_policy(edges_A, value_A)
