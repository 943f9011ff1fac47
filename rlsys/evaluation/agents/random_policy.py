"""Random actions: what every score is compared with."""

from collections.abc import Mapping

import numpy as np

from rlsys.api import Decision, Policy, PolicyContext
from rlsys.api.masks import split_mask
from rlsys.api.spaces import action_kind
from rlsys.types import Array, State, Weights


class RandomPolicy(Policy):
    """Draws whatever it sees: legal choices with the same probability each, numbers evenly between their bounds.

    A number without bounds is drawn from a normal distribution, one with a single bound from an exponential one that
    begins there, as gymnasium draws from its spaces.
    """

    def __init__(self, context: PolicyContext) -> None:
        """Seeds the draws."""
        self._env = context.env
        self._rng = np.random.default_rng(context.seed)

    def initial_state(self, batch_size: int) -> State:
        """Returns `{}`."""
        return {}

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Draws an action for each row."""
        env, size = self._env, len(observation)
        match action_kind(env):
            case "discrete":
                _, mask_BA = split_mask(env, observation)
                action: Array = (
                    self._rng.integers(env.num_actions, size=size) if mask_BA is None else self._any(mask_BA)
                )
            case "choices":
                counts = np.reshape(env.action_choices, env.action.shape)
                action = self._rng.integers(counts, size=(size, *env.action.shape))
            case _:
                action = self._numbers(size)
        return Decision(action, {})

    def _any(self, mask_BA: Array) -> Array:
        """Draws one of the legal actions for each row."""
        chosen_B: Array = ((1.0 - self._rng.random(mask_BA.shape)) * mask_BA).argmax(axis=1)
        return chosen_B

    def _numbers(self, size: int) -> Array:
        shape, dtype = self._env.action.shape, np.dtype(self._env.action.dtype)
        low, high = (np.reshape(bound, shape) for bound in (self._env.action_low, self._env.action_high))
        if dtype.kind != "f":
            return self._rng.integers(low.astype(dtype), high.astype(dtype), (size, *shape), dtype, endpoint=True)
        has_low, has_high = np.isfinite(low), np.isfinite(high)
        between = self._rng.uniform(
            np.where(has_low & has_high, low, 0.0), np.where(has_low & has_high, high, 1.0), (size, *shape)
        )
        beyond = self._rng.exponential(size=(size, *shape))
        anywhere = self._rng.normal(size=(size, *shape))
        drawn = np.select([has_low & has_high, has_low, has_high], [between, low + beyond, high - beyond], anywhere)
        return np.clip(drawn, low, high).astype(dtype)

    def set_weights(self, weights: Weights) -> None:
        """Does nothing: there are none."""

    def weights(self) -> Mapping[str, Array]:
        """Returns `{}`."""
        return {}
