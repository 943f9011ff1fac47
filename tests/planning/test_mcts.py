"""Search with PUCT, against a tree of Python objects written from the definition."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from rlsys.errors import WorkerError
from rlsys.planning.mcts import SearchResult, Workspace, puct_search
from rlsys.planning.model import RecurrentOutput, RootOutput

NUM_STATES = 997
TREE_ARRAYS = ("raw_value", "child", "prior", "reward", "visit_count", "value_sum", "q_value")


class TableModel:
    """A world of numbered states with random values, rewards, priors and successors; the embedding is the number."""

    def __init__(self, seed, num_actions, *, scale=1.0, levels=None):
        rng = np.random.default_rng(seed)

        def draw(*shape):
            return rng.integers(levels, size=shape) if levels else rng.standard_normal(shape)

        self.value = torch.from_numpy(scale * draw(NUM_STATES)).float()
        self.reward = torch.from_numpy(scale * draw(NUM_STATES, num_actions)).float()
        self.prior_logits = torch.from_numpy(draw(NUM_STATES, num_actions)).float()
        self.successor = torch.from_numpy(rng.integers(NUM_STATES, size=(NUM_STATES, num_actions)))

    def root(self, state_B, shape=(1,), dtype=torch.float32):
        state_B = torch.as_tensor(state_B)
        return RootOutput(self.value[state_B], self.prior_logits[state_B], self.embed(state_B, shape, dtype))

    def recurrent(self, embedding, action_B):
        state_B = embedding.flatten(1)[:, -1].long()
        next_B = self.successor[state_B, action_B]
        next_embedding = self.embed(next_B, embedding.shape[1:], embedding.dtype)
        return RecurrentOutput(
            self.value[next_B], self.reward[state_B, action_B], self.prior_logits[next_B], next_embedding
        )

    @staticmethod
    def embed(state_B, shape, dtype):
        return state_B.to(dtype).reshape(-1, *[1] * len(shape)).expand(-1, *shape).contiguous()


@dataclass
class Node:
    state: int
    prior: float
    reward: float = 0.0
    visit_count: int = 0
    value_sum: float = 0.0
    children: dict[int, "Node"] = field(default_factory=dict)

    def value(self):
        return self.value_sum / self.visit_count if self.visit_count else 0.0


def softmax(logits):
    powers = [math.exp(float(x) - float(max(logits))) for x in logits]
    return [power / sum(powers) for power in powers]


def naive_search(model, state, *, num_simulations, discount, pb_c_base, pb_c_init, init_value_score, noise, fraction):
    """One root, one simulation at a time, as the appendix says; priors are kept in single precision."""
    bounds = [math.inf, -math.inf]
    root = Node(state, 1.0)
    priors = [(1 - fraction) * p + fraction * n for p, n in zip(softmax(model.prior_logits[state]), noise, strict=True)]
    root.children = {action: Node(-1, float(np.float32(prior))) for action, prior in enumerate(priors)}
    deepest = 0

    def score(parent, child):
        c = math.log((parent.visit_count + pb_c_base + 1) / pb_c_base) + pb_c_init
        exploration = c * math.sqrt(parent.visit_count) / (child.visit_count + 1) * child.prior
        if child.visit_count == 0:
            return exploration + init_value_score
        low, high = bounds
        q = child.reward + discount * child.value()
        return exploration + ((q - low) / (high - low) if high > low else 1.0)

    for _ in range(num_simulations):
        path, actions = [root], []
        while path[-1].children:
            parent = path[-1]
            key = (lambda child: child.prior) if parent.visit_count == 0 else (lambda child: score(parent, child))  # noqa: B023
            action = max(parent.children, key=lambda a: key(parent.children[a]))
            actions.append(action)
            path.append(parent.children[action])
        leaf, parent = path[-1], path[-2]
        leaf.state = int(model.successor[parent.state, actions[-1]])
        leaf.reward = float(model.reward[parent.state, actions[-1]])
        priors = softmax(model.prior_logits[leaf.state])
        leaf.children = {action: Node(-1, float(np.float32(prior))) for action, prior in enumerate(priors)}
        value = float(model.value[leaf.state])
        for node in reversed(path):
            node.value_sum += value
            node.visit_count += 1
            if node is not root:
                q = node.reward + discount * node.value()
                bounds = [min(bounds[0], q), max(bounds[1], q)]
            value = node.reward + discount * value
        deepest = max(deepest, len(actions))
    return root, deepest


def assert_same_tree(node, tree, root, index):
    """Compares every expanded node below `node` with the arrays."""
    for action, child in node.children.items():
        assert tree.visit_count[root, index, action] == child.visit_count
        assert tree.prior[root, index, action] == np.float32(child.prior)
        np.testing.assert_allclose(tree.value_sum[root, index, action], child.value_sum, rtol=1e-6, atol=1e-6)
        if child.visit_count:
            below = tree.child[root, index, action]
            assert (tree.parent[root, below], tree.parent_action[root, below]) == (index, action)
            assert tree.reward[root, index, action] == np.float32(child.reward)
            assert_same_tree(child, tree, root, below)


CASES = [(seed, *case) for seed in range(6) for case in [(1, 5), (2, 1), (2, 30), (3, 50), (4, 30), (7, 40), (18, 30)]]


@pytest.mark.parametrize(("seed", "num_actions", "num_simulations"), CASES)
def test_search_equals_a_tree_of_python_objects(seed, num_actions, num_simulations):
    rng = np.random.default_rng(seed)
    model = TableModel(seed, num_actions, scale=rng.choice([1e-3, 1.0, 300.0]), levels=rng.choice([None, 2]))
    state_B = rng.integers(NUM_STATES, size=5)
    noise_BA = rng.dirichlet(np.full(num_actions, 0.25), size=5)
    options = {
        "num_simulations": num_simulations,
        "discount": rng.choice([0.0, 0.9, 0.997, 1.0]),
        "pb_c_base": rng.choice([19652.0, 20.0]),
        "pb_c_init": rng.choice([1.25, 0.3]),
        "init_value_score": rng.choice([0.0, 0.5]),
    }
    fraction = rng.choice([0.0, 0.25])

    result = puct_search(
        model.recurrent, model.root(state_B), noise_BA=noise_BA, exploration_fraction=fraction, **options
    )

    for index, state in enumerate(state_B):
        root, deepest = naive_search(model, state, noise=noise_BA[index], fraction=fraction, **options)
        assert_same_tree(root, result.tree, index, 0)
        assert result.visit_counts[index].tolist() == [child.visit_count for child in root.children.values()]
        q_values = [
            c.reward + options["discount"] * c.value() if c.visit_count else np.nan for c in root.children.values()
        ]
        np.testing.assert_allclose(result.q_values[index], q_values, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(result.q_max[index], np.nanmax(q_values), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(result.root_value[index], root.value(), rtol=1e-6, atol=1e-6)
        assert result.depth[index] == deepest


def search(model, root, noise_BA=None, **options) -> SearchResult:
    return puct_search(
        model.recurrent, root, noise_BA=noise_BA, **{"num_simulations": 30, "discount": 0.997, **options}
    )


def assert_same_result(first, second):
    for name in ("visit_counts", "root_value", "q_values", "depth"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for name in TREE_ARRAYS:
        np.testing.assert_array_equal(getattr(first.tree, name), getattr(second.tree, name))


@pytest.mark.parametrize("num_actions", [2, 4, 18])
def test_a_batch_gives_what_its_roots_give_one_by_one(num_actions):
    rng = np.random.default_rng(num_actions)
    model = TableModel(num_actions, num_actions)
    state_B = rng.integers(NUM_STATES, size=33)
    noise_BA = rng.dirichlet(np.full(num_actions, 0.3), size=33)
    together = search(model, model.root(state_B), noise_BA)
    for index, state in enumerate(state_B):
        alone = search(model, model.root([state]), noise_BA[index : index + 1])
        np.testing.assert_array_equal(alone.visit_counts[0], together.visit_counts[index])
        np.testing.assert_array_equal(alone.q_values[0], together.q_values[index])
        for name in TREE_ARRAYS:
            np.testing.assert_array_equal(getattr(alone.tree, name)[0], getattr(together.tree, name)[index])
        assert alone.root_value[0] == together.root_value[index]
        assert alone.depth[0] == together.depth[index]


def test_the_first_action_is_the_likeliest_and_the_lowest_of_equals():
    model = TableModel(0, 4)
    model.prior_logits[:] = torch.tensor([0.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(search(model, model.root([3]), num_simulations=1).visit_counts, [[0, 1, 0, 0]])


def test_actions_that_cannot_be_told_apart_are_tried_in_turn():
    model = TableModel(0, 3)
    for table in (model.value, model.reward, model.prior_logits):
        table[:] = 0.0
    # All values are equal, so visited children score 1 and unvisited ones need as much to be tried at all.
    result = search(model, model.root([3]), num_simulations=3, init_value_score=1.0)
    np.testing.assert_array_equal(result.visit_counts, [[1, 1, 1]])


def test_every_simulation_is_counted_once_and_values_do_not_depend_on_their_scale():
    model = TableModel(1, 4)
    small = search(model, model.root(range(20)))
    model.value *= 1024.0
    model.reward *= 1024.0
    large = search(model, model.root(range(20)))
    assert (small.visit_counts.sum(axis=1) == 30).all()
    np.testing.assert_array_equal(small.visit_counts, large.visit_counts)
    np.testing.assert_allclose(1024.0 * small.root_value, large.root_value, rtol=1e-9)


def test_the_search_finds_the_only_rewarded_path():
    model = TableModel(2, 4)
    model.value[:] = 0.0
    model.prior_logits[:] = 0.0
    model.reward[:] = 0.0
    model.reward[:, 2] = 1.0
    result = search(model, model.root([5, 6]), num_simulations=100, discount=0.9)
    assert (result.visit_counts.argmax(axis=1) == 2).all()
    assert (result.q_max <= 1 / (1 - 0.9)).all()
    assert (result.q_max == result.q_values[:, 2]).all()


def test_noise_is_mixed_into_the_roots_priors_only():
    model = TableModel(3, 4)
    noise_BA = np.array([[0.7, 0.1, 0.1, 0.1]])
    mixed = search(model, model.root([1]), noise_BA, exploration_fraction=0.25)
    expected = 0.75 * model.prior_logits[1].double().softmax(0).numpy() + 0.25 * noise_BA[0]
    np.testing.assert_allclose(mixed.tree.prior[0, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(mixed.tree.prior.sum(axis=2), 1.0, rtol=1e-6)
    only_noise = search(model, model.root([1]), noise_BA, exploration_fraction=1.0)
    np.testing.assert_array_equal(only_noise.tree.prior[0, 0], noise_BA[0].astype(np.float32))


def test_logits_of_any_size_make_probabilities():
    model = TableModel(4, 4)
    model.prior_logits[:] = torch.tensor([-3e4, 3e4, 2.9e4, float("-inf")])
    prior = search(model, model.root([1])).tree.prior
    np.testing.assert_array_equal(prior, np.broadcast_to(np.float32([0, 1, 0, 0]), prior.shape))


def test_embeddings_of_any_shape_and_type_give_the_same_search():
    model = TableModel(5, 4)
    flat = search(model, model.root(range(8)))
    assert_same_result(flat, search(model, model.root(range(8), shape=(2, 3, 1))))
    assert_same_result(flat, search(model, model.root(range(8), shape=(2, 3), dtype=torch.float64)))
    assert_same_result(flat, search(model, model.root(range(8), shape=(5,), dtype=torch.float16)))


def test_a_workspace_changes_nothing_whatever_was_searched_with_it_before():
    model = TableModel(6, 4)
    workspace = Workspace()
    for states, num_simulations, shape in [(8, 30, (1,)), (8, 30, (1,)), (3, 30, (1,)), (3, 7, (1,)), (3, 7, (2, 2))]:
        root = model.root(range(states), shape=shape)
        kept = search(model, root, num_simulations=num_simulations, workspace=workspace)
        assert_same_result(kept, search(model, root, num_simulations=num_simulations))


def test_a_result_outlives_the_next_search_with_its_workspace_except_for_the_tree():
    model = TableModel(7, 4)
    workspace = Workspace()
    first = search(model, model.root([1, 2]), workspace=workspace)
    visit_counts, root_value = first.visit_counts.copy(), first.root_value.copy()
    search(model, model.root([3, 4]), workspace=workspace)
    np.testing.assert_array_equal(first.visit_counts, visit_counts)
    np.testing.assert_array_equal(first.root_value, root_value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_may_write_into_the_same_tensors_each_time(dtype):
    model = TableModel(8, 4)
    root = model.root(range(6))
    root = root._replace(embedding=root.embedding.to(dtype))
    buffers = RecurrentOutput(
        torch.empty(6, dtype=dtype), torch.empty(6), torch.empty(6, 4), torch.empty(root.embedding.shape, dtype=dtype)
    )

    def recurrent(embedding, action_B):
        for buffer, tensor in zip(buffers, model.recurrent(embedding, action_B), strict=True):
            buffer.copy_(tensor)
        embedding.fill_(-1.0)
        return buffers

    kept = puct_search(recurrent, root, num_simulations=30, discount=0.997)
    assert_same_result(kept, search(model, model.root(range(6))))


def test_a_network_that_is_being_trained_can_be_searched():
    layer = nn.Linear(3, 3)

    def recurrent(embedding, action_B):
        state = layer(embedding)
        return state[:, 0], state[:, 1], state, state

    state = layer(torch.ones(2, 3))
    result = puct_search(recurrent, RootOutput(state[:, 0], state, state), num_simulations=5, discount=1.0)
    assert (result.visit_counts.sum(axis=1) == 5).all()


@pytest.mark.parametrize("table", ["value", "reward"])
def test_a_model_that_returns_nan_is_reported_with_its_root(table):
    model = TableModel(9, 4)
    model.successor[10:] = torch.arange(10, NUM_STATES)[:, None]
    model.successor[:10] = torch.arange(10)[:, None]
    getattr(model, table)[3] = torch.nan
    with pytest.raises(WorkerError, match="not finite in the search from root 1;"):
        search(model, model.root([20, 3, 4]))
