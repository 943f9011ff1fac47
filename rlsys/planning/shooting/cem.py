"""The cross-entropy method: draw sequences, keep the best, draw again around them.

Hafner et al. 2019, "Learning latent dynamics for planning from pixels", appendix B, https://arxiv.org/abs/1811.04551.
Shape legend: B environments, N candidates, K elites, H steps, A numbers of an action, I iterations.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rlsys.planning.shooting.plan import Belief, Generator, Plan, Score, Statistics
from rlsys.planning.shooting.sequences import Distribution, Sequences


class Elites(NamedTuple):
    """The best candidates of an iteration.

    Attributes:
      sequences: `[B, K, H, A]`, the best first.
      returns: `[B, K]`.
      weight: `[B, K]`, how much each counts for the next distribution; sums to 1.
    """

    sequences: Tensor
    returns: Tensor
    weight: Tensor


@dataclass(frozen=True)
class CEM:
    """The method as PlaNet has it: elites count alike, and nothing of an iteration is tried again in the next.

    Attributes:
      family: what sequences are drawn from.
      size: H and A.
      candidates: N of each of the I iterations.
      num_elites: K.
      warm_start: whether a plan begins from the one before, one step later.
      select: do what the best sequence of the last iteration begins with, or the middle of what it leads to.
    """

    family: Sequences
    size: tuple[int, int]
    candidates: tuple[int, ...]
    num_elites: int
    warm_start: bool = False
    select: Literal["best", "belief"] = "belief"

    def begin(self, num_environments: int, device: torch.device | str) -> Belief:
        """See `Planner`."""
        return {self.family.name: torch.zeros((num_environments, *self.size), device=device)}

    @torch.no_grad()
    def plan(self, score: Score, belief: Belief, generator: Generator = None) -> Plan:
        """See `Planner`."""
        distribution = self.family.begin(belief[self.family.name])
        elites: Elites | None = None
        returns: list[Tensor] = []
        ranked: list[Tensor] = []
        for iteration, count in enumerate(self.candidates):
            drawn = self.family.draw(distribution, count, generator)
            tried = self._tried(iteration, drawn, distribution, belief, elites)
            returns.append(score(tried))
            elites = self._elites(tried, returns[-1])
            ranked.append(elites.returns)
            distribution = self.family.refit(distribution, elites.sequences, elites.weight)
        assert elites is not None, "there is at least one iteration"
        is_best = self.select == "best"
        return Plan(
            action=elites.sequences[:, 0, 0] if is_best else self.family.likeliest(distribution)[:, 0],
            belief=self._remembered(distribution, elites, generator),
            value=elites.returns[:, 0] if is_best else (elites.weight * elites.returns).sum(dim=1),
            first_returns=returns[0],
            last_returns=returns[-1],
            statistics=_statistics(returns, ranked),
        )

    def _tried(
        self,
        iteration: int,
        drawn: Tensor,
        distribution: Distribution,
        belief: Belief,
        elites: Elites | None,
    ) -> Tensor:
        """Returns the candidates of an iteration, `[B, N, H, A]`, as many as were drawn."""
        return drawn

    def _weight(self, returns_BK: Tensor) -> Tensor:
        """Returns how much each of the elites counts, `[B, K]`."""
        return torch.full_like(returns_BK, 1.0 / returns_BK.shape[1])

    def _remembered(self, distribution: Distribution, elites: Elites, generator: Generator) -> Belief:
        """Returns what the next plan begins from."""
        location = distribution.location
        return {self.family.name: later(location) if self.warm_start else torch.zeros_like(location)}

    def _elites(self, tried: Tensor, returns_BN: Tensor) -> Elites:
        # a return that is not a number is the highest there is for topk
        comparable_BN = torch.where(returns_BN.isnan(), -torch.inf, returns_BN)
        index_BK = comparable_BN.topk(self.num_elites, dim=1).indices
        returns_BK = returns_BN.gather(1, index_BK)
        best = tried.gather(1, index_BK[:, :, None, None].expand(-1, -1, *self.size))
        return Elites(best, returns_BK, self._weight(returns_BK))


def later(sequence: Tensor) -> Tensor:
    """Returns `[..., H, A]` as it is one step later, with zeros at the end."""
    return torch.cat([sequence[..., 1:, :], torch.zeros_like(sequence[..., :1, :])], dim=-2)


def _statistics(returns: list[Tensor], elites: list[Tensor]) -> Statistics:
    def by_iteration(numbers: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Returns mean, deviation and maximum."""
        of_each = [(number.mean(dim=1), number.std(dim=1, correction=0), number.amax(dim=1)) for number in numbers]
        mean, std, highest = (torch.stack(columns, dim=1) for columns in zip(*of_each, strict=True))
        return mean, std, highest

    elite_mean, elite_std, _ = by_iteration(elites)
    return Statistics(*by_iteration(returns), elite_mean, elite_std)
