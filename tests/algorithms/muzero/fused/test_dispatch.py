"""Whichever implementation is chosen, search and learner see the same networks."""

from typing import Any

import numpy as np
import pytest
import torch
from support.fake_replay import ENV, IMAGES
from torch import Tensor

from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.fused.dispatch import make_inference, make_unroll
from rlsys.algorithms.muzero.fused.unroll import FusedUnroll
from rlsys.algorithms.muzero.networks import Network
from rlsys.algorithms.muzero.scalars import reward_code, value_code
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
