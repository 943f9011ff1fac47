"""iCEM: CEM that needs fewer candidates, by noise that changes slowly and by trying good sequences again.

Pinneri et al. 2020, "Sample-efficient cross-entropy method for real-time planning", https://arxiv.org/abs/2008.06389,
section 3. What is tried again counts among the candidates here, rather than beside them. Of discrete actions all but
the coloured noise applies.

Shape legend: B environments, N candidates, K elites, M of them that are tried again, H steps, A numbers of an action.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsys.planning.shooting.cem import CEM, Elites
from rlsys.planning.shooting.plan import Belief, Generator
from rlsys.planning.shooting.sequences import Distribution

_KEPT, _KNOWN = "elites", "known"


@dataclass(frozen=True)
class ICEM(CEM):
    """CEM that tries again the best of the last iteration, of the last decision, and in the end the middle.

    The noise is its family's; fewer candidates in later iterations are in `candidates` (`decaying`).

    Attributes:
      num_kept: M.
    """

    num_kept: int = 1

    def begin(self, num_environments: int, device: torch.device | str) -> Belief:
        """See `Planner`; `known` tells whether the elites are ones."""
        kept = torch.zeros((num_environments, self.num_kept, *self.size), device=device)
        known = torch.zeros(num_environments, dtype=torch.bool, device=device)
        return {**super().begin(num_environments, device), _KEPT: kept, _KNOWN: known}

    def _tried(
        self, iteration: int, drawn: Tensor, distribution: Distribution, belief: Belief, elites: Elites | None
    ) -> Tensor:
        """Returns the candidates: the middle in the last iteration, then what is tried again, then new ones."""
        if elites is not None:
            again = elites.sequences[:, : self.num_kept]
        elif self.warm_start:
            known_B = belief[_KNOWN][:, None, None, None]
            again = torch.where(known_B, belief[_KEPT], drawn[:, : self.num_kept])
        else:
            again = drawn[:, :0]
        is_last = iteration == len(self.candidates) - 1
        middle = self.family.likeliest(distribution)[:, None] if is_last else drawn[:, :0]
        new = drawn[:, again.shape[1] + middle.shape[1] :]
        return torch.cat([middle, again, new], dim=1)[:, : drawn.shape[1]]

    def _remembered(self, distribution: Distribution, elites: Elites, generator: Generator) -> Belief:
        """Returns the shifted belief and the best elites, shifted; their last actions are drawn anew."""
        if not self.warm_start:
            return self.begin(len(distribution.location), distribution.location.device)
        nothing = self.family.begin(torch.zeros_like(distribution.location))
        last = self.family.draw(nothing, self.num_kept, generator)[:, :, -1:]
        kept = torch.cat([elites.sequences[:, : self.num_kept, 1:], last], dim=2)
        known = torch.ones(len(kept), dtype=torch.bool, device=kept.device)
        return {**super()._remembered(distribution, elites, generator), _KEPT: kept, _KNOWN: known}


def decaying(candidates: int, iterations: int, decay: float, num_elites: int) -> tuple[int, ...]:
    """Returns how many candidates each iteration tries: `decay` times fewer than the last, at least twice the elites.

    Where `candidates` are fewer than that, they stay as many.
    """
    fewest = min(candidates, 2 * num_elites)
    return tuple(max(fewest, math.floor(candidates / decay**iteration)) for iteration in range(iterations))
