"""Traces: what one episode looked like from inside, step by step."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rlsys.api import ValueSpec
from rlsys.types import Array


@dataclass(frozen=True)
class Trace:
    """One whole game of T decisions.

    Attributes:
      raw_reward: `[T]` as they are scored.
      extras: name -> `[T, ...]`, what the policy remembered of each decision (`Decision.extras`).
      reward: `[T]` as the policy is told of them: those that training stores.
      terminated: `[T]` bool, where an episode ended as learning knows it: with the game, a life or a point.
      truncated: `[T]` bool, where one was cut short.
    """

    raw_reward: Array
    extras: Mapping[str, Array]
    reward: Array
    terminated: Array
    truncated: Array

    @property
    def returns(self) -> Array:
        """`[T]` the return so far."""
        return np.cumsum(self.raw_reward)

    def value(self, spec: ValueSpec) -> Array:
        """Returns `[T]` what a perfect value function would have said, as learning defines values.

        That is the discounted sum of rewards as they count for learning, up to the end of the episode that learning
        sees. What would have come after an episode that was cut short, nobody knows: as in learning, the policy's own
        value stands for it.
        """
        reward = spec.learned(self.reward)
        value = np.zeros(len(reward))
        following = 0.0
        for step in range(len(reward) - 1, -1, -1):
            if self.truncated[step] and spec.extra in self.extras:
                following = value[step] = float(self.extras[spec.extra][step])
                continue
            if self.terminated[step] or self.truncated[step]:
                following = 0.0
            following = value[step] = float(reward[step]) + spec.discount * following
        return value

    def scalars(self) -> Iterator[tuple[str, Array]]:
        """Yields the names and values of the extras with one number per step, in their order."""
        for name, value in self.extras.items():
            if value.ndim == 1 and value.dtype.names is None:
                yield name, value


def mean_of_extras(traces: Sequence[Trace], predicted_reward: str = "") -> dict[str, float]:
    """Returns the mean over all episodes of each scalar extra; of predicted rewards, the mean of their sums.

    Args:
      traces: of the episodes.
      predicted_reward: the extra that holds them (`ValueSpec.reward_extra`); their sum predicts the return.
    """
    means: dict[str, list[float]] = {}
    for trace in traces:
        for name, value in trace.scalars():
            total = value.sum() if name == predicted_reward else value.mean()
            means.setdefault("predicted_return" if name == predicted_reward else name, []).append(float(total))
    return {name: float(np.mean(values)) for name, values in means.items()}
