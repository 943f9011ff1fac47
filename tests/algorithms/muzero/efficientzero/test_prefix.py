"""Value prefixes: their targets, that search and learner mean the same by them, and that differences are rewards."""

from typing import Any

import numpy as np
import pytest
import torch
from support.fake_replay import BOX, ENV, IMAGES, FakeReplay
from torch import Tensor

from rlsys.algorithms.muzero import ALGORITHM
from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.efficientzero.prefix import prefixes
from rlsys.algorithms.muzero.fused.dispatch import make_inference, make_unroll
from rlsys.algorithms.muzero.learner import MuZeroLearner
from rlsys.algorithms.muzero.networks import Network
from rlsys.algorithms.muzero.scalars import reward_code, value_code
from rlsys.api import LearnerContext
from rlsys.config import read_env
from rlsys.planning.mcts import SearchResult, gumbel_search, puct_search
from rlsys.planning.model import RecurrentOutput, RootOutput
from rlsys.testing.contract import check_algorithm
from rlsys.types import EnvSpec

SMALL: dict[str, Any] = {"batch_size": 16, "num_unroll_steps": 5, "td_steps": 4, "stored_before_train": 16}
EFFICIENTZERO = {"architecture": "EfficientZeroNetwork", "num_channels": 8}
NETWORKS = [
    (ENV, {"architecture": "FCNetwork"}),
    (IMAGES, {"architecture": "TinyNetwork"}),
    (IMAGES, EFFICIENTZERO),
    (IMAGES, {**EFFICIENTZERO, "num_action_channels": 4}),
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads of small products would wait for each other far longer than they work."""
    torch.set_num_threads(1)


def make(env: EnvSpec, window: int, **options: Any) -> tuple[MuZeroConfig, Network]:
    """Returns a network with opinions: no layer says 0, and no normalisation is the identity."""
    config = MuZeroConfig.model_validate({**SMALL, "value_prefix": window, **options})
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    network = make_network(config, env).eval()
    assert network.prefix is not None
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and ("running" in name or not tensor.any()):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        for last in (module for module in network.modules() if isinstance(module, torch.nn.Linear)):
            last.weight.copy_(2.0 * torch.randn(last.weight.shape, generator=generator) / last.in_features**0.5)
    return config, network


def observations(env: EnvSpec, count: int) -> Tensor:
    raw = np.random.default_rng(0).random((count, *env.policy_observation.shape)) * 100
    return torch.tensor(raw.astype(env.observation.dtype))


def naive_prefix(network: Network, features: list[Tensor], window: int) -> Tensor:
    """Says the prefix after the last of some steps, by reading its window from the beginning: `[B, R]`."""
    assert network.prefix is not None
    cell = network.prefix.core.cell
    hidden = memory = torch.zeros(len(features[0]), cell.hidden_size)
    for step in features[(len(features) - 1) // window * window :]:
        hidden, memory = cell(network.predict_reward(step), (hidden, memory))
    said: Tensor = network.prefix.head(hidden)
    return said


class Naive:
    """A model that remembers nothing but which actions were taken, and begins at the observation each time."""

    def __init__(self, network: Network, config: MuZeroConfig, observation: Tensor, depth: int) -> None:
        self.network, self.config, self.observation, self.depth = network, config, observation, depth

    def root(self) -> RootOutput:
        value, policy = self.network.predict(self.network.represent(self.observation))
        nothing = torch.full((len(value), self.depth), -1.0)
        return RootOutput(value_code(self.config).decode(value), policy, nothing)

    def recurrent(self, taken: Tensor, action: Tensor) -> RecurrentOutput:
        taken, rows = taken.clone(), []
        for row in range(len(taken)):
            at = int((taken[row] >= 0).sum())
            taken[row, at] = float(action[row])
            rows.append(self.walk(self.observation[row : row + 1], [int(a) for a in taken[row, : at + 1]]))
        value, reward, policy = (torch.cat(column) for column in zip(*rows, strict=True))
        return RecurrentOutput(value, reward, policy, taken)

    def walk(self, observation: Tensor, actions: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        window, code = self.config.value_prefix, reward_code(self.config)
        assert window is not None
        state, features = self.network.represent(observation), []
        for action in actions:
            state, feature = self.network.transition(state, torch.tensor([action]))
            features.append(feature)
        value, policy = self.network.predict(state)
        reward = code.decode(naive_prefix(self.network, features, window))
        if (len(features) - 1) % window:
            reward = reward - code.decode(naive_prefix(self.network, features[:-1], window))
        return value_code(self.config).decode(value), reward, policy


@pytest.mark.parametrize("window", [1, 2, 3, 10])
def test_targets_are_sums_of_rewards_since_their_window_began(window: int) -> None:
    reward_BK = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    expected = [[row[k // window * window : k + 1].sum() for k in range(7)] for row in reward_BK]
    np.testing.assert_allclose(prefixes(reward_BK, window), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("env", "options"), NETWORKS)
@pytest.mark.parametrize("rule", ["puct", "gumbel"])
def test_a_search_equals_one_that_begins_at_the_observation_each_time(
    env: EnvSpec, options: dict[str, Any], rule: str
) -> None:
    config, network = make(env, window=2, **options)
    observation, simulations = observations(env, 2), 16
    naive, inference = Naive(network, config, observation, simulations), make_inference(network, config)

    def search(recurrent: Any, root: RootOutput) -> SearchResult:
        if rule == "gumbel":
            return gumbel_search(recurrent, root, num_simulations=simulations, discount=0.9)
        return puct_search(recurrent, root, num_simulations=simulations, discount=0.9)

    with torch.inference_mode():
        expected = search(naive.recurrent, naive.root())
        found = search(inference.recurrent, inference.initial(observation))
    assert expected.depth.min() >= 3, "it goes on into a second window"
    assert np.array_equal(found.visit_counts, expected.visit_counts)
    assert np.array_equal(found.tree.child, expected.tree.child)
    np.testing.assert_allclose(found.tree.reward, expected.tree.reward, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.root_value, expected.root_value, rtol=1e-4, atol=1e-4)
    assert np.ptp(expected.tree.reward[expected.tree.child >= 0]) > 0.1


@pytest.mark.parametrize(("env", "options"), NETWORKS)
@pytest.mark.parametrize("window", [2, 5])
def test_the_learner_unrolls_what_a_search_says(env: EnvSpec, options: dict[str, Any], window: int) -> None:
    config, network = make(env, window, **options)
    action_BK = torch.tensor(np.random.default_rng(2).integers(0, 3, (4, 5)))
    observation, code = observations(env, 4), reward_code(config)
    with torch.inference_mode():
        said = code.decode(make_unroll(network, torch.device("cpu"), "fp32")(observation, action_BK).reward)
        inference = make_inference(network, config)
        embedding, reward_BK = inference.initial(observation).embedding, []
        for action in action_BK.unbind(dim=1):
            _, reward, _, embedding = inference.recurrent(embedding, action)
            reward_BK.append(reward)
    summed = prefixes(torch.stack(reward_BK, dim=1).numpy(), window)
    np.testing.assert_allclose(summed, said.numpy(), rtol=1e-3, atol=1e-4)


def test_the_loss_is_that_of_prefixes() -> None:
    config = MuZeroConfig.model_validate({**SMALL, "value_prefix": 3, "beta": 1.0})
    learner, replay = MuZeroLearner(LearnerContext(config, ENV, seed=0)), FakeReplay()
    network, windows = learner._model.network, replay.windows
    weight_B = windows.probability[:16].min() / windows.probability[:16]
    sums = prefixes(windows.reward[:16, :5], 3)
    with torch.no_grad():
        state, features = network.represent(torch.tensor(windows.observation[:16, 0])), []
        for k in range(5):
            state, feature = network.transition(state, torch.tensor(windows.action[:16, k]))
            features.append(network.predict_reward(feature))
        assert network.prefix is not None
        hidden = []
        for k in range(5):
            if k % 3 == 0:
                memory = torch.zeros(2, 16, 128)
            memory = torch.stack(network.prefix.core.cell(features[k], tuple(memory)))
            hidden.append(memory[0])
        said = network.prefix.head(torch.cat(hidden)).view(5, 16, -1).transpose(0, 1)
        loss_B = reward_code(config).loss(said, torch.tensor(sums)).sum(dim=1)
    due = float((torch.tensor(weight_B) * loss_B).mean())
    assert learner.step(replay)["loss/reward"] == pytest.approx(due, rel=1e-4)


def test_differences_of_what_was_learned_are_rewards() -> None:
    options = {"value_prefix": 5, "lr_init": 3e-3, "clip_grad": 10.0, "beta": 0.0, "beta_increment_per_sampling": 0.0}
    config = MuZeroConfig.model_validate({**SMALL, **options})
    learner, replay = MuZeroLearner(LearnerContext(config, ENV, seed=0)), FakeReplay()
    windows = replay.windows
    windows.observation[:] /= 255.0
    windows.reward[:, :-1] = np.array([0.0, 1.0, -2.0], np.float32)[windows.action[:, :-1]]
    for _ in range(300):
        learner.step(replay)
    network = make_network(config, ENV)
    network.load_state_dict({name: torch.tensor(array) for name, array in learner.weights().items()})
    inference = make_inference(network, config)
    embedding = inference.initial(torch.tensor(windows.observation[:16, 0])).embedding
    found = []
    for k in range(5):
        _, reward, _, embedding = inference.recurrent(embedding, torch.tensor(windows.action[:16, k]))
        found.append(reward.numpy())
    error = np.abs(np.stack(found, axis=1) - windows.reward[:16, :5])
    assert error.mean() < 0.15, error.mean(axis=0)


@pytest.mark.parametrize(
    ("env", "options"),
    [
        ({"id": "CartPole-v1"}, {"search": "gumbel", "reanalyse_fraction": 0.5}),
        ({"id": "Pendulum-v1"}, {"sampled_actions": 3}),
        ({"id": "catch"}, {**EFFICIENTZERO, "consistency_weight": 2.0, "augmentation": ["shift", "intensity"]}),
    ],
)
def test_it_keeps_the_contract(env: dict[str, Any], options: dict[str, Any]) -> None:
    section = {**ALGORITHM.debug, "value_prefix": 5, **options}
    check_algorithm(ALGORITHM, MuZeroConfig.model_validate(section), read_env(env))


def test_numbers_as_actions_have_prefixes_too() -> None:
    config, network = make(BOX, window=3, sampled_actions=4)
    inference = make_inference(network, config)
    root = inference.initial(observations(BOX, 2))
    first = inference.recurrent(root.embedding, torch.tensor([[0.5, -1.0], [1.0, 0.0]]))
    assert first.embedding.shape == root.embedding.shape == (2, 50 + 2 * 128 + 2)
    assert first.reward.shape == (2,) and float(first.reward[0]) != float(first.reward[1])


def test_what_is_rounded_around_it_does_not_round_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    rounded, network = make(IMAGES, window=3, architecture="TinyNetwork", acting_precision="bf16")
    exact = rounded.model_copy(update={"acting_precision": "fp32"})
    observation, action_BK = observations(IMAGES, 2), torch.tensor([[0, 1, 2, 0, 1], [2, 2, 1, 0, 0]])
    with torch.inference_mode():
        said, due = (
            make_unroll(network, torch.device("cpu"), name)(observation, action_BK) for name in ("bf16", "fp32")
        )
        found, expected = (make_inference(network, config).initial(observation) for config in (rounded, exact))
        stepped = make_inference(network, rounded).recurrent(found.embedding, action_BK[:, 0])
    assert said.reward.dtype == stepped.reward.dtype == stepped.embedding.dtype == torch.float32
    assert not torch.equal(said.value, due.value) and not torch.equal(found.embedding, expected.embedding)
    torch.testing.assert_close(said.reward, due.reward, rtol=0.1, atol=0.2)
