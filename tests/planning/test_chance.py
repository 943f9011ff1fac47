"""Search with chance: against a tree that tells actions from what happens, and in a lottery whose worth is known."""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from rlsys.planning.chance import AfterstateOutput, ChanceModel
from rlsys.planning.mcts import GumbelResult, Workspace, gumbel_search, puct_search
from rlsys.planning.model import RecurrentOutput, RootOutput

NUM_STATES = 499


class TableModel:
    """A world of numbered states and afterstates with random values, rewards, priors and chances."""

    def __init__(self, seed: int, num_actions: int, num_codes: int) -> None:
        rng = np.random.default_rng(seed)
        self.num_actions, self.num_codes = num_actions, num_codes
        self.value = torch.from_numpy(rng.standard_normal(NUM_STATES)).float()
        self.prior_logits = torch.from_numpy(rng.standard_normal((NUM_STATES, num_actions))).float()
        self.afterstate = torch.from_numpy(rng.integers(NUM_STATES, size=(NUM_STATES, num_actions)))
        self.after_value = torch.from_numpy(rng.standard_normal(NUM_STATES)).float()
        self.code_logits = torch.from_numpy(rng.standard_normal((NUM_STATES, num_codes))).float()
        self.reward = torch.from_numpy(rng.standard_normal((NUM_STATES, num_codes))).float()
        self.successor = torch.from_numpy(rng.integers(NUM_STATES, size=(NUM_STATES, num_codes)))

    def root(self, states: range | list[int], shape: tuple[int, ...] = (1,)) -> RootOutput:
        state_B = torch.as_tensor(list(states))
        return RootOutput(self.value[state_B], self.prior_logits[state_B], embed(state_B, shape))

    def act(self, embedding: torch.Tensor, action_B: torch.Tensor) -> AfterstateOutput:
        assert action_B.max() < self.num_actions
        after_B = self.afterstate[embedding.flatten(1)[:, 0].long(), action_B]
        return AfterstateOutput(
            self.after_value[after_B], self.code_logits[after_B], embed(after_B, embedding.shape[1:])
        )

    def happen(self, embedding: torch.Tensor, code_B: torch.Tensor) -> RecurrentOutput:
        assert code_B.max() < self.num_codes
        after_B = embedding.flatten(1)[:, 0].long()
        next_B, reward_B = self.successor[after_B, code_B], self.reward[after_B, code_B]
        return RecurrentOutput(
            self.value[next_B], reward_B, self.prior_logits[next_B], embed(next_B, embedding.shape[1:])
        )

    def with_chance(self, discount: float, by_kind: bool | None = None) -> ChanceModel:
        sizes = {"num_actions": self.num_actions, "num_codes": self.num_codes}
        return ChanceModel(self.act, self.happen, **sizes, discount=discount, by_kind=by_kind)


