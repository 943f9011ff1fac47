"""Whichever implementation is chosen, search and learner see the same networks."""

from typing import Any

import numpy as np
import pytest
import torch
from support.fake_replay import ENV, IMAGES
from support.graphs import RepeatedGraph
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.fused import dispatch
from rlsys.algorithms.muzero.fused.dispatch import Inference, make_inference, make_unroll
from rlsys.algorithms.muzero.fused.unroll import FusedUnroll
from rlsys.algorithms.muzero.networks import Network
from rlsys.algorithms.muzero.scalars import reward_code, value_code
from rlsys.ops.captured import Captured
from rlsys.types import EnvSpec


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads of small products would wait for each other far longer than they work."""
    torch.set_num_threads(1)


def make(env: EnvSpec, **options: Any) -> tuple[MuZeroConfig, Network]:
    torch.manual_seed(3)
    config = MuZeroConfig.model_validate(options)
    network = make_network(config, env).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)  # opinions strong enough to be told apart
    return config, network


def observations(env: EnvSpec, count: int = 6) -> Tensor:
    raw = np.random.default_rng(0).normal(size=(count, *env.policy_observation.shape)) * 100
    return torch.tensor(raw.astype(env.observation.dtype))


@pytest.mark.parametrize(
    ("env", "options"),
    [
        (ENV, {}),
        (ENV, {"no_support": True}),
        (ENV, {"no_target_transform": True}),
        (IMAGES, {"architecture": "TinyNetwork"}),
    ],
)
def test_search_sees_raw_values_and_rewards_of_the_network(env: EnvSpec, options: dict[str, Any]) -> None:
    config, network = make(env, **options)
    inference, action_B = make_inference(network, config), torch.tensor([0, 1, 2, 0, 1, 2])
    root = inference.initial(observations(env))
    found = inference.recurrent(root.embedding, action_B)
    with torch.inference_mode():
        state = network.represent(observations(env))
        value, logits = network.predict(state)
        torch.testing.assert_close(root.embedding, state, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(root.value, value_code(config).decode(value), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(root.prior_logits.softmax(dim=1), logits.softmax(dim=1), rtol=1e-4, atol=1e-6)
        after, features = network.transition(state, action_B)
        reward = reward_code(config).decode(network.predict_reward(features))
        torch.testing.assert_close(found.reward, reward, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.embedding, after, rtol=1e-4, atol=1e-5)


def test_bf16_predicts_nearly_what_fp32_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    expected, found = (
        make_inference(network, config).initial(observations(ENV))
        for config, network in (make(ENV, acting_precision=precision) for precision in ("fp32", "bf16"))
    )
    np.testing.assert_allclose(found.value, expected.value, rtol=0.1, atol=0.1)
    assert not torch.equal(found.value, expected.value)


@pytest.mark.parametrize(("env", "architecture"), [(ENV, "FCNetwork"), (IMAGES, "TinyNetwork")])
def test_the_unroll_is_the_networks_and_fused_where_there_is_one(env: EnvSpec, architecture: str) -> None:
    _, network = make(env, architecture=architecture)
    unroll = make_unroll(network, torch.device("cpu"), "fp32")
    assert isinstance(unroll, FusedUnroll) == (architecture == "FCNetwork")
    action_BK = torch.tensor([[0, 1], [2, 0], [1, 1]])
    for found, expected in zip(
        unroll(observations(env, 3), action_BK), network.unroll(observations(env, 3), action_BK), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


KINDS: list[tuple[EnvSpec, dict[str, Any]]] = [
    (ENV, {}),
    (ENV, {"value_prefix": 3}),
    (IMAGES, {"architecture": "TinyNetwork"}),
    (IMAGES, {"architecture": "MuZeroNetwork", "value_prefix": 2}),
    (IMAGES, {"architecture": "EfficientZeroNetwork", "num_action_channels": 4}),
]


def on_a_gpu(network: Network, config: MuZeroConfig) -> Inference:
    """Returns what `make_inference` does where a device has graphs."""
    kind = dispatch._NetworkInference if network.prefix is None else dispatch._PrefixInference
    return kind(*((network, config) if network.prefix is None else (network, network.prefix, config)))


@pytest.mark.parametrize(("env", "options"), KINDS)
def test_a_step_as_a_graph_is_the_same_step_and_follows_weights_that_are_overwritten(
    env: EnvSpec, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, network = make(env, **options)
    eager = on_a_gpu(network, config)
    monkeypatch.setattr(dispatch, "captured", lambda function, device: Captured(function, RepeatedGraph))
    graphed, before = on_a_gpu(network, config), RepeatedGraph.recorded
    assert eager.follows and graphed.follows
    results = []
    for size in (6, 2, 6):
        state, action_B = eager.initial(observations(env)[:size]).embedding, torch.arange(size) % 3
        results.append((eager.recurrent(state, action_B), graphed.recurrent(state, action_B)))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(1.01)
    assert RepeatedGraph.recorded - before == 2, "one graph for each size"
    for expected, found in results:
        assert all(map(torch.equal, found, expected))
    assert not torch.equal(results[0][1].embedding, results[2][1].embedding)


@pytest.mark.parametrize(("env", "options"), KINDS)
def test_a_step_never_waits_for_a_number(env: EnvSpec, options: dict[str, Any]) -> None:
    config, network = make(env, **options)
    inference = on_a_gpu(network, config)
    state = inference.initial(observations(env)).embedding.clone()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:  # tensors without numbers: to ask for one is an error
        output = inference.recurrent(mode.from_tensor(state), mode.from_tensor(torch.arange(6) % 3))
    assert output.value.shape == (6,) and output.embedding.shape == state.shape
