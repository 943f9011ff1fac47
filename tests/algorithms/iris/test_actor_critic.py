"""The actor-critic's size, what it remembers, and what it sees."""

import pytest
import torch
from algorithms.iris.small_learners import CATCH, settings

from rlsys.algorithms.iris.actor_critic import ActorCritic, Agent, Recalled
from rlsys.algorithms.iris.config import ActorCriticConfig


@pytest.mark.parametrize(("num_actions", "size"), [(4, 3_217_957), (18, 3_225_139)])
def test_it_is_as_large_as_upstreams(num_actions: int, size: int) -> None:
    network = ActorCritic(ActorCriticConfig(), (3, 64, 64), num_actions)
    assert sum(parameter.numel() for parameter in network.parameters()) == size


@pytest.mark.parametrize("shape", [(1, 20, 16), (3, 4, 4), (2, 7, 33)])
def test_frames_of_any_size_are_seen(shape: tuple[int, int, int]) -> None:
    network = ActorCritic(ActorCriticConfig(channels=(4, 4, 8, 8), units=6), shape, 3)
    judged = network(torch.randint(256, (5, *shape), dtype=torch.uint8), network.nothing(5))
    assert judged.policy.shape == (5, 3) and judged.value.shape == (5,)
    assert [part.shape for part in judged.memory] == [(5, 6), (5, 6)]


def test_it_sees_bytes_and_numbers_alike_and_remembers() -> None:
    network = ActorCritic(ActorCriticConfig(channels=(4, 4), units=6), (1, 8, 8), 3)
    frames = torch.randint(256, (5, 1, 8, 8), dtype=torch.uint8)
    memory = network.nothing(5)
    one, other = network(frames, memory), network(frames / 255, memory)
    torch.testing.assert_close(one.policy, other.policy)
    again = network(frames, one.memory)
    assert not torch.allclose(again.value, one.value)
    torch.testing.assert_close(torch.stack(network.recall(frames, memory)), torch.stack(one.memory))


@pytest.mark.parametrize("original", [False, True])
def test_an_agent_sees_reconstructions_unless_it_shall_not(original: bool) -> None:
    torch.manual_seed(0)
    agent = Agent(settings(actor_critic={"use_original_frames": original}), CATCH).eval()
    assert (agent.tokenizer is None) == original
    frames = torch.randint(256, (4, 20, 16), dtype=torch.uint8)
    memory: Recalled = agent.actor_critic.nothing(4)
    shown = frames[:, None] if agent.tokenizer is None else agent.tokenizer.reconstruct(frames[:, None])
    torch.testing.assert_close(agent(frames, memory).policy, agent.actor_critic(shown, memory).policy)