def embed(state_B: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    return state_B.float().reshape(-1, *[1] * len(shape)).expand(-1, *shape).contiguous()


@dataclass
class Node:
    """A state, or one after an action (`is_chance`), where what its branches are worth includes their rewards."""

    is_chance: bool
    state: int
    prior: float = 1.0
    reward: float = 0.0
    raw_value: float = 0.0
    visits: int = 0
    total: float = 0.0
    children: list["Node"] = field(default_factory=list)

    def expand(self, model: TableModel) -> None:
        logits = (model.code_logits if self.is_chance else model.prior_logits)[self.state]
        priors = torch.softmax(logits.double(), 0)
        self.children = [Node(not self.is_chance, -1, float(np.float32(prior))) for prior in priors]

    def worth(self, child: "Node", discount: float) -> float:
        """Returns what an action, or a code, is worth."""
        mean = child.total / child.visits
        return child.reward + discount * mean if self.is_chance else mean


def most(scores: list[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)


def by_puct(parent: Node, bounds: list[float], discount: float) -> int:
    c = (math.log((parent.visits + 19653.0) / 19652.0) + 1.25) * math.sqrt(parent.visits) if parent.visits else 1.0
    low, high = bounds

    def score(child: Node) -> float:
        value = 0.0
        if child.visits:
            value = (parent.worth(child, discount) - low) / (high - low) if high > low else 1.0
        return c / (child.visits + 1) * child.prior + value

    return most([score(child) for child in parent.children])


def by_gumbel(parent: Node, considered_visit: int | None, discount: float) -> int:
    """Chooses as the paper does: at the root (`considered_visit`) by sequential halving, below by matching policies."""
    visits = [child.visits for child in parent.children]
    prior_sum = sum(child.prior for child in parent.children if child.visits)
    mixed = parent.raw_value
    if sum(visits):
        weighted = sum(c.prior * parent.worth(c, discount) for c in parent.children if c.visits) / prior_sum
        mixed = (parent.raw_value + sum(visits) * weighted) / (1 + sum(visits))
    q = np.array([parent.worth(c, discount) if c.visits else mixed for c in parent.children])
    scaled = (50.0 + max(visits)) * 0.1 * (q - q.min()) / max(q.max() - q.min(), 1e-8)
    logits = np.log([child.prior for child in parent.children]) + scaled
    if considered_visit is not None:
        return most([v if n == considered_visit else -math.inf for v, n in zip(logits, visits, strict=True)])
    policy = np.exp(logits - logits.max())
    policy /= policy.sum()
    return most([p - n / (1 + sum(visits)) for p, n in zip(policy, visits, strict=True)])


def naive_search(model: TableModel, state: int, num_simulations: int, discount: float, schedule=None) -> Node:
    """Searches from one root; discounts whole steps, when chance has had its move."""
    root, bounds = Node(False, state, raw_value=float(model.value[state])), [math.inf, -math.inf]
    root.expand(model)
    for simulation in range(num_simulations):
        path, branch = [root], -1
        while path[-1].children:
            parent = path[-1]
            if parent.is_chance:
                branch = most([child.prior / (child.visits + 1) for child in parent.children])
            elif schedule is None:
                branch = by_puct(parent, bounds, discount)
            else:
                branch = by_gumbel(parent, schedule[simulation] if parent is root else None, discount)
            path.append(parent.children[branch])
        leaf, parent = path[-1], path[-2]
        if leaf.is_chance:
            leaf.state = int(model.afterstate[parent.state, branch])
            value = leaf.raw_value = float(model.after_value[leaf.state])
        else:
            leaf.state = int(model.successor[parent.state, branch])
            leaf.reward = float(model.reward[parent.state, branch])
            value = leaf.raw_value = float(model.value[leaf.state])
        leaf.expand(model)
        for above, node in reversed(list(itertools.pairwise([root, *path]))):
            node.visits += 1
            node.total += value
            if node is not root:
                q = above.worth(node, discount) / (math.sqrt(discount) if above.is_chance else 1.0)
                bounds[:] = min(bounds[0], q), max(bounds[1], q)
                value = node.reward + discount * value if above.is_chance else value
    return root


def searched(search, model: TableModel, states: range | list[int], discount: float, **options):
    chance = model.with_chance(discount, options.pop("by_kind", None))
    shape = options.pop("shape", (1,))
    root = chance.root(model.root(states, shape))
    return search(chance.recurrent, root, discount=chance.discount, chance_after=model.num_actions, **options)


def assert_is(result, index: int, root: Node, num_actions: int, discount: float) -> None:
    assert result.visit_counts[index, :num_actions].tolist() == [child.visits for child in root.children]
    assert not result.visit_counts[index, num_actions:].any(), "codes are no actions"
    expected = [root.worth(c, discount) if c.visits else np.nan for c in root.children]
    np.testing.assert_allclose(result.q_values[index, :num_actions], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(result.root_value[index], root.total / root.visits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("num_actions", "num_codes", "num_simulations"), [(2, 5, 40), (4, 3, 60), (5, 5, 80)])
def test_puct_with_chance_is_a_tree_of_two_kinds_of_nodes(
    seed: int, num_actions: int, num_codes: int, num_simulations: int
) -> None:
    model, discount = TableModel(seed, num_actions, num_codes), (1.0, 0.9)[seed % 2]
    result = searched(puct_search, model, range(4), discount, num_simulations=num_simulations)
    for index in range(4):
        root = naive_search(model, index, num_simulations, discount)
        assert_is(result, index, root, num_actions, discount)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("num_actions", "num_codes", "num_simulations"), [(2, 5, 40), (4, 3, 60), (5, 5, 80)])
def test_so_does_gumbels_rule(seed: int, num_actions: int, num_codes: int, num_simulations: int) -> None:
    from rlsys.planning.gumbel import considered_visits

    model, discount = TableModel(seed, num_actions, num_codes), (1.0, 0.9)[seed % 2]
    result = searched(gumbel_search, model, range(4), discount, num_simulations=num_simulations)
    schedule = considered_visits(num_actions, num_simulations).tolist()
    for index in range(4):
        root = naive_search(model, index, num_simulations, discount, schedule)
        assert_is(result, index, root, num_actions, discount)
    assert (result.action < num_actions).all()
    np.testing.assert_allclose(result.policy[:, :num_actions].sum(axis=1), 1.0)


@pytest.mark.parametrize("search", [puct_search, gumbel_search])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 2, 2)])
def test_a_batch_gives_what_its_roots_give_one_by_one(search, shape: tuple[int, ...]) -> None:
    model, workspace = TableModel(7, 3, 6), Workspace()
    options = {"num_simulations": 50, "shape": shape}
    together = searched(search, model, range(16), 0.95, workspace=workspace, **options)
    for index in range(16):
        alone = searched(search, model, [index], 0.95, **options)
        assert alone.visit_counts[0].tolist() == together.visit_counts[index].tolist()
        assert alone.root_value[0] == together.root_value[index]
        if isinstance(alone, GumbelResult):
            assert alone.action[0] == together.action[index]


