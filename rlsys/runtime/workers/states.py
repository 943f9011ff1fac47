"""Policies' recurrent states, a row per environment."""

from collections.abc import Sequence

import numpy as np

from rlsys.api import Policy
from rlsys.types import Array, State


def restart(policy: Policy, state: State, rows: Sequence[int] | Array) -> State:
    """Returns the state with what an episode begins with in some rows; what was passed in is not changed."""
    if not state or not len(rows):
        return state
    fresh = policy.initial_state(len(rows))
    restarted = {name: np.array(value) for name, value in state.items()}
    for name, value in fresh.items():
        restarted[name][rows] = value
    return restarted
