"""Search with Gumbel MuZero's rules, against their formulas written out and a tree of Python objects."""

import math

import numpy as np
import pytest
import torch

from rlsys.planning import gumbel
from rlsys.planning.mcts import Workspace, gumbel_search
from rlsys.planning.model import RecurrentOutput, RootOutput

NUM_STATES = 499


class TableModel:
    """A world of numbered states; the embedding is the number."""

    def __init__(self, seed, num_actions):
        rng = np.random.default_rng(seed)
        self.value = torch.from_numpy(rng.standard_normal(NUM_STATES)).float()
        self.reward = torch.from_numpy(rng.standard_normal((NUM_STATES, num_actions))).float()
        self.prior_logits = torch.from_numpy(rng.standard_normal((NUM_STATES, num_actions))).float()
        self.successor = torch.from_numpy(rng.integers(NUM_STATES, size=(NUM_STATES, num_actions)))

    def root(self, state_B):
        state_B = torch.as_tensor(state_B)
        return RootOutput(self.value[state_B], self.prior_logits[state_B], state_B[:, None].float())

    def recurrent(self, embedding, action_B):
        state_B = embedding[:, 0].long()
        next_B = self.successor[state_B, action_B]
        return RecurrentOutput(
            self.value[next_B], self.reward[state_B, action_B], self.prior_logits[next_B], next_B[:, None].float()
        )


def bandit(reward_A, prior_logits_A=None):
    """One state, whose actions lead back to it with these rewards; its own value is 0."""
    model = TableModel(0, len(reward_A))
    model.value[:] = 0.0
    model.reward[:] = torch.as_tensor(reward_A, dtype=torch.float32)
    model.prior_logits[:] = 0.0 if prior_logits_A is None else torch.as_tensor(prior_logits_A, dtype=torch.float32)
    return model


class Node:
    def __init__(self, model, state):
        logits = model.prior_logits[state].double().numpy()
        self.model, self.state = model, state
        self.raw_value = float(model.value[state])
        self.prior = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        self.visits = np.zeros(len(logits), int)
        self.q = np.zeros(len(logits))
        self.returns = [[] for _ in logits]
        self.children = {}

    def transformed(self, maxvisit_init, value_scale):
        """sigma of the completed q values."""
        tried = self.visits > 0
        mixed = self.raw_value
        if tried.any():
            average = (self.prior * self.q)[tried].sum() / self.prior[tried].sum()
            mixed = (self.raw_value + self.visits.sum() * average) / (1 + self.visits.sum())
        completed = np.where(tried, self.q, mixed)
        scaled = (completed - completed.min()) / max(completed.max() - completed.min(), 1e-8)
        return (maxvisit_init + self.visits.max()) * value_scale * scaled

    def improved(self, *scales):
        logits = np.log(self.prior) + self.transformed(*scales)
        return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()

    def root_scores(self, gumbel_A, considered, *scales):
        scores = gumbel_A + np.log(self.prior) + self.transformed(*scales)
        return np.where(self.visits == considered, scores, -np.inf)

    def simulate(self, action, discount, scales):
        """Takes `action`, goes on below by the inner rule, backs up; returns the return seen from here."""
        reward = float(self.model.reward[self.state, action])
        if action in self.children:
            child = self.children[action]
            scores = child.improved(*scales) - child.visits / (1 + child.visits.sum())
            value = child.simulate(int(scores.argmax()), discount, scales)
        else:
            child = self.children[action] = Node(self.model, int(self.model.successor[self.state, action]))
            value = child.raw_value
        self.visits[action] += 1
        self.returns[action].append(value)
        self.q[action] = reward + discount * np.mean(self.returns[action])
        return reward + discount * value


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("num_actions", "num_simulations", "max_considered"), [(2, 8, 16), (4, 30, 4), (18, 50, 8)])
def test_search_equals_a_tree_of_python_objects(seed, num_actions, num_simulations, max_considered):
    rng = np.random.default_rng(seed)
    model = TableModel(seed, num_actions)
    state_B = rng.integers(NUM_STATES, size=4)
    gumbel_BA = rng.gumbel(size=(4, num_actions)) * rng.choice([0.0, 1.0])
    scales = (50.0, float(rng.choice([0.1, 1.0])))
    discount = float(rng.choice([0.9, 1.0, -1.0]))
    schedule = gumbel.considered_visits(min(max_considered, num_actions), num_simulations)

    result = gumbel_search(
        model.recurrent,
        model.root(state_B),
        num_simulations=num_simulations,
        discount=discount,
        gumbel_BA=gumbel_BA,
        max_num_considered_actions=max_considered,
        maxvisit_init=scales[0],
        value_scale=scales[1],
    )

    for index, state in enumerate(state_B):
        root = Node(model, int(state))
        for considered in schedule:
            scores = root.root_scores(gumbel_BA[index], considered, *scales)
            root.simulate(int(scores.argmax()), discount, scales)
        np.testing.assert_array_equal(result.visit_counts[index], root.visits)
        np.testing.assert_allclose(
            result.q_values[index][root.visits > 0], root.q[root.visits > 0], rtol=1e-6, atol=1e-6
        )
        np.testing.assert_allclose(result.policy[index], root.improved(*scales), rtol=1e-5, atol=1e-9)
        assert result.action[index] == root.root_scores(gumbel_BA[index], root.visits.max(), *scales).argmax()


