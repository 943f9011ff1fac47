"""Spaces of environments: which of them an algorithm acts in and reads, and what they are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from rlsys.api.masks import ACTION_MASK, masks_actions, without_mask
from rlsys.errors import ConfigError
from rlsys.types import ArraySpec, EnvSpec, Part

ActionKind = Literal["discrete", "choices", "numbers"]
ObservationKind = Literal["array", "integers", "parts"]

_ACTS: dict[str, str] = {"discrete": "Discrete", "choices": "MultiDiscrete", "numbers": "Box"}
_READS: dict[str, str] = {"array": "Box", "integers": "Discrete", "parts": "Dict"}
_SHOWN = 4
"""Of a list of choices or of parts."""


@dataclass(frozen=True)
class Spaces:
    """What an algorithm can handle.

    Attributes:
      actions: "discrete", one of n (Discrete); "choices", several of those at once (MultiDiscrete, MultiBinary);
        "numbers" (Box).
      observations: "array", numbers (Box); "integers", each one of n (Discrete, MultiDiscrete, MultiBinary); "parts",
        named ones, each of the other two (Dict, Tuple). A mask of legal actions does not count as a part.
      masks: whether it takes legal actions only, where the environment says which these are.
      two_players: whether it learns by turns as each of two players.
      settings: fields of the section without which a kind of action is refused, with values that do.
    """

    actions: tuple[ActionKind, ...] = ("discrete",)
    observations: tuple[ObservationKind, ...] = ("array",)
    masks: bool = False
    two_players: bool = False
    settings: Mapping[ActionKind, Mapping[str, Any]] = field(default_factory=dict)

    def refusal(self, env: EnvSpec) -> str:
        """Says which space of an environment is beyond this: "acts in …; … acts with …"; empty where none is."""
        if action_kind(env) not in self.actions:
            known = " and ".join(_ACTS[kind] for kind in self.actions)
            return f"acts in {known} spaces only; '{env.id}' acts with {actions_of(env)}"
        if masks_actions(env) and not self.masks:
            return f"knows nothing of illegal actions; '{env.id}' has some (part '{ACTION_MASK}' of its observation)"
        if env.num_players > 1 and not self.two_players:
            return f"learns as one player; '{env.id}' is played by two, who take turns"
        seen = without_mask(env)
        if not observation_kinds(seen) <= set(self.observations):
            known = " and ".join(_READS[kind] for kind in self.observations)
            return f"reads {known} spaces only; '{env.id}' observes {observations_of(seen)}"
        return ""


def action_kind(env: EnvSpec) -> ActionKind:
    """Returns what kind of actions an environment takes."""
    if env.num_actions:
        return "discrete"
    return "choices" if env.action_choices else "numbers"


def observation_kinds(env: EnvSpec) -> set[ObservationKind]:
    """Returns what whoever reads an environment's observations must be able to read."""
    kinds: set[ObservationKind] = {"integers" if part.choices else "array" for part in env.parts}
    return kinds | {"parts"} if env.parts[0].name else kinds


def action_names(env: EnvSpec) -> tuple[str, ...]:
    """Returns a word for each number by which a policy tells how it acts: per action, option of a choice, or number.

    Of discrete actions that the environment does not name there are none.
    """
    match action_kind(env):
        case "discrete":
            return env.action_meanings
        case "choices":
            counts = enumerate(env.action_choices)
            return tuple(f"choice {index} = {option}" for index, count in counts for option in range(count))
    return tuple(f"number {index}" for index in range(len(env.action_low)))


def actions_of(env: EnvSpec) -> str:
    """Returns the action space in gymnasium's words; of bounds that differ the widest: "Box(-2, 2, (1,))"."""
    match action_kind(env):
        case "discrete":
            return f"Discrete({env.num_actions})"
        case "choices":
            return f"MultiDiscrete({_shortened([str(count) for count in env.action_choices])})"
    return f"Box({min(env.action_low):g}, {max(env.action_high):g}, {env.action.shape})" if env.action_low else "Box"


def observations_of(env: EnvSpec) -> str:
    """Returns the observation space likewise: "Discrete(500)", "Dict(image: uint8 (64, 64), arm: float32 (3,))"."""
    if not env.parts[0].name:
        return _part_of(env.parts[0])
    return f"Dict({_shortened([f'{part.name}: {_part_of(part)}' for part in env.parts], '')})"


def check_bounds(env: EnvSpec, need: str) -> None:
    """Refuses numbers that an environment does not bound.

    Args:
      env: the environment; where it acts otherwise there is nothing to check.
      need: who needs bounds, and what for: "… chooses between finite bounds".

    Raises:
      ConfigError: it names the first of them.
    """
    for index, (low, high) in enumerate(zip(env.action_low, env.action_high, strict=True)):
        if not (np.isfinite(low) and np.isfinite(high) and low < high):
            raise ConfigError(
                f"action {index} of '{env.id}' is between {low:g} and {high:g}; {need}. Choose another environment."
            )


def _part_of(part: Part) -> str:
    if not part.choices:
        return f"{np.dtype(part.spec.dtype)} {part.spec.shape}"
    if part.spec == ArraySpec((), "int64"):
        return f"Discrete({part.choices[0]})"
    return f"MultiDiscrete({_shortened([str(count) for count in part.choices])})"


def _shortened(words: Sequence[str], brackets: str = "[]") -> str:
    text = ", ".join([*words[:_SHOWN], *(["…"] if len(words) > _SHOWN else [])])
    return f"[{text}]" if brackets else text
