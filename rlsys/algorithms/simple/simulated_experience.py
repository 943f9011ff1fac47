"""Simulated experience: what the policy does in the world model, to learn from it."""

from collections.abc import Callable

import torch
from torch import Tensor

from rlsys.algorithms.ppo.updates import Experience, PolicyUpdates
from rlsys.api import World, WorldState


@torch.no_grad()
def simulate(
    world: World,
    policy: PolicyUpdates,
    history: tuple[Tensor, Tensor],
    length: int,
    epoch: int,
    see: Callable[[WorldState], Tensor],
) -> Experience:
    """Rolls the policy out, at temperature 1, from real frames.

    Args:
      world: where.
      policy: acts, and will learn from it.
      history: that rollouts begin from: frames `[B, 4, *frame]` and the actions `[B, 3]` between them.
      length: steps T.
      epoch: that the policy is told.
      see: what the policy sees of a state.
    """
    state = world.begin(*history)
    size = len(history[0])
    epochs = torch.full((size,), epoch, dtype=torch.int64, device=world.device)
    observations, actions, log_probabilities, rewards, values = [], [], [], [], []
    for _ in range(length):
        observation = see(state)
        with policy.actor_critic.precision:
            output = policy.actor_critic.network(observation, epochs)
        log_policy = torch.log_softmax(output.policy, dim=1)
        action = torch.multinomial(log_policy.exp(), 1)
        state, step = world.step(state, action[:, 0])
        observations.append(observation)
        actions.append(action[:, 0])
        log_probabilities.append(log_policy.gather(1, action)[:, 0])
        rewards.append(step.reward)
        values.append(output.value)
    with policy.actor_critic.precision:
        values.append(policy.actor_critic.network(see(state), epochs).value)
    never = torch.zeros(length, size, dtype=torch.bool, device=world.device)
    return Experience(
        observation=torch.stack(observations).clone(),
        action=torch.stack(actions),
        log_probability=torch.stack(log_probabilities),
        reward=torch.stack(rewards).clone(),
        terminated=never,
        mask=~never,
        value=torch.stack(values),
    )
