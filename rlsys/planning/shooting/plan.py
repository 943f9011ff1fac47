"""What planners over sequences of actions take and give: the contract of this folder.

    belief = planner.begin(num_environments, device)       # nothing is known yet
    plan = planner.plan(score, belief, generator)          # plan.action is done; plan.belief begins the next plan

A planner holds settings and nothing of any episode. What it remembers from decision to decision is a belief: a value
that belongs to the state of whoever acts, and begins anew with each episode.

No planner asks a device for a number, and shapes depend on settings alone; so a decision can be captured as one graph
(`rlsys.ops.captured`).

Shape legend: B environments, N candidates, K elites, H steps of the horizon, A numbers of an action, I iterations.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]
"""What sequences are worth: candidates `[B, N, H, A]`, all numbers within [-1, 1] or all one-hot -> returns `[B, N]`.
N may differ between calls. A return that is not a number ranks last."""
Belief = Mapping[str, Tensor]
"""What a planner knows before it plans: name -> `[B, ...]`. Zeros are a belief, too: that nothing is known."""
Generator = torch.Generator | Sequence[torch.Generator] | None
"""What is drawn from: one stream for all environments; one for each, which makes a batch plan as its environments would
alone; or None, torch's own."""


class Statistics(NamedTuple):
    """Returns by iteration, each `[B, I]`.

    Attributes:
      mean, std, max: of all candidates.
      elite_mean, elite_std: of the elites.
    """

    mean: Tensor
    std: Tensor
    max: Tensor
    elite_mean: Tensor
    elite_std: Tensor


class Plan(NamedTuple):
    """A decision.

    Attributes:
      action: `[B, A]`, what to do now: numbers within [-1, 1], or one-hot.
      belief: what the next plan of the same episode begins from.
      value: `[B]`, the return that is expected of what is done; not a number where the score gave none.
      first_returns: `[B, N]`, returns of the first iteration's candidates.
      last_returns: `[B, N]`, of the last iteration's, which may be fewer.
      statistics: of all iterations.
    """

    action: Tensor
    belief: Belief
    value: Tensor
    first_returns: Tensor
    last_returns: Tensor
    statistics: Statistics


class Planner(Protocol):
    """Looks for the sequence of actions with the highest score."""

    def begin(self, num_environments: int, device: torch.device | str) -> Belief:
        """Returns the belief at the beginning of an episode: zeros."""

    def plan(self, score: Score, belief: Belief, generator: Generator = None) -> Plan:
        """Returns what to do now in each of B environments.

        Args:
          score: what sequences are worth from where the environments are.
          belief: of the plan before, or `begin`'s where an episode begins; both may stand in one batch.
          generator: what candidates are drawn from.
        """


def normal(shape: Sequence[int], generator: Generator, device: torch.device) -> Tensor:
    """Returns standard normal numbers, the first axis one environment each."""
    if not isinstance(generator, Sequence):
        return torch.randn(tuple(shape), generator=generator, device=device)
    return torch.stack([torch.randn(tuple(shape[1:]), generator=stream, device=device) for stream in generator])


def exponential(shape: Sequence[int], generator: Generator, device: torch.device) -> Tensor:
    """Returns numbers of the exponential distribution with mean 1, the first axis one environment each."""
    noise = torch.empty(tuple(shape), device=device)
    if not isinstance(generator, Sequence):
        return noise.exponential_(generator=generator)
    for row, stream in zip(noise, generator, strict=True):
        row.exponential_(generator=stream)
    return noise
