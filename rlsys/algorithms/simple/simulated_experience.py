"""Simulated experience: what the policy does in the simulated environment, to learn from it."""

from collections.abc import Callable

import torch
from torch import Tensor

from rlsys.algorithms.ppo.updates import Experience, PolicyUpdates
from rlsys.algorithms.simple.simulated_environment import SimulatedEnvironment


@torch.no_grad()
def simulate(
    environment: SimulatedEnvironment,
    policy: PolicyUpdates,
    starts: Tensor,
    length: int,
    epoch: int,
    observe: Callable[[Tensor], Tensor],
) -> Experience:
    """Rolls the policy out, at temperature 1, from real frames.

    Args:
      environment: begins anew.
      policy: acts, and will learn from it.
      starts: `[B, 4, C, H, W]` uint8.
      length: steps T.
      epoch: that the policy is told.
      observe: what the policy sees of the last four frames.
    """
    environment.begin(starts)
    epochs = torch.full((len(starts),), epoch, dtype=torch.int64, device=starts.device)
    observations, actions, log_probabilities, rewards, values = [], [], [], [], []
    for _ in range(length):
        observation = observe(environment.stack)
        with policy.actor_critic.precision:
            output = policy.actor_critic.network(observation, epochs)
        log_policy = torch.log_softmax(output.logits, dim=1)
        action = torch.multinomial(log_policy.exp(), 1)
        _, reward = environment.step(action[:, 0])
        observations.append(observation)
        actions.append(action[:, 0])
        log_probabilities.append(log_policy.gather(1, action)[:, 0])
        rewards.append(reward)
        values.append(output.value)
    with policy.actor_critic.precision:
        values.append(policy.actor_critic.network(observe(environment.stack), epochs).value)
    never = torch.zeros(length, len(starts), dtype=torch.bool, device=starts.device)
    return Experience(
        observation=torch.stack(observations).clone(),
        action=torch.stack(actions),
        log_probability=torch.stack(log_probabilities),
        reward=torch.stack(rewards).clone(),
        terminated=never,
        mask=~never,
        value=torch.stack(values),
    )
