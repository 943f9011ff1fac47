"""From visit counts to actions, and the noise that keeps self-play exploring.

Schrittwieser et al. 2020, https://arxiv.org/abs/1911.08265, appendices C and D.
Shape legend: B roots, A actions, M steps.

Nothing here draws a number without being told from where: `dirichlet_noise` takes generators, the rest takes uniform
draws. With one stream per root, a batch of roots acts as its roots would alone.
"""

from collections.abc import Sequence

import numpy as np

from rlsys.planning.tree import Tree
from rlsys.types import Array


def dirichlet_noise(
    rng: np.random.Generator | Sequence[np.random.Generator], alpha: float, num_roots: int, num_actions: int
) -> Array:
    """Returns draws from a symmetric Dirichlet distribution: `[B, A]` float64, each row sums to 1.

    Args:
      rng: one generator for all roots, or one per root.
      alpha: concentration; below 1, most of the mass goes to few actions.
      num_roots: B.
      num_actions: A.
    """
    concentration_A = np.full(num_actions, alpha)
    if isinstance(rng, np.random.Generator):
        return rng.dirichlet(concentration_A, size=num_roots)
    assert len(rng) == num_roots, (len(rng), num_roots)
    return np.stack([stream.dirichlet(concentration_A) for stream in rng])


def action_probabilities(visit_counts_BA: Array, temperature_B: Array | float) -> Array:
    """Returns `[B, A]` float64 probabilities proportional to N^(1/T).

    Powers are taken in logarithms relative to the row's maximum, so no temperature overflows.

    Args:
      visit_counts_BA: at least one per row is positive.
      temperature_B: T per root, or one for all; 0 shares everything equally among the most visited actions.
    """
    temperature_B1 = np.broadcast_to(np.asarray(temperature_B, np.float64), len(visit_counts_BA))[:, None]
    share_BA = visit_counts_BA / visit_counts_BA.max(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        log_power_BA = np.log(share_BA) / np.where(temperature_B1 > 0, temperature_B1, 1.0)
    power_BA = np.where(temperature_B1 > 0, np.exp(log_power_BA), share_BA == 1.0)
    return np.asarray(power_BA / power_BA.sum(axis=1, keepdims=True))


def sample_actions(probability_BA: Array, uniform_B: Array) -> Array:
    """Returns `[B]` int64 draws from each row, by inverting its cumulative distribution at `uniform_B` in [0, 1)."""
    cumulative_BA = probability_BA.cumsum(axis=1)
    cumulative_BA /= cumulative_BA[:, -1:]
    return np.asarray((cumulative_BA <= uniform_B[:, None]).sum(axis=1))


def open_loop_actions(tree: Tree, temperature_B: Array | float, uniform_BM: Array) -> tuple[Array, Array]:
    """Returns the first M actions of a plan per root, to be taken without searching again.

    The walk goes down from the root and chooses in each node by that node's own visit counts, as
    `action_probabilities` does at the root. It ends early in a node none of whose actions was ever taken, since nothing
    there tells them apart.

    Args:
      tree: after a search.
      temperature_B: T per root, or one for all.
      uniform_BM: draws from [0, 1), one per step.

    Returns:
      actions `[B, M]` int64, -1 after the end of a plan; predicted rewards `[B, M]` float64, 0 there.
    """
    num_roots, num_steps = uniform_BM.shape
    temperature_B = np.broadcast_to(np.asarray(temperature_B, np.float64), num_roots)
    action_BM, reward_BM = np.full((num_roots, num_steps), -1), np.zeros((num_roots, num_steps))
    root = np.arange(num_roots)
    node = np.zeros(num_roots, np.int64)
    for step in range(num_steps):
        counts = tree.visit_count[root, node]
        is_inner = counts.any(axis=1)
        root, node, counts = root[is_inner], node[is_inner], counts[is_inner]
        if root.size == 0:
            break
        action = sample_actions(action_probabilities(counts, temperature_B[root]), uniform_BM[root, step])
        action_BM[root, step] = action
        reward_BM[root, step] = tree.reward[root, node, action]
        node = tree.child[root, node, action]
    return action_BM, reward_BM
