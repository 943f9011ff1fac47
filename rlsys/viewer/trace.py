"""Traces: what one episode looked like from inside, step by step."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rlsys.types import Array

PREDICTED_REWARD = "predicted_reward"
"""The extra that holds the model's reward for the chosen action; its sum predicts the return."""


@dataclass(frozen=True)
class Trace:
    """One whole episode of T decisions.

    Attributes:
      reward: `[T]` raw rewards.
      extras: name -> `[T, ...]`, what the policy remembered of each decision (`Decision.extras`).
    """

    reward: Array
    extras: Mapping[str, Array]

    @property
    def returns(self) -> Array:
        """`[T]` the return so far."""
        return np.cumsum(self.reward)

    def value(self, discount: float) -> Array:
        """Returns `[T]` what a perfect value function would have said: the discounted return from each step on."""
        value = np.zeros(len(self.reward))
        following = 0.0
        for step in range(len(self.reward) - 1, -1, -1):
            following = float(self.reward[step]) + discount * following
            value[step] = following
        return value

    def scalars(self) -> Iterator[tuple[str, Array]]:
        """Yields the names and values of the extras with one number per step, in their order."""
        for name, value in self.extras.items():
            if value.ndim == 1:
                yield name, value


def mean_of_extras(traces: Sequence[Trace]) -> dict[str, float]:
    """Returns the mean over all episodes of each scalar extra; of predicted rewards, the mean of their sums."""
    means: dict[str, list[float]] = {}
    for trace in traces:
        for name, value in trace.scalars():
            total = value.sum() if name == PREDICTED_REWARD else value.mean()
            means.setdefault("predicted_return" if name == PREDICTED_REWARD else name, []).append(float(total))
    return {name: float(np.mean(values)) for name, values in means.items()}
