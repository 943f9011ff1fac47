"""PPO's networks, against upstream's sizes."""

from dataclasses import replace

import torch
from support.ppo_batches import CARTPOLE

from rlsys.algorithms.ppo import PPOConfig
from rlsys.algorithms.ppo.networks import ActorCritic
from rlsys.types import ArraySpec


def test_the_small_network_is_upstreams() -> None:
    frames = ArraySpec((3, 105, 80), "uint8")
    pong = replace(CARTPOLE.with_observation(frames, num_stack=4), id="Pong", num_actions=6)
    network = ActorCritic(PPOConfig(), pong)
    shapes = [tuple(parameter.shape) for parameter in network.parameters() if parameter.dim() > 1]
    assert shapes == [(32, 12, 5, 5), (32, 32, 5, 5), (128, 17280), (6, 128), (1, 128)]
    output = network(torch.zeros(2, 4, 3, 105, 80, dtype=torch.uint8))
    assert output.policy.shape == (2, 6)
    assert output.value.shape == (2,)


def test_the_nature_network_is_dqns() -> None:
    atari = CARTPOLE.with_observation(ArraySpec((84, 84), "uint8"), num_stack=4)
    network = ActorCritic(PPOConfig(policy_network="cnn_nature", hidden_size=512), atari)
    shapes = [tuple(parameter.shape) for parameter in network.parameters() if parameter.dim() > 1]
    assert shapes == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3), (512, 3136), (2, 512), (1, 512)]


def test_an_epoch_is_seen_beside_the_observation_and_acting_is_epoch_0() -> None:
    network = ActorCritic(PPOConfig(hidden_size=16, use_epochs=True), CARTPOLE)
    observation = torch.zeros(2, 4)
    acting, zero, third = (
        network(observation, None if epoch is None else torch.full((2,), epoch)).value for epoch in (None, 0, 3)
    )
    assert torch.equal(acting, zero)
    assert not torch.equal(acting, third)
    assert torch.equal(
        network(observation, torch.full((2,), 99)).value, network(observation, torch.full((2,), 31)).value
    )


def test_kernels_are_orthogonal_with_a_gain_of_one_and_a_half() -> None:
    weight = ActorCritic(PPOConfig(hidden_size=64), CARTPOLE).hidden.weight
    torch.testing.assert_close(weight @ weight.t(), 2.25 * torch.eye(64), atol=1e-5, rtol=0)
