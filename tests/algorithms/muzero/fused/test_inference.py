"""Packed inference, against the networks written as plain layers."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from rlsys.algorithms.muzero.fused.inference import FusedFC
from rlsys.algorithms.muzero.fused.perceptrons import FullyConnected
from rlsys.errors import WorkerError

NUM_OBSERVATION, NUM_FEATURES, NUM_HIDDEN = 20, 50, 96


def perceptron(num_inputs, num_outputs):
    return nn.Linear(num_inputs, NUM_HIDDEN), nn.Linear(NUM_HIDDEN, num_outputs)


def make_networks(seed, num_actions=4, value_support=(-15, 15), reward_support=(-3, 8), inverse_transform=True):
    torch.manual_seed(seed)
    num_values = 1 if value_support is None else value_support[1] - value_support[0] + 1
    num_rewards = 1 if reward_support is None else reward_support[1] - reward_support[0] + 1
    networks = FullyConnected(
        representation=perceptron(NUM_OBSERVATION, NUM_FEATURES),
        dynamics=perceptron(NUM_FEATURES + num_actions, NUM_FEATURES),
        reward=perceptron(NUM_FEATURES + num_actions, num_rewards),
        value=perceptron(NUM_FEATURES, num_values),
        policy=perceptron(NUM_FEATURES, num_actions),
        num_actions=num_actions,
        value_support=value_support,
        reward_support=reward_support,
        inverse_transform=inverse_transform,
    )
    with torch.no_grad():
        for layers in (networks.value, networks.reward, networks.policy):
            layers[1].weight.mul_(10.0)  # heads that have an opinion
    return networks


def apply(layers, x):
    return layers[1](functional.relu(layers[0](x)))


def scale(x):
    x = functional.relu(x)
    low, high = x.min(dim=1, keepdim=True).values, x.max(dim=1, keepdim=True).values
    return (x - low) / (high - low).clamp_min(1e-5)


def scalar(networks, output, support):
    x = output[:, 0] if support is None else output.softmax(dim=1) @ torch.arange(support[0], support[1] + 1).to(output)
    if not networks.inverse_transform:
        return x
    x, epsilon = x.double(), 0.001
    root = torch.sqrt(1 + 4 * epsilon * (x.abs() + 1 + epsilon))
    return x.sign() * (((root - 1) / (2 * epsilon)) ** 2 - 1)


@torch.no_grad()
def plain_initial(networks, observation):
    state = scale(apply(networks.representation, observation))
    return scalar(networks, apply(networks.value, state), networks.value_support), apply(networks.policy, state), state


@torch.no_grad()
def plain_recurrent(networks, state, action):
    joined = torch.cat([state, functional.one_hot(action, networks.num_actions)], dim=1)
    reward = scalar(networks, apply(networks.reward, joined), networks.reward_support)
    state = scale(apply(networks.dynamics, joined))
    value = scalar(networks, apply(networks.value, state), networks.value_support)
    return value, reward, apply(networks.policy, state), state


def inputs(seed, batch_size, num_actions):
    generator = torch.Generator().manual_seed(seed)
    observation = torch.randn(batch_size, NUM_OBSERVATION, generator=generator)
    return observation, torch.randint(num_actions, (batch_size,), generator=generator)


def assert_close(actual, expected, tolerance):
    for tensor, plain in zip(actual, expected, strict=True):
        assert tensor.dtype == torch.float32
        np.testing.assert_allclose(tensor.numpy(), plain.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_actions": 1},
        {"num_actions": 18, "value_support": (0, 600)},
        {"inverse_transform": False},
        {"value_support": None},
        {"value_support": None, "reward_support": None, "inverse_transform": False},
    ],
)
def test_float32_equals_the_plain_layers(options):
    networks = make_networks(0, **options)
    fused = FusedFC(networks)
    for seed, batch_size in enumerate([1, 64, 5, 64]):
        observation, action = inputs(seed, batch_size, networks.num_actions)
        value, prior_logits, state = fused.initial(observation)
        expected = plain_initial(networks, observation)
        assert_close((value, prior_logits, state), expected, 1e-5)
        for _ in range(3):
            expected = plain_recurrent(networks, state, action)
            output = fused.recurrent(state, action)
            assert_close(output, expected, 1e-5)
            state = output[3]


@pytest.mark.parametrize("num_actions", [1, 4, 18])
def test_bfloat16_agrees_to_its_precision(num_actions):
    networks = make_networks(1, num_actions, inverse_transform=False)
    fused = FusedFC(networks, precision="bfloat16")
    for seed, batch_size in enumerate([1, 64, 7]):
        observation, action = inputs(seed, batch_size, num_actions)
        _, _, state = fused.initial(observation)
        value, reward, prior_logits, next_state = fused.recurrent(state, action)
        expected = plain_recurrent(networks, state, action)
        for tensor, plain in zip((value, reward, prior_logits), expected[:3], strict=True):
            np.testing.assert_allclose(tensor, plain, rtol=0.05, atol=0.05 * plain.abs().max().item())
        np.testing.assert_allclose(next_state, expected[3], atol=0.03)


def test_every_action_has_its_own_successor():
    networks = make_networks(2)
    observation, _ = inputs(2, 1, 4)
    fused = FusedFC(networks)
    _, _, state = fused.initial(observation)
    together = fused.recurrent(state.repeat(4, 1), torch.arange(4))
    assert_close(together, plain_recurrent(networks, state.repeat(4, 1), torch.arange(4)), 1e-5)
    assert len(set(together[1].tolist())) == 4


def test_a_constant_state_becomes_zero():
    networks = make_networks(3)
    with torch.no_grad():
        for layers in (networks.representation, networks.dynamics):
            layers[1].weight.zero_()
            layers[1].bias.fill_(2.0)
    fused = FusedFC(networks)
    observation, action = inputs(3, 6, 4)
    _, _, state = fused.initial(observation)
    assert (state == 0).all()
    assert (fused.recurrent(torch.rand(6, NUM_FEATURES), action)[3] == 0).all()


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_logits_of_any_size_decode_to_the_atoms_they_mean(size):
    networks = make_networks(4, inverse_transform=False)
    with torch.no_grad():
        networks.value[1].weight.zero_()
        networks.value[1].bias.copy_(size * torch.arange(31.0))
    value, _, _ = FusedFC(networks).initial(inputs(4, 3, 4)[0])
    np.testing.assert_array_equal(value, np.full(3, 15.0 if size > 0 else -15.0))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_later_changes_of_the_layers_change_nothing(precision):
    networks = make_networks(5)
    fused = FusedFC(networks, precision=precision)
    observation, action = inputs(5, 4, 4)
    before = [tensor.clone() for tensor in fused.initial(observation)]
    step = [tensor.clone() for tensor in fused.recurrent(before[2], action)]
    with torch.no_grad():
        for layers in (networks.representation, networks.dynamics, networks.reward, networks.value, networks.policy):
            for layer in layers:
                layer.weight.add_(1.0)
                layer.bias.add_(1.0)
    for tensor, expected in zip(fused.initial(observation), before, strict=True):
        assert torch.equal(tensor, expected)
    for tensor, expected in zip(fused.recurrent(before[2], action), step, strict=True):
        assert torch.equal(tensor, expected)


def test_what_initial_returns_is_not_overwritten():
    fused = FusedFC(make_networks(6))
    observation, action = inputs(6, 4, 4)
    first = fused.initial(observation)
    copies = [tensor.clone() for tensor in first]
    fused.initial(observation + 1)
    fused.recurrent(first[2], action)
    for tensor, copy in zip(first, copies, strict=True):
        assert torch.equal(tensor, copy)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_buffers_made_in_inference_mode_work_outside_it(precision):
    fused = FusedFC(make_networks(7), precision=precision)
    observation, action = inputs(7, 4, 4)
    with torch.inference_mode():
        _, _, state = fused.initial(observation)
        inside = [tensor.clone() for tensor in fused.recurrent(state, action)]
    for tensor, expected in zip(fused.recurrent(state.clone(), action), inside, strict=True):
        assert torch.equal(tensor, expected)


@pytest.mark.parametrize("name", ["representation", "policy"])
def test_weights_that_are_not_finite_are_refused_by_name(name):
    networks = make_networks(8)
    with torch.no_grad():
        getattr(networks, name)[1].bias[0] = torch.nan
    with pytest.raises(WorkerError, match=f"the {name} network has weights that are not finite"):
        FullyConnected(**vars(networks))
