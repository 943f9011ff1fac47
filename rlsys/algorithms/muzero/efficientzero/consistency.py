"""Self-supervised consistency: what is imagined of a state is drawn to what its observation is represented by.

    loss = −cos(predict(project(s_k)), project(represent(o_k)))      the second without gradient

where s_k comes of k imagined steps and o_k was really seen then. Ye et al. 2021, section 4.1,
https://arxiv.org/abs/2111.00210, after Chen and He 2021, https://arxiv.org/abs/2011.10566.

Shape legend: N states, F numbers of one.
"""

from torch import Tensor, nn
from torch.nn import functional

_LARGEST, _WIDER = 1024, 4
"""Numbers of a projection at most, and how many times as many as a small state has."""


class Consistency(nn.Module):
    """Projects states, and foretells the projection of what is seen from that of what is imagined."""

    def __init__(self, state_size: int) -> None:
        """Takes F; states are flattened."""
        super().__init__()
        size = min(_WIDER * state_size, _LARGEST)
        self.projector = nn.Sequential(
            *_normed(state_size, size), nn.ReLU(), *_normed(size, size), nn.ReLU(), *_normed(size, size)
        )
        self.predictor = nn.Sequential(*_normed(size, size // 2), nn.ReLU(), nn.Linear(size // 2, size))

    def loss(self, imagined: Tensor, seen: Tensor) -> Tensor:
        """Returns `[N]`, within [-1, 1], of states `[N, ...]`; nothing flows back into those that were seen."""
        foretold = self.predictor(self.projector(imagined.flatten(start_dim=1)))
        projected = self.projector(seen.flatten(start_dim=1)).detach()
        return -functional.cosine_similarity(foretold, projected, dim=1)


def _normed(num_in: int, num_out: int) -> list[nn.Module]:
    return [nn.Linear(num_in, num_out), nn.BatchNorm1d(num_out)]
