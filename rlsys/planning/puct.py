"""Choosing actions inside the tree by PUCT with normalised values.

Schrittwieser et al. 2020, appendix B, https://arxiv.org/abs/1911.08265.
Shape legend: B roots, N nodes per root, A actions.
"""

import numpy as np

from rlsys.planning import kernels
from rlsys.planning.tree import Tree
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


def select(tree: Tree, exploration: Array, init_value_score: float, has_chance: bool = False) -> None:
    """Walks down every tree to an edge that was never taken; writes `row`, `action` and `parent_embedding`.

    Each step takes the child c of node p with the highest score, the lowest action among equals:

        exploration[N_p] / (N_c + 1) * prior_c + (q_c - q_min) / (q_max - q_min)

    with 1 for the second term where q_max = q_min, and `init_value_score` where c is unvisited.

    Args:
      tree: as `grow` left it; also gets the depth of its deepest path.
      exploration: from `exploration_weights`.
      init_value_score: value term of unvisited children, on the normalised scale.
      has_chance: whether every second level is chance's (see `chance.py`).
    """
    arrays = tree.edges, tree.nodes, tree.roots, tree.embedding, tree.row, tree.action, tree.parent_embedding
    kernels.select(*arrays, exploration, init_value_score, has_chance)


def grow_and_select(
    tree: Tree,
    leaf: int,
    value_B: Array,
    reward_B: Array,
    prior_logits_BA: Array,
    embedding_BF: Array,
    discount: float,
    exploration: Array,
    init_value_score: float,
    has_chance: bool = False,
) -> None:
    """Does what `tree.grow` and then `select` do, in one call: for few roots, calling takes longer than searching."""
    kernels.grow_and_select(
        tree.edges,
        tree.nodes,
        tree.roots,
        tree.embedding,
        tree.row,
        tree.action,
        tree.parent_embedding,
        leaf,
        value_B,
        reward_B,
        prior_logits_BA,
        embedding_BF,
        discount,
        exploration,
        init_value_score,
        has_chance,
    )
