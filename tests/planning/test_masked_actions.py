"""Masked actions, whose prior logits are -inf: never taken, whatever the rule, the noise and the rest of the search."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsys.errors import WorkerError
from rlsys.planning.actions import action_probabilities, dirichlet_noise, open_loop_actions, sample_actions
from rlsys.planning.gumbel import considered_visits
from rlsys.planning.mcts import SearchResult, Workspace, gumbel_search, puct_search
from rlsys.planning.model import RecurrentOutput, RootOutput

NUM_STATES, NUM_ROOTS = 211, 8


class MaskedTable:
    """A world of numbered states, each with a mask of its own; rewards of masked actions are the highest."""

    def __init__(self, seed: int, num_actions: int) -> None:
        rng = np.random.default_rng(seed)
        self.allowed = rng.random((NUM_STATES, num_actions)) < rng.choice([0.2, 0.5, 0.9])
        self.allowed[np.arange(NUM_STATES), rng.integers(num_actions, size=NUM_STATES)] = True
        logits = np.where(self.allowed, rng.normal(size=self.allowed.shape) * rng.choice([1.0, 60.0]), -np.inf)
        self.value = torch.from_numpy(rng.normal(size=NUM_STATES)).float()
        self.reward = torch.from_numpy(rng.normal(size=self.allowed.shape) + 50.0 * ~self.allowed).float()
        self.prior_logits = torch.from_numpy(logits).float()
        self.successor = torch.from_numpy(rng.integers(NUM_STATES, size=self.allowed.shape))

    def root(self) -> RootOutput:
        state_B = torch.arange(NUM_ROOTS)
        return RootOutput(self.value[state_B], self.prior_logits[state_B], state_B[:, None].float())

    def recurrent(self, embedding: torch.Tensor, action_B: torch.Tensor) -> RecurrentOutput:
        state_B = embedding[:, 0].long()
        assert self.allowed[state_B, action_B].all(), "a masked action was taken"
        next_B = self.successor[state_B, action_B]
        reward_B = self.reward[state_B, action_B]
        return RecurrentOutput(self.value[next_B], reward_B, self.prior_logits[next_B], next_B[:, None].float())


def searched(model: MaskedTable, rule: str, simulations: int, considered: int, scale: float, seed: int) -> SearchResult:
    rng, num_actions = np.random.default_rng(seed), model.allowed.shape[1]
    options = {"num_simulations": simulations, "discount": 0.99}
    if rule == "gumbel":
        return gumbel_search(
            model.recurrent,
            model.root(),
            gumbel_BA=rng.gumbel(size=(NUM_ROOTS, num_actions)),
            max_num_considered_actions=considered,
            value_scale=scale,
            **options,
        )
    noise = dirichlet_noise(rng, 0.03, NUM_ROOTS, num_actions) if rule == "noisy puct" else None
    return puct_search(model.recurrent, model.root(), noise_BA=noise, exploration_fraction=scale, **options)


@pytest.mark.parametrize("rule", ["gumbel", "puct", "noisy puct"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    num_actions=st.integers(1, 20),
    simulations=st.integers(1, 60),
    considered=st.integers(1, 20),
    scale=st.sampled_from([0.1, 0.25, 1.0]),
)
def test_a_masked_action_is_never_taken(
    rule: str, seed: int, num_actions: int, simulations: int, considered: int, scale: float
) -> None:
    model = MaskedTable(seed, num_actions)
    result = searched(model, rule, simulations, considered, scale, seed)
    masked = ~model.allowed[:NUM_ROOTS]
    counts, prior = result.visit_counts, result.tree.prior[:, 0]
    assert not counts[masked].any() and (counts.sum(axis=1) == simulations).all()
    assert not prior[masked].any()
    assert np.allclose(prior.sum(axis=1), 1.0)
    rng = np.random.default_rng(seed)
    chosen = [sample_actions(action_probabilities(counts, t), rng.random(NUM_ROOTS)) for t in (0.0, 0.5, 1.0, 50.0)]
    chosen.append(open_loop_actions(result.tree, 1.0, rng.random((NUM_ROOTS, 3)))[0][:, 0])
    if rule == "gumbel":
        assert not result.policy[masked].any()
        assert np.allclose(result.policy.sum(axis=1), 1.0)
        chosen.append(result.action)
        for row, num_valid in enumerate((~masked).sum(axis=1)):
            schedule = considered_visits(min(considered, num_valid), simulations)
            visits = np.zeros(num_valid, int)
            for wanted in schedule:
                visits[np.flatnonzero(visits == wanted)[0]] += 1
            assert sorted(counts[row][~masked[row]]) == sorted(visits), "as many are considered as there are"
    assert all(not masked[np.arange(NUM_ROOTS), action].any() for action in chosen)


@pytest.mark.parametrize("rule", ["gumbel", "puct", "noisy puct"])
def test_a_mask_of_one_root_changes_nothing_for_the_others(rule: str) -> None:
    model = MaskedTable(3, 6)
    model.prior_logits[model.prior_logits == -np.inf] = 0.0
    model.allowed[:] = True
    model.successor = model.successor.clamp(min=1)  # none leads to state 0, which gets a mask
    free = searched(model, rule, 20, 4, 0.25, 1)
    counts = free.visit_counts.copy()
    model.prior_logits[0, 2:] = -np.inf
    model.allowed[0, 2:] = False
    masked = searched(model, rule, 20, 4, 0.25, 1)
    assert np.array_equal(masked.visit_counts[1:], counts[1:])
    assert masked.visit_counts[0, :2].sum() == 20


def test_noise_over_what_is_left_is_a_distribution() -> None:
    root = RootOutput(torch.zeros(1), torch.tensor([[0.0, -np.inf, 0.0, -np.inf]]), torch.zeros(1, 1))

    def model(embedding: torch.Tensor, action_B: torch.Tensor) -> RecurrentOutput:
        return RecurrentOutput(torch.zeros(1), torch.zeros(1), root.prior_logits, embedding)

    for noise in ([0.2, 0.3, 0.1, 0.4], [0.0, 0.5, 0.0, 0.5]):
        options = {"num_simulations": 2, "discount": 1.0, "workspace": Workspace()}
        result = puct_search(model, root, noise_BA=np.array([noise]), exploration_fraction=0.5, **options)
        left = np.array(noise)[[0, 2]]
        expected = 0.25 + 0.5 * left / left.sum() if left.any() else [0.5, 0.5]
        prior = result.tree.prior[0, 0]
        assert not prior[[1, 3]].any()
        assert np.allclose(prior[[0, 2]], expected)


def test_a_root_without_an_action_is_refused_and_a_node_without_one_is_passed_through() -> None:
    closed = torch.full((2, 3), -np.inf)
    root = RootOutput(torch.zeros(2), torch.stack([torch.zeros(3), closed[0]]), torch.zeros(2, 1))

    def model(embedding: torch.Tensor, action_B: torch.Tensor) -> RecurrentOutput:
        return RecurrentOutput(torch.zeros(2), torch.ones(2), closed, embedding)

    for search in (puct_search, gumbel_search):
        with pytest.raises(WorkerError, match=r"all 3 actions of root 1 are masked .* at least one must be left"):
            search(model, root, num_simulations=4, discount=1.0)
        open_root = root._replace(prior_logits=torch.zeros(2, 3))
        assert (search(model, open_root, num_simulations=9, discount=1.0).visit_counts.sum(axis=1) == 9).all()
