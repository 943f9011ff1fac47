"""The world model's network and the policy's; both see an observation and what the model remembers of those before.

Shape legend: B batch, F numbers of an observation, U units of the memory, P parameters of a distribution of actions.
"""

from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dreams.config import DreamerConfig
from rlsys.nets.distributions.make import make_head
from rlsys.types import EnvSpec


class WorldNetwork(nn.Module):
    """A GRU that reads observations and actions."""

    def __init__(self, config: DreamerConfig, env: EnvSpec) -> None:
        super().__init__()
        size = prod(env.observation.shape)
        self.memory = nn.GRUCell(size + prod(env.action.shape), config.units)
        self.change = nn.Linear(config.units, size)
        self.reward = nn.Linear(config.units, 1)

    def forward(self, memory_BU: Tensor, observation: Tensor, action: Tensor) -> Tensor:
        """Returns the memory `[B, U]` after an observation `[B, *frame]` and what was done in it `[B, *action]`."""
        remembered: Tensor = self.memory(torch.cat([_flat(observation), _flat(action)], dim=1), memory_BU)
        return remembered

    def foretell(self, memory_BU: Tensor, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the observation after that one and the reward `[B]`, from the memory that comes after both."""
        after = observation + self.change(memory_BU).reshape(observation.shape).to(observation.dtype)
        return after, self.reward(memory_BU).squeeze(1)


class Output(NamedTuple):
    """Parameters of the distribution of actions `[B, P]`, and values `[B]`."""

    policy: Tensor
    value: Tensor


class ActorCritic(nn.Module):
    """One hidden layer and two heads."""

    def __init__(self, config: DreamerConfig, env: EnvSpec) -> None:
        super().__init__()
        self.hidden = nn.Linear(prod(env.observation.shape) + config.units, config.units)
        self.policy = make_head(config, env, config.units)
        self.value = nn.Linear(config.units, 1)

    def forward(self, observation: Tensor, memory_BU: Tensor) -> Output:
        """Returns what it says about observations `[B, *frame]`."""
        features = torch.tanh(self.hidden(torch.cat([_flat(observation), memory_BU], dim=1)))
        return Output(self.policy(features), self.value(features).squeeze(1))


class Agent(nn.Module):
    """What acting needs: a policy, and the model that remembers for it."""

    def __init__(self, config: DreamerConfig, env: EnvSpec) -> None:
        super().__init__()
        self.world = WorldNetwork(config, env)
        self.actor_critic = ActorCritic(config, env)


def _flat(numbers: Tensor) -> Tensor:
    return numbers.flatten(start_dim=1).float()
