"""What a distribution over an environment's actions needs, and how Gaussians are configured. Without torch."""

from math import prod
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from rlsys.api.spaces import action_kind
from rlsys.config import Section
from rlsys.config.quantities import Flag, Number
from rlsys.errors import ConfigError
from rlsys.types import Array, ArraySpec, Batch, EnvSpec

DRAWN = "drawn_action"
"""Extra `[n]` float32 of actions that are numbers: what was drawn, before it was brought within the bounds."""


class GaussianConfig(Section):
    """How actions are drawn that are numbers (Box); names are Brax's."""

    distribution_type: Literal["normal", "tanh_normal"] = "normal"
    """Actions that are numbers: a Gaussian clipped to their bounds, or one that a tanh squashes between them."""
    state_dependent_std: Flag = False
    """Actions that are numbers: predict their deviations, too; else one of each is learned for all observations."""
    init_noise_std: Annotated[Number, Field(ge=0.01, le=5.0)] = 1.0
    """Actions that are numbers: deviation at the beginning; 1 is half the distance between finite bounds."""


def num_parameters(env: EnvSpec) -> int:
    """Returns P, the numbers that give a distribution: logits, or a mean and a deviation of each number."""
    if action_kind(env) == "numbers":
        return 2 * prod(env.action.shape)
    return env.num_actions or sum(env.action_choices)


def drawn_extras(env: EnvSpec) -> dict[str, ArraySpec]:
    """Returns what replay must remember of what was drawn, where that is not the action itself."""
    return {DRAWN: ArraySpec((prod(env.action.shape),), "float32")} if action_kind(env) == "numbers" else {}


def drawn_of(batch: Batch) -> Array:
    """Returns what was drawn of a batch: the actions, unless they have been brought within bounds."""
    return batch.extras.get(DRAWN, batch.action)


def check_gaussian(config: GaussianConfig, env: EnvSpec, section: str) -> None:
    """Refuses a squashed Gaussian between bounds that are not finite.

    Raises:
      ConfigError: it names the first of them, and what to set.
    """
    if config.distribution_type == "normal" or action_kind(env) != "numbers":
        return
    bounds = list(zip(env.action_low, env.action_high, strict=True))
    wrong = next((index for index, pair in enumerate(bounds) if not np.isfinite(pair).all()), None)
    if wrong is not None:
        low, high = bounds[wrong]
        raise ConfigError(
            f"{section}.distribution_type = tanh_normal with '{env.id}', whose action {wrong} is between {low:g} and "
            f"{high:g}; a tanh needs finite bounds. Set {section}.distribution_type=normal."
        )
