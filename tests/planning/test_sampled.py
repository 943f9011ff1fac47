"""Search among drawn actions: against a tree of Python objects and draws written from the definition."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlsys.planning.mcts import Workspace, gumbel_search, puct_search
from rlsys.planning.model import RecurrentOutput, RootOutput
from rlsys.planning.sampled import SampledModel
from rlsys.types import Array

NUM_STATES = 997
TREE_ARRAYS = ("raw_value", "child", "prior", "reward", "visit_count", "value_sum", "q_value")
Action = tuple[int, ...]


class FactoredTable:
    """A world of numbered states with random values and policies of D factors; all actions have other consequences."""

    def __init__(self, seed: int, num_factors: int, num_values: int) -> None:
        rng = np.random.default_rng(seed)
        self.num_factors, self.num_values = num_factors, num_values
        self.value = torch.from_numpy(rng.standard_normal(NUM_STATES)).float()
        self.reward = torch.from_numpy(rng.standard_normal(NUM_STATES)).float()
        self.logits = torch.from_numpy(rng.standard_normal((NUM_STATES, num_factors * num_values))).float()
        self.values = np.linspace(-1.0, 1.0, num_values, dtype=np.float32)

    def after(self, state_B: Tensor, drawn_BD: Tensor) -> Tensor:
        code_B = sum(drawn_BD[:, d] * 7 ** (d + 1) for d in range(self.num_factors))
        return (state_B * 31 + code_B) % NUM_STATES

    def root(self, state_B: Any, shape: tuple[int, ...] = (1,), dtype: torch.dtype = torch.float32) -> RootOutput:
        state_B = torch.as_tensor(state_B)
        return RootOutput(self.value[state_B], self.logits[state_B], embed(state_B, shape, dtype))

    def recurrent(self, embedding: Tensor, value_BD: Tensor) -> RecurrentOutput:
        state_B = embedding.flatten(1)[:, -1].long()
        drawn_BD = ((value_BD + 1.0) * (self.num_values - 1) / 2.0).round().long()
        assert torch.equal(torch.from_numpy(self.values)[drawn_BD], value_BD), "the model is told values of factors"
        next_B = self.after(state_B, drawn_BD)
        next_embedding = embed(next_B, embedding.shape[1:], embedding.dtype)
        return RecurrentOutput(self.value[next_B], self.reward[next_B], self.logits[next_B], next_embedding)

    def sampled(self, num_samples: int, **options: Any) -> SampledModel:
        return SampledModel(
            self.recurrent, self.values, num_samples=num_samples, num_factors=self.num_factors, **options
        )


def embed(state_B: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return state_B.to(dtype).reshape(-1, *[1] * len(shape)).expand(-1, *shape).contiguous()


class Replayed:
    """A generator that remembers what it drew, and can draw the part of one root again."""

    def __init__(self, seed: int) -> None:
        self.drawn: list[Array] = []
        self._rng = np.random.default_rng(seed)

    def random(self, shape: tuple[int, ...]) -> Array:
        self.drawn.append(self._rng.random(shape))
        return self.drawn[-1]

    def of_root(self, root: int) -> "Replayed":
        again = Replayed(0)
        rest = iter([drawn[root : root + 1] for drawn in self.drawn])
        again.random = lambda shape: next(rest)  # type: ignore[method-assign]
        return again


@dataclass
class Node:
    state: int
    prior: float
    reward: float = 0.0
    visit_count: int = 0
    value_sum: float = 0.0
    children: dict[Action, "Node"] = field(default_factory=dict)

    @property
    def value(self) -> float:
        return self.value_sum / self.visit_count


def naive_priors(model: FactoredTable, state: int, strata_KD: Array, shift_D: Array, temperature: float) -> dict:
    """Draws from β in turn; the prior of what was drawn is its share, times π / β."""
    policy_DN = torch.softmax(model.logits[state].double().view(model.num_factors, -1), 1).numpy()
    beta_DN = policy_DN ** (1.0 / temperature)
    beta_DN /= beta_DN.sum(axis=1, keepdims=True)
    counts: Counter[Action] = Counter()
    for stratum_D in strata_KD:
        uniform_D = ((stratum_D + 0.5) / len(strata_KD) + shift_D) % 1.0
        counts[tuple(int((beta.cumsum() <= u).sum()) for beta, u in zip(beta_DN, uniform_D, strict=True))] += 1
    weights = {
        action: count * math.prod(policy_DN[d, n] / beta_DN[d, n] for d, n in enumerate(action))
        for action, count in counts.items()
    }
    return {action: weight / sum(weights.values()) for action, weight in weights.items()}


def naive_search(model: FactoredTable, state: int, priors: Any, num_simulations: int, discount: float) -> Node:
    """PUCT for one root, one simulation at a time; `priors` draws in the node that simulation i adds."""
    root, bounds = Node(state, 1.0), [math.inf, -math.inf]

    def expand(node: Node, simulation: int) -> None:
        drawn = priors(node.state, simulation)
        node.children = {action: Node(-1, float(np.float32(prior))) for action, prior in drawn.items()}

    def score(parent: Node, child: Node) -> float:
        n = parent.visit_count
        weight = (math.log((n + 19653.0) / 19652.0) + 1.25) * math.sqrt(n) if n else 1.0
        low, high = bounds
        q = child.reward + discount * child.value if child.visit_count else 0.0
        value = ((q - low) / (high - low) if high > low else 1.0) if child.visit_count else 0.0
        return weight / (child.visit_count + 1) * child.prior + value

    expand(root, 0)
    for simulation in range(1, num_simulations + 1):
        path, action = [root], ()
        while path[-1].children:
            parent = path[-1]
            action = max(parent.children, key=lambda a: score(parent, parent.children[a]))
            path.append(parent.children[action])
        leaf = path[-1]
        leaf.state = int(model.after(torch.tensor([path[-2].state]), torch.tensor([action])))
        leaf.reward, value = float(model.reward[leaf.state]), float(model.value[leaf.state])
        expand(leaf, simulation)
        for node in reversed(path):
            node.value_sum += value
            node.visit_count += 1
            if node is not root:
                q = node.reward + discount * node.value
                bounds = [min(bounds[0], q), max(bounds[1], q)]
            value = node.reward + discount * value
    return root


def assert_same_tree(node: Node, result: Any, drawn_RKD: Array, root: int, index: int) -> None:
    """Compares every expanded node below `node` with the arrays; repeated draws are masked."""
    tree = result.tree
    drawn = [tuple(action) for action in drawn_RKD[index * tree.roots.size + root].tolist()]
    assert set(drawn) == set(node.children)
    is_first = [action not in drawn[:k] for k, action in enumerate(drawn)]
    np.testing.assert_array_equal(tree.prior[root, index] > 0, is_first)
    for k, action in enumerate(drawn):
        child = node.children[action]
        assert tree.visit_count[root, index, k] == (child.visit_count if is_first[k] else 0)
        if is_first[k]:
            np.testing.assert_allclose(tree.prior[root, index, k], child.prior, rtol=1e-6)
        if is_first[k] and child.visit_count:
            below = tree.child[root, index, k]
            assert tree.reward[root, index, k] == np.float32(child.reward)
            np.testing.assert_allclose(tree.value_sum[root, index, k], child.value_sum, rtol=1e-6, atol=1e-6)
            assert_same_tree(child, result, drawn_RKD, root, below)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 2.5, 0.6])
@pytest.mark.parametrize(
    ("num_factors", "num_values", "num_samples"), [(1, 5, 8), (1, 40, 6), (2, 7, 20), (6, 3, 12), (1, 2, 1)]
)
def test_search_equals_a_tree_of_python_objects_that_draws_in_turn(
    num_factors: int, num_values: int, num_samples: int, temperature: float, compiled: bool
) -> None:
    model = FactoredTable(num_samples, num_factors, num_values)
    sampled = model.sampled(num_samples, temperature=temperature, compiled=compiled)
    rng, state_B = Replayed(3), [5, 400, 77]
    root = sampled.root(model.root(state_B), rng)  # type: ignore[arg-type]
    result = puct_search(sampled.recurrent, root, num_simulations=30, discount=0.97)
    drawn_RKD = sampled.drawn(result.embedding)
    for index, state in enumerate(state_B):

        def priors(state: int, simulation: int, index: int = index) -> dict:
            return naive_priors(model, state, sampled._strata_KD, rng.drawn[simulation][index], temperature)

        naive = naive_search(model, state, priors, 30, 0.97)
        assert_same_tree(naive, result, drawn_RKD, index, 0)
        np.testing.assert_allclose(result.root_value[index], naive.value, rtol=1e-6)


@pytest.mark.parametrize("search", [puct_search, gumbel_search])
def test_a_batch_gives_what_its_roots_give_one_by_one(search: Any) -> None:
    model, rng, workspace = FactoredTable(1, 3, 5), Replayed(4), Workspace()
    sampled, options = model.sampled(9), {"num_simulations": 25, "discount": 0.99}
    root = sampled.root(model.root(range(12)), rng)  # type: ignore[arg-type]
    together = search(sampled.recurrent, root, **options)
    for index in range(12):
        alone = model.sampled(9)
        root = alone.root(model.root([index]), rng.of_root(index))  # type: ignore[arg-type]
        found = search(alone.recurrent, root, workspace=workspace, **options)
        for name in TREE_ARRAYS:
            np.testing.assert_array_equal(getattr(found.tree, name)[0], getattr(together.tree, name)[index])


@pytest.mark.parametrize(("shape", "dtype"), [((1,), torch.float64), ((2, 3), torch.float32), ((4,), torch.float16)])
def test_embeddings_of_any_shape_and_type_give_the_same_search(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    model = FactoredTable(2, 2, 4)
    results = []
    for root in (model.root(range(8)), model.root(range(8), shape, dtype)):
        sampled = model.sampled(6)
        results.append(
            puct_search(sampled.recurrent, sampled.root(root, None), num_simulations=20, discount=0.97).visit_counts
        )
    np.testing.assert_array_equal(*results)


def test_draws_in_the_shares_of_the_policy_are_a_search_of_all_actions() -> None:
    model = FactoredTable(3, 1, 3)
    model.logits[:] = torch.log(torch.tensor([0.5, 0.25, 0.25]))
    sampled = model.sampled(4)
    root = model.root(range(20))
    drawn = puct_search(sampled.recurrent, sampled.root(root, None), num_simulations=40, discount=0.97)

    def recurrent(embedding: Tensor, action_B: Tensor) -> RecurrentOutput:
        return model.recurrent(embedding, torch.from_numpy(model.values)[action_B][:, None])

    every = puct_search(recurrent, root, num_simulations=40, discount=0.97)
    assert (sampled.drawn(drawn.embedding)[:, :, 0] == [0, 0, 1, 2]).all()
    np.testing.assert_array_equal(drawn.visit_counts[:, [0, 2, 3]], every.visit_counts)
    assert not drawn.visit_counts[:, 1].any()


def drawn_once(model: FactoredTable, num_samples: int, states: Any, **options: Any) -> tuple[Array, Array]:
    """Returns the draws `[B, K, D]` of roots, and the probabilities that a search makes of their logits."""
    sampled = model.sampled(num_samples, **options)
    root = sampled.root(model.root(states), np.random.default_rng(5))
    return sampled.drawn(root.embedding), torch.softmax(root.prior_logits.double(), 1).numpy()


def test_each_draw_is_from_the_policy_and_none_misses_what_is_likely() -> None:
    model = FactoredTable(4, 2, 5)
    model.logits[:] = model.logits[0]
    policy_DN = torch.softmax(model.logits[0].view(2, 5), 1).numpy()
    drawn_BKD, _ = drawn_once(model, 10, [0] * 4_000)
    for d in range(2):
        counts_BN = np.stack([(drawn_BKD[:, :, d] == n).sum(axis=1) for n in range(5)], axis=1)
        assert (np.abs(counts_BN - 10 * policy_DN[d]) < 1.0).all()
        for k in range(10):
            shares_N = np.bincount(drawn_BKD[:, k, d], minlength=5) / 4_000
            np.testing.assert_allclose(shares_N, policy_DN[d], atol=0.04)


@pytest.mark.parametrize("compiled", [True, False])
def test_what_has_no_probability_is_never_drawn(compiled: bool) -> None:
    model = FactoredTable(5, 1, 6)
    model.logits[:, [0, 2, 5]] = -torch.inf
    drawn_BKD, prior_BK = drawn_once(model, 8, range(900), compiled=compiled)
    assert set(np.unique(drawn_BKD)) == {1, 3, 4}
    np.testing.assert_allclose(prior_BK.sum(axis=1), 1.0)


@pytest.mark.parametrize("compiled", [True, False])
def test_actions_of_many_numbers_are_told_apart_where_their_codes_wrap(compiled: bool) -> None:
    model = FactoredTable(6, 70, 4)  # 4^70 = 2^140
    model.logits[:] = 0.0
    model.logits.view(NUM_STATES, 70, 4)[:, 1:, 0] = torch.inf  # only the first number is drawn at all
    model.logits.nan_to_num_(posinf=80.0)
    drawn_BKD, prior_BK = drawn_once(model, 8, range(20), compiled=compiled)
    assert not drawn_BKD[:, :, 1:].any()
    np.testing.assert_allclose(np.sort(prior_BK, axis=1), [[0.0] * 4 + [0.25] * 4] * 20)


def test_gumbels_rule_is_kept_to_what_was_drawn() -> None:
    model = FactoredTable(7, 2, 3)
    sampled = model.sampled(12)
    result = gumbel_search(
        sampled.recurrent, sampled.root(model.root(range(30)), None), num_simulations=24, discount=0.97
    )
    drawn_BKD = sampled.drawn(result.embedding)[:30]
    for index, drawn in enumerate(drawn_BKD.tolist()):
        is_again = [action in drawn[:k] for k, action in enumerate(drawn)]
        assert any(is_again)
        assert not result.policy[index][is_again].any()
        assert not is_again[result.action[index]]
    np.testing.assert_allclose(result.policy.sum(axis=1), 1.0)


def test_the_search_finds_the_number_that_is_rewarded() -> None:
    best = 0.5

    def recurrent(embedding: Tensor, value_BD: Tensor) -> RecurrentOutput:
        size = len(embedding)
        return RecurrentOutput(torch.zeros(size), -(value_BD - best).abs().amax(1), torch.zeros(size, 18), embedding)

    values = np.linspace(-1.0, 1.0, 9, dtype=np.float32)
    sampled = SampledModel(recurrent, values, num_samples=30, num_factors=2)
    root = sampled.root(RootOutput(torch.zeros(4), torch.zeros(4, 18), torch.zeros(4, 1)), np.random.default_rng(0))
    options = {"num_simulations": 200, "discount": 0.0, "init_value_score": 1.0}  # so that all draws are tried
    result = puct_search(sampled.recurrent, root, **options)
    distance_BK = np.abs(values[sampled.drawn(root.embedding)] - best).max(axis=2)
    found_B = distance_BK[np.arange(4), result.visit_counts.argmax(axis=1)]
    np.testing.assert_array_equal(found_B, distance_BK.min(axis=1))
