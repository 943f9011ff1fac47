"""Search for two players who take turns: against a tree that knows who moves, and in a game that is solved."""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from rlsys.planning.mcts import GumbelResult, Workspace, gumbel_search, puct_search
from rlsys.planning.model import RecurrentOutput, RootOutput

NUM_STATES = 499
MOST_STONES, MOST_TAKEN = 12, 3


class TableModel:
    """A world of numbered states with random values, rewards and priors; each says what is good for who is to move."""

    def __init__(self, seed: int, num_actions: int) -> None:
        rng = np.random.default_rng(seed)
        self.value = torch.from_numpy(rng.standard_normal(NUM_STATES)).float()
        self.reward = torch.from_numpy(rng.standard_normal((NUM_STATES, num_actions))).float()
        self.prior_logits = torch.from_numpy(rng.standard_normal((NUM_STATES, num_actions))).float()
        self.successor = torch.from_numpy(rng.integers(NUM_STATES, size=(NUM_STATES, num_actions)))

    def root(self, states: range | list[int]) -> RootOutput:
        state_B = torch.as_tensor(list(states))
        return RootOutput(self.value[state_B], self.prior_logits[state_B], state_B[:, None].float())

    def recurrent(self, embedding: torch.Tensor, action_B: torch.Tensor) -> RecurrentOutput:
        state_B = embedding[:, 0].long()
        next_B = self.successor[state_B, action_B]
        reward_B = self.reward[state_B, action_B]
        return RecurrentOutput(self.value[next_B], reward_B, self.prior_logits[next_B], next_B[:, None].float())


@dataclass
class Node:
    """A position; all that is counted is counted for player 0."""

    player: int
    state: int
    prior: float = 1.0
    reward: float = 0.0
    visits: int = 0
    total: float = 0.0
    children: dict[int, "Node"] = field(default_factory=dict)

    def expand(self, model: TableModel) -> None:
        priors = torch.softmax(model.prior_logits[self.state].double(), 0)
        self.children = {a: Node(1 - self.player, -1, float(np.float32(p))) for a, p in enumerate(priors)}

    def worth(self, child: "Node", discount: float) -> float:
        """Returns what a move is worth to who makes it."""
        for_first = child.reward + discount * child.total / child.visits
        return for_first if self.player == 0 else -for_first


def naive_search(model: TableModel, state: int, num_simulations: int, discount: float) -> Node:
    """PUCT for one root with two players who are told apart, and rewards and values that are all player 0's."""
    root, bounds = Node(0, state), [math.inf, -math.inf]
    root.expand(model)

    def score(parent: Node, child: Node) -> float:
        c = (math.log((parent.visits + 19653.0) / 19652.0) + 1.25) * math.sqrt(parent.visits) if parent.visits else 1.0
        value, (low, high) = 0.0, bounds
        if child.visits:
            value = (parent.worth(child, discount) - low) / (high - low) if high > low else 1.0
        return c / (child.visits + 1) * child.prior + value

    for _ in range(num_simulations):
        path, action = [root], -1
        while path[-1].children:
            parent = path[-1]
            action = max(parent.children, key=lambda a: score(parent, parent.children[a]))
            path.append(parent.children[action])
        leaf, parent = path[-1], path[-2]
        leaf.state = int(model.successor[parent.state, action])
        reward, value = float(model.reward[parent.state, action]), float(model.value[leaf.state])
        leaf.reward = reward if parent.player == 0 else -reward
        value = value if leaf.player == 0 else -value
        leaf.expand(model)
        for above, node in reversed(list(itertools.pairwise([root, *path]))):
            node.visits += 1
            node.total += value
            if node is not root:
                q = above.worth(node, discount)
                bounds[:] = min(bounds[0], q), max(bounds[1], q)
            value = node.reward + discount * value
    return root


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("num_actions", "num_simulations"), [(2, 30), (4, 40), (9, 50)])
def test_a_discount_below_0_is_a_tree_in_which_two_players_are_told_apart(
    seed: int, num_actions: int, num_simulations: int
) -> None:
    model, discount = TableModel(seed, num_actions), (1.0, 0.97)[seed % 2]
    options = {"num_simulations": num_simulations, "discount": -discount}
    result = puct_search(model.recurrent, model.root(range(4)), **options)
    for index in range(4):
        root = naive_search(model, index, num_simulations, discount)
        assert result.visit_counts[index].tolist() == [child.visits for child in root.children.values()]
        expected = [root.worth(c, discount) if c.visits else np.nan for c in root.children.values()]
        np.testing.assert_allclose(result.q_values[index], expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(result.root_value[index], root.total / root.visits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("search", [puct_search, gumbel_search])
def test_a_batch_gives_what_its_roots_give_one_by_one(search) -> None:
    model, workspace = TableModel(8, 5), Workspace()
    options = {"num_simulations": 30, "discount": -0.97, "workspace": workspace}
    root = model.root(range(9))
    root.prior_logits[::2, 1:3] = -torch.inf
    together = search(model.recurrent, root, **options)
    visit_count = together.tree.visit_count.copy()
    for index in range(9):
        alone = search(model.recurrent, RootOutput(*(part[index : index + 1] for part in root)), **options)
        assert alone.tree.visit_count[0].tobytes() == visit_count[index].tobytes()
        assert alone.root_value[0] == together.root_value[index]


class Stones:
    """Nim: who takes the last stone wins, and 1 to 3 are taken at a time. Positions are worth nothing until then."""

    def root(self, stones: list[int]) -> RootOutput:
        left_B = torch.as_tensor(stones)
        logits_BA = torch.zeros(len(stones), MOST_TAKEN)
        logits_BA[left_B[:, None] < torch.arange(1, MOST_TAKEN + 1)] = -torch.inf
        return RootOutput(torch.zeros(len(stones)), logits_BA, left_B[:, None].float())

    def recurrent(self, embedding: torch.Tensor, action_B: torch.Tensor) -> RecurrentOutput:
        before_B = embedding[:, 0].long()
        left_B = (before_B - action_B - 1).clamp(min=0)
        reward_B = ((left_B == 0) & (before_B > 0)).float()
        _, logits_BA, next_embedding = self.root(left_B.tolist())
        return RecurrentOutput(torch.zeros(len(left_B)), reward_B, logits_BA, next_embedding)


@pytest.mark.parametrize("search", [puct_search, gumbel_search])
def test_whoever_can_win_at_nim_does(search) -> None:
    stones = [count for count in range(1, MOST_STONES + 1) if count % (MOST_TAKEN + 1)]
    game = Stones()
    options = {"value_scale": 1.0} if search is gumbel_search else {}
    result = search(game.recurrent, game.root(stones), num_simulations=800, discount=-0.99, **options)
    taken = (result.action if isinstance(result, GumbelResult) else result.visit_counts.argmax(axis=1)) + 1
    assert taken.tolist() == [count % (MOST_TAKEN + 1) for count in stones]
    lost = search(game.recurrent, game.root([4, 8]), num_simulations=800, discount=-0.99, **options)
    assert (result.q_max > 0).all() and (lost.q_max < 0).all()
