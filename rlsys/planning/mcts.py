"""Batched Monte-Carlo tree search over a model that is given as functions.

All B roots take each simulation together: one walk down every tree, one call of the model for the B leaves, one walk
back up. No root's tree depends on another's, so a batch gives what its roots give one by one, as far as the model's
arithmetic does not depend on the batch size.

Schrittwieser et al. 2020, appendix B, https://arxiv.org/abs/1911.08265, and Danihelka et al. 2022, "Policy improvement
by planning with Gumbel", https://openreview.net/forum?id=bERaNdoegnO.
An action whose prior logit is -inf is masked, at roots and below: no search takes it, noise or not, unless every
action of a node below a root is masked, whose logits then say nothing.

With a discount below 0 two players take turns, and one wins what the other loses (negamax): the value of a node is that
of who is to move there, a reward that of who has moved, and q = reward + discount * value turns what a child is worth
to the one into what it is worth to the other. Bounds of q values are kept for both together.

Shape legend: B roots, N nodes per root (simulations + 1), A actions, S simulations.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlsys.errors import WorkerError
from rlsys.planning import gumbel, puct
from rlsys.planning.model import DeviceModel, HostModel, LeafOutput, Model, RecurrentFn, RootOutput, to_array
from rlsys.planning.tree import Tree, grow, plant, summarize
from rlsys.types import Array


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
      visit_counts: `[B, A]` int64; each row sums to the number of simulations.
      root_value: `[B]` float64, mean of the returns backed up to the root, without the model's own value of it.
      q_values: `[B, A]` float64, reward + discount * value of each action, NaN where it was never taken.
      depth: `[B]` int64, edges of the longest path.
      tree: the trees, valid until the workspace's next search.
      embedding: `[R, ...]` what the model said of each row of the trees (see `rlsys.planning.tree`), likewise.
    """

    visit_counts: Array
    root_value: Array
    q_values: Array
    depth: Array
    tree: Tree
    embedding: Tensor

    @property
    def q_max(self) -> Array:
        """`[B]` float64, the highest q value among the actions that were taken."""
        return np.asarray(np.nanmax(self.q_values, axis=1))


@dataclass(frozen=True)
class GumbelResult(SearchResult):
    """What a search with Gumbel's rule found, and what it recommends.

    Attributes:
      action: `[B]` int64, the winner of sequential halving.
      policy: `[B, A]` float64, the improved policy: the target for the policy network, over all actions.
    """

    action: Array
    policy: Array


class Workspace:
    """Memory that one worker's searches share, so that a search of the same shape as the last allocates nothing."""

    def __init__(self) -> None:
        self._key: tuple[object, ...] = ()
        self._tree: Tree | None = None
        self._model: Model | None = None

    def reserve(self, root: RootOutput, num_simulations: int) -> tuple[Tree, Model]:
        """Returns a tree and the model's side of it with room for a search from `root`."""
        embedding = root.embedding
        num_roots, num_actions = root.prior_logits.shape
        key = (num_simulations, num_actions, embedding.shape, embedding.dtype, embedding.device)
        if self._tree is None or self._model is None or self._key != key:
            is_host = embedding.is_cpu and embedding.dtype == torch.float32
            num_features = embedding[0].numel() if is_host else 0
            self._tree = Tree.allocate(num_roots, num_simulations + 1, num_actions, num_features)
            self._model = (HostModel if is_host else DeviceModel)(self._tree, embedding)
            self._key = key
        return self._tree, self._model


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
    chance_after: int | None = None,
    workspace: Workspace | None = None,
) -> SearchResult:
    """Searches with MuZero's rule (`puct.select`).

    Args:
      recurrent_fn: the model.
      root: the model's view of the B states to search from.
      num_simulations: model calls, each for all roots; at least 1.
      discount: per step, in [-1, 1]; below 0 where two players take turns (see above).
      pb_c_base: the larger, the later exploration grows with the visits of the parent.
      pb_c_init: weight of the prior.
      init_value_score: value term of unvisited actions; visited ones have theirs normalised to [0, 1].
      noise_BA: float64 probabilities that are mixed into the roots' priors (`actions.dirichlet_noise`); None for none.
      exploration_fraction: share of the noise, in [0, 1].
      chance_after: actions of a state, where chance has every second move (`ChanceModel`); None: it has none.
      workspace: memory to use again; None allocates it.

    Raises:
      WorkerError: the model returned a number that is not finite, or masked every action of a root.
    """
    exploration = puct.exploration_weights(num_simulations, pb_c_base, pb_c_init)

    def select(tree: Tree, simulation: int) -> None:
        puct.select(tree, exploration, init_value_score, chance_after is not None)

    def grow_and_select(tree: Tree, leaf: int, output: LeafOutput) -> None:
        puct.grow_and_select(tree, leaf, *output, discount, exploration, init_value_score, chance_after is not None)

    rule = _Rule(select, grow_and_select, discount)
    return _result(*_search(rule, recurrent_fn, root, num_simulations, noise_BA, exploration_fraction, workspace))


