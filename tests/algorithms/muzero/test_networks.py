"""The three architectures: sizes, shapes and the unroll."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.efficientzero.network import EfficientZeroNetwork
from rlsys.algorithms.muzero.networks import Network
from rlsys.types import ArraySpec, EnvSpec

RAM = EnvSpec("ram", ArraySpec((128,), "uint8"), ArraySpec((), "int64"), num_actions=4)
PIXELS = EnvSpec("pixels", ArraySpec((96, 96), "uint8"), ArraySpec((), "int64"), num_actions=4, num_stack=4)
SMALL = dataclasses.replace(PIXELS.with_observation(ArraySpec((3, 24, 32), "uint8")), num_actions=3, num_stack=2)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads of small products would wait for each other far longer than they work."""
    torch.set_num_threads(1)


def build(architecture: str, env: EnvSpec, **options: object) -> Network:
    torch.manual_seed(0)
    return make_network(MuZeroConfig.model_validate({"architecture": architecture, **options}), env)


def observations(env: EnvSpec, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, *env.policy_observation.shape), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("architecture", "env", "count", "digits"),
    [("FCNetwork", RAM, 259_750, 0), ("TinyNetwork", PIXELS, 4_060_000, -4), ("MuZeroNetwork", PIXELS, 23_400_000, -5)],
)
def test_parameter_counts_are_those_of_upstream(architecture: str, env: EnvSpec, count: int, digits: int) -> None:
    with torch.device("meta"):
        network = build(architecture, env)
    assert round(sum(parameter.numel() for parameter in network.parameters()), digits) == count


def test_efficientzero_has_as_many_parameters_as_its_authors_use() -> None:
    env = dataclasses.replace(PIXELS.with_observation(ArraySpec((3, 96, 96), "uint8")), num_stack=4)
    supports = {"value_support": [-300, 300], "reward_support": [-300, 300]}
    with torch.device("meta"):
        network = build("EfficientZeroNetwork", env, value_prefix=5, consistency_weight=2.0, **supports)
    unused = (12 * 64 * 9 + 2 * 64) + (2 * 64 * 64 * 9 + 4 * 64)  # of theirs: two layers that nothing goes through
    assert round(sum(parameter.numel() for parameter in network.parameters()) + unused, -4) == 8_430_000
    assert (network.state_shape, network.reward_size) == ((64, 6, 6), 576)


@pytest.mark.parametrize(
    ("architecture", "env", "state"),
    [
        ("FCNetwork", RAM, (50,)),
        ("FCNetwork", SMALL, (50,)),
        ("TinyNetwork", PIXELS, (64, 6, 6)),
        ("TinyNetwork", SMALL, (64, 2, 2)),
        ("MuZeroNetwork", SMALL, (128, 2, 2)),
        ("EfficientZeroNetwork", SMALL, (64, 2, 2)),
    ],
)
def test_states_and_heads_have_the_documented_shapes(architecture: str, env: EnvSpec, state: tuple[int, ...]) -> None:
    network = build(architecture, env, value_support=[-2, 5], reward_support=[-3, 1]).eval()
    with torch.inference_mode():
        first = network.represent(observations(env))
        second, features = network.transition(first, torch.tensor([0, 1, 2]))
        assert first.shape == second.shape == (3, *state) == (3, *network.state_shape)
        assert network.predict(first).value.shape == (3, 8)
        assert network.predict(first).policy.shape == (3, env.num_actions)
        assert network.predict_reward(features).shape == (3, 5)


@pytest.mark.parametrize("architecture", ["FCNetwork", "TinyNetwork", "MuZeroNetwork"])
def test_states_are_scaled_to_the_unit_interval(architecture: str) -> None:
    network = build(architecture, SMALL).eval()
    with torch.inference_mode():
        first = network.represent(observations(SMALL))
        second, _ = network.transition(first, torch.tensor([0, 1, 2]))
    for state in (first, second):
        assert state.amin(dim=1).abs().max() == 0.0
        torch.testing.assert_close(state.amax(dim=1), torch.ones_like(state[:, 0]))


@pytest.mark.parametrize("embedded", [{}, {"num_action_channels": 16}])
def test_what_an_action_changes_of_efficientzeros_state_is_added_to_it(embedded: dict[str, Any]) -> None:
    network = build("EfficientZeroNetwork", SMALL, num_channels=16, **embedded).eval()
    assert isinstance(network, EfficientZeroNetwork)
    with torch.inference_mode():
        state = network.represent(observations(SMALL, 1)).expand(3, -1, -1, -1)
        network.change[1].bias.fill_(-1e6)  # nothing is left of it
        after, _ = network.transition(state, torch.arange(3))
        assert not after.any()
        network.change[1].bias.zero_()
        network.change[1].weight.zero_()
        after, _ = network.transition(state, torch.arange(3))
        torch.testing.assert_close(after, network.dynamics(state))


def test_at_first_efficientzero_foretells_nothing() -> None:
    network = build("EfficientZeroNetwork", SMALL, num_channels=16)
    unroll = network.unroll(observations(SMALL), torch.tensor([[0, 1], [2, 2], [1, 0]]))
    assert not any(output.any() for output in unroll)


@pytest.mark.parametrize("architecture", ["FCNetwork", "TinyNetwork"])
def test_the_unroll_equals_one_step_after_the_other(architecture: str) -> None:
    network = build(architecture, SMALL)
    action_BK = torch.tensor([[0, 1], [2, 2], [1, 0]])
    unroll = network.unroll(observations(SMALL), action_BK)
    state = network.represent(observations(SMALL))
    for k in range(3):
        torch.testing.assert_close(unroll.value[:, k], network.predict(state).value)
        torch.testing.assert_close(unroll.policy[:, k], network.predict(state).policy)
        if k < 2:
            state, features = network.transition(state, action_BK[:, k])
            torch.testing.assert_close(unroll.reward[:, k], network.predict_reward(features))


@pytest.mark.parametrize("architecture", ["FCNetwork", "TinyNetwork", "MuZeroNetwork"])
def test_the_action_matters(architecture: str) -> None:
    network = build(architecture, SMALL).eval()
    with torch.inference_mode():
        state = network.represent(observations(SMALL, 1)).expand(3, *[-1] * (1 if architecture == "FCNetwork" else 3))
        following, features = network.transition(state, torch.arange(3))
        reward = network.predict_reward(features)
    assert not torch.equal(following[0], following[1]) and not torch.equal(following[1], following[2])
    assert not torch.equal(reward[0], reward[1])


def test_bounds_rescale_observations_inside_the_network() -> None:
    plain = build("FCNetwork", RAM)
    bounded = make_network(MuZeroConfig(), dataclasses.replace(RAM, observation_low=(0.0,), observation_high=(255.0,)))
    bounded.load_state_dict(plain.state_dict())
    raw = observations(RAM)
    torch.testing.assert_close(bounded.represent(raw), plain.represent(raw / 255.0))


def test_stacked_colour_frames_become_planes_oldest_first() -> None:
    network = build("TinyNetwork", SMALL)
    raw = observations(SMALL, 2)
    planes = network._planes(raw)
    assert planes.shape == (2, 6, 24, 32)
    for frame in range(2):
        for channel in range(3):
            assert torch.equal(planes[:, 3 * frame + channel], raw[:, frame, channel].float())


def test_without_supports_heads_have_one_output() -> None:
    network = build("FCNetwork", RAM, no_support=True)
    assert network.predict(torch.zeros(1, 50)).value.shape == (1, 1)
