"""One choice among some (Discrete), and several of them at once, independent of each other (MultiDiscrete).

Shape legend: B environments, A actions of a choice, n choices, P logits of all choices together.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rlsys.nets.distributions.distribution import ActionDistribution
from rlsys.types import Array


def log_probability(logits: Tensor, action: Tensor) -> Tensor:
    """Returns `[...]`: log π(action).

    Args:
      logits: `[..., A]`.
      action: `[...]` int64.
    """
    return functional.log_softmax(logits, dim=-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def entropy(logits: Tensor) -> Tensor:
    """Returns `[...]`: `-Σ_a π log π` of `[..., A]`."""
    log_policy = functional.log_softmax(logits, dim=-1)
    return -(log_policy.exp() * log_policy).sum(dim=-1)


def choose(logits_BA: Array, rng: np.random.Generator, temperature: float) -> Array:
    """Draws `[B]` int64 from softmax(logits / temperature) by Gumbel's trick; the best action at temperature 0."""
    scores_BA = logits_BA
    if temperature > 0.0:
        scores_BA = logits_BA / temperature + rng.gumbel(size=logits_BA.shape)
    return np.asarray(scores_BA.argmax(axis=1))


class Categorical(ActionDistribution):
    """One choice; its parameters are logits."""

    def log_probability(self, parameters: Tensor, drawn: Tensor) -> Tensor:
        """See `ActionDistribution`."""
        return log_probability(parameters, drawn)

    def acting_log_probability(self, parameters_BP: Array, drawn: Array) -> Array:
        """See `ActionDistribution`; small batches cost numpy less than torch."""
        shifted_BA = parameters_BP - parameters_BP.max(axis=1, keepdims=True)
        chosen_B = shifted_BA[np.arange(len(drawn)), drawn]
        log_probability_B: Array = chosen_B - np.log(np.exp(shifted_BA).sum(axis=1))
        return log_probability_B.astype(np.float32, copy=False)

    def entropy(self, parameters: Tensor) -> Tensor:
        """See `ActionDistribution`."""
        return entropy(parameters)

    def draw(self, parameters_BP: Array, rng: np.random.Generator, temperature: float) -> Array:
        """See `ActionDistribution`."""
        return choose(parameters_BP, rng, temperature)


class MultiCategorical(ActionDistribution):
    """n choices; its parameters are the logits of the first, of the second, and so on.

    A probability is the product of theirs, as in Huang et al. 2022, "The 37 implementation details of proximal policy
    optimization", https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/ (multi-discrete actions).
    """

    def __init__(self, choices: Sequence[int], shape: Sequence[int]) -> None:
        """Takes how many actions each choice has, flattened, and the shape of an action."""
        self._choices, self._shape = list(choices), tuple(shape)

    def log_probability(self, parameters: Tensor, drawn: Tensor) -> Tensor:
        """See `ActionDistribution`."""
        actions = drawn.reshape(*parameters.shape[:-1], len(self._choices)).unbind(dim=-1)
        each = [log_probability(*pair) for pair in zip(self._split(parameters), actions, strict=True)]
        return torch.stack(each).sum(dim=0)

    def entropy(self, parameters: Tensor) -> Tensor:
        """See `ActionDistribution`."""
        return torch.stack([entropy(logits) for logits in self._split(parameters)]).sum(dim=0)

    def draw(self, parameters_BP: Array, rng: np.random.Generator, temperature: float) -> Array:
        """See `ActionDistribution`."""
        logits = np.split(parameters_BP, np.cumsum(self._choices)[:-1], axis=1)
        drawn: Array = np.stack([choose(logits_BA, rng, temperature) for logits_BA in logits], axis=1)
        return np.reshape(drawn, (len(drawn), *self._shape))

    def _split(self, parameters: Tensor) -> Sequence[Tensor]:
        return torch.split(parameters, self._choices, dim=-1)