def gumbel_search(
    recurrent_fn: RecurrentFn,
    root: RootOutput,
    *,
    num_simulations: int,
    discount: float,
    gumbel_BA: Array | None = None,
    max_num_considered_actions: int = 16,
    maxvisit_init: float = 50.0,
    value_scale: float = 0.1,
    chance_after: int | None = None,
    workspace: Workspace | None = None,
) -> GumbelResult:
    """Searches with Gumbel MuZero's rules: sequential halving at the roots, deterministic matching of π' below.

    Args:
      recurrent_fn: the model.
      root: the model's view of the B states to search from.
      num_simulations: model calls, each for all roots; at least 1.
      discount: per step, in [-1, 1]; below 0 where two players take turns (see above).
      gumbel_BA: float64 draws from Gumbel(0, 1), which make the action a sample of the improved policy; None for zeros,
        which makes it the best one.
      max_num_considered_actions: actions that sequential halving starts from, where there are so many.
      maxvisit_init: c_visit of the paper.
      value_scale: c_scale of the paper; 0.1 for Atari, 1.0 for board games.
      chance_after: actions of a state, where chance has every second move (`ChanceModel`); None: it has none.
      workspace: memory to use again; None allocates it.

    Raises:
      WorkerError: the model returned a number that is not finite, or masked every action of a root.
    """
    num_roots, num_actions = root.prior_logits.shape
    schedule_SB = gumbel.schedules(
        to_array(root.prior_logits), min(max_num_considered_actions, num_actions), num_simulations
    )
    noise_BA = np.zeros((num_roots, num_actions)) if gumbel_BA is None else gumbel_BA

    def select(tree: Tree, simulation: int) -> None:
        gumbel.select(tree, noise_BA, schedule_SB[simulation], maxvisit_init, value_scale, chance_after)

    def grow_and_select(tree: Tree, leaf: int, output: LeafOutput) -> None:
        grow(tree, leaf, *output, discount)
        select(tree, leaf)

    rule = _Rule(select, grow_and_select, discount)
    tree, embedding = _search(rule, recurrent_fn, root, num_simulations, None, 0.0, workspace)
    action_B, policy_BA = gumbel.conclude(tree, noise_BA, maxvisit_init, value_scale, chance_after)
    return GumbelResult(**vars(_result(tree, embedding)), action=action_B, policy=policy_BA)


class _Rule(NamedTuple):
    """How simulation i chooses its leaf, given the tree; and the same after the leaf before has been added."""

    select: Callable[[Tree, int], None]
    grow_and_select: Callable[[Tree, int, LeafOutput], None]
    discount: float


@torch.inference_mode()
def _search(
    rule: _Rule,
    recurrent_fn: RecurrentFn,
    root: RootOutput,
    num_simulations: int,
    noise_BA: Array | None,
    noise_fraction: float,
    workspace: Workspace | None,
) -> tuple[Tree, Tensor]:
    prior_logits_BA = to_array(root.prior_logits)
    _check_masks(prior_logits_BA)
    tree, model = (workspace or Workspace()).reserve(root, num_simulations)
    embedding_BF = model.reset(root.embedding)
    plant(tree, to_array(root.value), prior_logits_BA, embedding_BF, noise_BA, noise_fraction)
    rule.select(tree, 0)
    for leaf in range(1, num_simulations):
        rule.grow_and_select(tree, leaf, model.step(recurrent_fn, leaf))
    grow(tree, num_simulations, *model.step(recurrent_fn, num_simulations), rule.discount)
    return tree, model.embedding


def _check_masks(prior_logits_BA: Array) -> None:
    if prior_logits_BA.min() == -math.inf and (is_closed_B := (prior_logits_BA == -math.inf).all(axis=1)).any():
        raise WorkerError(
            f"all {prior_logits_BA.shape[1]} actions of root {int(is_closed_B.argmax())} are masked (their prior "
            "logits are -inf); at least one must be left. Correct the mask."
        )


def _result(tree: Tree, embedding: Tensor) -> SearchResult:
    visit_counts_BA, q_values_BA, root_value_B, depth_B = summarize(tree)
    if not math.isfinite(root_value_B.sum()):
        root = int(np.argmin(np.isfinite(root_value_B)))
        raise WorkerError(
            f"the model gave a value or reward that is not finite in the search from root {root}; search needs finite "
            "numbers. Go back to the last good checkpoint, and clip gradients or lower the learning rate."
        )
    return SearchResult(visit_counts_BA, root_value_B, q_values_BA, depth_B, tree, embedding)
