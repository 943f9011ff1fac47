"""Who acts: a policy and what it remembers of the episodes that it plays.

Training, evaluation and play tell a policy the same things in the same order, since all of them do it here:

    decision = actor.decide(observation, explore=True)
    …                                                       # the environments step
    actor.observe(action, reward, first)

Shape legend: B environments.
"""

from collections.abc import Sequence

import numpy as np

from rlsys.api import Decision, Policy
from rlsys.types import Array, State


class Actor:
    """A policy that plays B environments.

    Attributes:
      state: what the policy remembers of their episodes, from which it decides next.
    """

    def __init__(self, policy: Policy, num_environments: int) -> None:
        self._policy = policy
        self.state: State = policy.initial_state(num_environments)
        self._decided: State = self.state

    def decide(self, observation: Array, *, explore: bool) -> Decision:
        """Returns the policy's decision for `[B, *policy_observation]`."""
        decision = self._policy.act(observation, self.state, explore=explore)
        self._decided = decision.state
        return decision

    def observe(self, action: Array, reward: Array, first: Array) -> State:
        """Tells what came of the last decision.

        Args:
          action: `[B, *action]`, what was executed.
          reward: `[B]` float32, as it is learned from.
          first: `[B]` bool, where an episode has ended, as learning knows episodes: memory begins anew there.

        Returns:
          The state before anything began anew, for whoever asks about the last observations of ended episodes.
        """
        after = self._policy.after_step(self._decided, action, np.asarray(reward, np.float32))
        rows = np.flatnonzero(first)
        self.state = after
        if after and len(rows):
            fresh = self._policy.initial_state(len(rows))
            self.state = {name: np.array(value) for name, value in after.items()}
            for name, value in fresh.items():
                self.state[name][rows] = value
        return after

    def keep(self, rows: Sequence[int], num_fresh: int) -> None:
        """Goes on with some of its environments, followed by new ones."""
        fresh = self._policy.initial_state(num_fresh) if num_fresh else {}
        self.state = {
            name: np.concatenate([value[list(rows)], *([fresh[name]] if fresh else [])])
            for name, value in self.state.items()
        }