@pytest.mark.parametrize("num_considered", [1, 2, 3, 4, 7, 16, 18])
@pytest.mark.parametrize("num_simulations", [1, 2, 5, 16, 30, 200])
def test_the_schedule_visits_sets_of_actions_in_turn_and_drops_the_worse_half(num_considered, num_simulations):
    schedule = gumbel.considered_visits(num_considered, num_simulations)
    assert schedule.shape == (num_simulations,)
    # Replayed on actions 0, 1, ... in order of merit, each simulation must find an action with the visits asked for.
    visits = np.zeros(num_considered, int)
    for considered in schedule:
        visits[np.flatnonzero(visits == considered)[0]] += 1
    assert visits.sum() == num_simulations
    assert (np.diff(visits) <= 0).all()


def test_the_schedule_spends_each_phase_alike():
    assert gumbel.considered_visits(4, 8).tolist() == [0, 0, 0, 0, 1, 1, 2, 2]
    # 3 phases of about 16 / 3 simulations: 8 actions, the best 4, the best 2.
    assert gumbel.considered_visits(8, 16).tolist() == [*[0] * 8, *[1] * 4, 2, 2, 3, 3]
    assert gumbel.considered_visits(1, 4).tolist() == [0, 1, 2, 3]


def test_sequential_halving_finds_the_best_arm_and_spends_most_on_it():
    reward_BA = np.random.default_rng(0).permuted(np.tile(np.arange(8.0), (16, 1)), axis=1)
    for reward_A in reward_BA:
        model = bandit(reward_A)
        result = gumbel_search(model.recurrent, model.root([0]), num_simulations=32, discount=0.0)
        best = reward_A.argmax()
        assert result.action[0] == best
        assert result.policy[0].argmax() == best
        assert result.visit_counts[0, best] == result.visit_counts[0].max()


def test_only_the_actions_with_the_highest_gumbel_and_prior_are_considered():
    rng = np.random.default_rng(1)
    model = TableModel(1, 18)
    gumbel_BA = rng.gumbel(size=(10, 18))
    result = gumbel_search(
        model.recurrent,
        model.root(range(10)),
        num_simulations=16,
        discount=0.99,
        gumbel_BA=gumbel_BA,
        max_num_considered_actions=4,
    )
    expected = np.argsort(gumbel_BA + model.prior_logits[:10].numpy(), axis=1)[:, -4:]
    for index in range(10):
        assert set(np.flatnonzero(result.visit_counts[index])) == set(expected[index])
    assert (result.visit_counts.sum(axis=1) == 16).all()
    assert (np.isnan(result.q_values) == (result.visit_counts == 0)).all()


def test_one_simulation_acts_by_the_gumbel_trick_on_the_prior():
    rng = np.random.default_rng(2)
    num_roots = 4000
    model = bandit([0.0, 0.0, 0.0], prior_logits_A=[0.0, 1.0, 2.0])
    result = gumbel_search(
        model.recurrent,
        model.root([0] * num_roots),
        num_simulations=1,
        discount=0.0,
        gumbel_BA=rng.gumbel(size=(num_roots, 3)),
    )
    share = np.bincount(result.action, minlength=3) / num_roots
    prior = np.exp([0.0, 1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    np.testing.assert_allclose(share, prior, atol=5 * math.sqrt(0.25 / num_roots))


def test_the_improved_policy_is_at_least_as_good_as_the_prior():
    rng = np.random.default_rng(3)
    for seed in range(20):
        reward_A = rng.standard_normal(6)
        logits_A = rng.standard_normal(6)
        model = bandit(reward_A, logits_A)
        model.value[:] = float((np.exp(logits_A) / np.exp(logits_A).sum()) @ reward_A)
        model.successor[:] = 1
        result = gumbel_search(
            model.recurrent,
            model.root([0]),
            num_simulations=4,
            discount=0.0,
            gumbel_BA=np.random.default_rng(seed).gumbel(size=(1, 6)),
        )
        prior = np.exp(logits_A) / np.exp(logits_A).sum()
        assert result.policy[0] @ reward_A >= prior @ reward_A - 1e-6
        np.testing.assert_allclose(result.policy.sum(), 1.0)


def test_a_batch_gives_what_its_roots_give_one_by_one():
    rng = np.random.default_rng(4)
    model = TableModel(4, 7)
    gumbel_BA = rng.gumbel(size=(20, 7))
    options = {"num_simulations": 20, "discount": 0.99, "workspace": Workspace()}
    together = gumbel_search(model.recurrent, model.root(range(20)), gumbel_BA=gumbel_BA, **options)
    visit_count = together.tree.visit_count.copy()
    for index in range(20):
        alone = gumbel_search(model.recurrent, model.root([index]), gumbel_BA=gumbel_BA[index : index + 1], **options)
        np.testing.assert_array_equal(alone.policy[0], together.policy[index])
        assert alone.tree.visit_count[0].tobytes() == visit_count[index].tobytes()
        assert (alone.action[0], alone.depth[0]) == (together.action[index], together.depth[index])
