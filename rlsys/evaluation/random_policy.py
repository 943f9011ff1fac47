"""Uniform actions: what every score is compared with."""

from collections.abc import Mapping

import numpy as np

from rlsys.api import Decision, Policy, PolicyContext
from rlsys.errors import ConfigError
from rlsys.types import Array, State, Weights


class RandomPolicy(Policy):
    """Draws every action with the same probability, whatever it sees."""

    def __init__(self, context: PolicyContext) -> None:
        """Seeds the draws.

        Raises:
          ConfigError: the environment's actions cannot be counted.
        """
        if not context.env.num_actions:
            raise ConfigError(
                f"agent = random with '{context.env.id}', whose actions are continuous; only discrete ones can be "
                "drawn uniformly. Use agent policy."
            )
        self._num_actions = context.env.num_actions
        self._rng = np.random.default_rng(context.seed)

    def initial_state(self, batch_size: int) -> State:
        """Returns `{}`."""
        return {}

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Draws an action for each row."""
        return Decision(self._rng.integers(self._num_actions, size=len(observation)), {})

    def set_weights(self, weights: Weights) -> None:
        """Does nothing: there are none."""

    def weights(self) -> Mapping[str, Array]:
        """Returns `{}`."""
        return {}
