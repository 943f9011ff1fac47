"""Legal actions: what an environment says of them is part of its observation, and whoever acts takes it from there.

So it goes wherever the observation goes: through stacks, snapshots and replay, to policies in any process.
Shape legend: B batch, S frames of a stack, A actions.
"""

from dataclasses import replace

import numpy as np

from rlsys.types import Array, ArraySpec, EnvSpec

ACTION_MASK = "action_mask"
"""The part `[A]` int8 that is 1 where an action is legal; of one frame."""
OBSERVATION = "observation"
"""The part that holds what the environment observes, where that is no Dict itself."""


def masks_actions(env: EnvSpec) -> bool:
    """Tells whether an environment says which actions are legal; it takes no others."""
    return any(part.name == ACTION_MASK for part in env.parts)


def without_mask(env: EnvSpec) -> EnvSpec:
    """Returns the environment as one that observes the same, but says nothing of legal actions."""
    if not masks_actions(env):
        return env
    parts = tuple(part for part in env.parts if part.name != ACTION_MASK)
    if [part.name for part in parts] == [OBSERVATION]:
        return replace(env, observation=parts[0].spec, parts=(replace(parts[0], name=""),))
    record = np.dtype([(part.name, part.spec.dtype, part.spec.shape) for part in parts])
    return replace(env, observation=ArraySpec((), record), parts=parts)


def split_mask(env: EnvSpec, observation: Array) -> tuple[Array, Array | None]:
    """Returns observations as `without_mask` describes them, and which actions are legal in the newest frame of each.

    Args:
      env: the environment.
      observation: `[B, (S,)]`, with the mask as a part; or any other, which comes back as it is.

    Returns:
      the observations; `[B, A]` bool, None where all actions are legal.
    """
    if not masks_actions(env):
        return observation, None
    mask = observation[ACTION_MASK]
    newest_BA = (mask[:, -1] if env.num_stack > 1 else mask) != 0
    seen = without_mask(env)
    if not seen.parts[0].name:
        return observation[OBSERVATION].copy(), newest_BA  # a field of records lies in steps that tensors cannot have
    rest = np.empty(observation.shape, seen.observation.dtype)
    for part in seen.parts:
        rest[part.name] = observation[part.name]
    return rest, newest_BA
