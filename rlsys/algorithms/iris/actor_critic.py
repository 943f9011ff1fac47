"""The actor-critic: what it sees of a frame, what it remembers, and what it says; and who acts with it.

Micheli et al. 2023, section 2.3 and appendix A, https://arxiv.org/abs/2209.00588.

Shape legend: B copies, T frames one after the other, C channels, H and W of a frame, U units, A actions, n numbers that
are said of a value.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlsys.algorithms.iris.config import ActorCriticConfig, IrisConfig
from rlsys.algorithms.iris.requirements import frame_shape
from rlsys.algorithms.iris.scalars import make_scalar
from rlsys.algorithms.iris.tokenizer.tokenizer import Tokenizer, prepare
from rlsys.nets.stems import PooledConvolutions
from rlsys.types import EnvSpec


class Recalled(NamedTuple):
    """What the LSTM remembers: `[B, U]` each, float32."""

    hidden: Tensor
    cell: Tensor


class Judged(NamedTuple):
    """What is said of frames `[B]`, or `[B, T]`.

    Attributes:
      policy: `[..., A]` logits, float32.
      value: `[...]` float32.
      value_said: `[..., n]` float32, what the head says of it (scalars.py).
      memory: after having seen them.
    """

    policy: Tensor
    value: Tensor
    value_said: Tensor
    memory: Recalled


class ActorCritic(nn.Module):
    """Convolutions, an LSTM and two heads. What it remembers goes in and comes out."""

    def __init__(self, config: ActorCriticConfig, shape: tuple[int, int, int], num_actions: int) -> None:
        """Takes frames of any `shape`: channels, height, width."""
        super().__init__()
        self._units = config.units
        self.see = PooledConvolutions(config.channels, shape)
        self.remember = nn.LSTMCell(self.see.num_features, config.units)
        self.policy = nn.Linear(config.units, num_actions)
        self._values = make_scalar(config.values)
        self.value = nn.Linear(config.units, self._values.size)

    def nothing(self, batch: int) -> Recalled:
        """Returns the memory of who has seen nothing."""
        zeros = self.policy.weight.new_zeros(batch, self._units)
        return Recalled(zeros, zeros)

    def recall(self, frames: Tensor, memory: Recalled) -> Recalled:
        """Returns the memory after frames `[B, C, H, W]`, bytes or numbers within [0, 1]."""
        return self._remembered(self.see(prepare(frames)), memory)

    def forward(self, frames: Tensor, memory: Recalled) -> Judged:
        """Returns what is to be done and expected where frames `[B, C, H, W]` are seen next."""
        memory = self.recall(frames, memory)
        return self._said(memory.hidden, memory)

    def judge_all(self, frames: Tensor, memory: Recalled) -> Judged:
        """Returns the same of frames `[B, T, C, H, W]` that are seen one after the other."""
        hidden = []
        for features in self.see(prepare(frames.flatten(0, 1))).unflatten(0, frames.shape[:2]).unbind(1):
            memory = self._remembered(features, memory)
            hidden.append(memory.hidden)
        return self._said(torch.stack(hidden, dim=1), memory)

    def _remembered(self, features: Tensor, memory: Recalled) -> Recalled:
        return Recalled(*(part.float() for part in self.remember(features, tuple(memory))))

    def _said(self, hidden: Tensor, memory: Recalled) -> Judged:
        said = self.value(hidden).float()
        return Judged(self.policy(hidden).float(), self._values.mean(said), said, memory)


class Agent(nn.Module):
    """Who acts: an actor-critic and, unless that sees frames as they are, the tokenizer that shows them to it."""

    tokenizer: Tokenizer | None

    def __init__(self, config: IrisConfig, env: EnvSpec) -> None:
        super().__init__()
        self.shape = frame_shape(env)
        self.tokenizer = None if config.actor_critic.use_original_frames else Tokenizer(config.tokenizer, self.shape)
        self.actor_critic = ActorCritic(config.actor_critic, self.shape, env.num_actions)

    @torch.no_grad()
    def forward(self, observation: Tensor, memory: Recalled) -> Judged:
        """Returns what is said of observations `[B, *frame]`, bytes."""
        frames = observation.reshape(-1, *self.shape)
        judged: Judged = self.actor_critic(seen(self.tokenizer, frames), memory)
        return judged


def seen(tokenizer: Tokenizer | None, frames: Tensor) -> Tensor:
    """Returns real frames `[..., C, H, W]` as the actor-critic sees them: reconstructed, where there is a tokenizer."""
    return frames if tokenizer is None else tokenizer.reconstruct(frames)