@pytest.mark.parametrize("search", [puct_search, gumbel_search])
def test_nodes_of_each_kind_by_themselves_are_the_same_as_all_in_both_ways(search) -> None:
    model, options = TableModel(5, 4, 7), {"num_simulations": 60, "shape": (2, 3)}
    apart, both = (searched(search, model, range(9), 0.9, by_kind=by_kind, **options) for by_kind in (True, False))
    for name in ("child", "prior", "reward", "visit_count", "value_sum"):
        assert np.array_equal(getattr(apart.tree, name), getattr(both.tree, name)), name
    assert torch.equal(apart.embedding, both.embedding)


def test_codes_are_visited_as_often_as_they_happen() -> None:
    model = TableModel(3, 1, 4)
    result = searched(puct_search, model, [11], 1.0, num_simulations=201)
    chance = result.tree.child[0, 0, 0]
    visits = result.tree.visit_count[0, chance]
    probability = torch.softmax(model.code_logits[model.afterstate[11, 0]], 0).numpy()
    assert visits.sum() == 200, "all but the one that found the afterstate"
    np.testing.assert_allclose(visits / 200, probability, atol=0.02)


class Lottery:
    """One step: a sure 1, or a ticket that wins 10 with `chance` in 1 and else nothing. Values say nothing."""

    def __init__(self, chance: float) -> None:
        self.logits = torch.tensor([[0.0, math.log(1.0 - chance), math.log(chance)]])

    def act(self, embedding: torch.Tensor, action_B: torch.Tensor) -> AfterstateOutput:
        sure = torch.tensor([[0.0, -math.inf, -math.inf]])
        logits = torch.where(
            action_B[:, None] == 0, sure, self.logits.clone().index_fill(1, torch.tensor([0]), -math.inf)
        )
        return AfterstateOutput(torch.zeros(len(action_B)), logits, embedding)

    def happen(self, embedding: torch.Tensor, code_B: torch.Tensor) -> RecurrentOutput:
        reward = torch.tensor([1.0, 0.0, 10.0])[code_B]
        return RecurrentOutput(
            torch.zeros(len(code_B)), reward, torch.zeros(len(code_B), 2), torch.ones_like(embedding)
        )


@pytest.mark.parametrize(("chance", "best"), [(0.05, 0), (0.2, 1)])
def test_a_ticket_is_worth_its_chance_and_not_the_prize(chance: float, best: int) -> None:
    lottery = Lottery(chance)
    model = ChanceModel(lottery.act, lottery.happen, num_actions=2, num_codes=3, discount=1e-6)  # what comes later: 0
    root = model.root(RootOutput(torch.zeros(1), torch.zeros(1, 2), torch.zeros(1, 1)))
    result = puct_search(
        model.recurrent, root, num_simulations=400, discount=model.discount, chance_after=2, pb_c_init=5.0
    )
    assert result.q_values[0, :2].argmax() == best
    assert result.q_values[0, 1] == pytest.approx(10 * chance, rel=0.15)
