"""Makes the environment that a configuration describes, and tells what an algorithm may know about it.

A simulator comes from the first family in the table that knows the id; around it, from the inside out:

    ActionRepeat → GameRecord → EpisodeLife → FireReset → AvoidRepeat* → FrameStackObservation → sign of the reward*

What is marked * is there while training only. Lives end episodes in evaluation, too, so that FIRE is pressed as it was
in training, but whoever evaluates resets and plays on until the game is over.

A new environment is one file with a `Family` and one row in the table.
"""

import difflib
import importlib.util
from typing import SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import FrameStackObservation, TransformReward

from rlsys.config import EnvConfig
from rlsys.envs import atari, classic
from rlsys.envs.family import Family
from rlsys.envs.wrappers import ActionRepeat, AvoidRepeat, EpisodeLife, FireReset, GameRecord
from rlsys.errors import EnvError
from rlsys.types import ArraySpec, EnvSpec

FAMILIES: tuple[Family, ...] = (atari.RAM, atari.PIXELS, classic.CLASSIC)
"""All environments; the first family that knows an id makes it."""

_ATARI_ONLY = ("noop_reset", "episode_life", "fire_reset", "full_action_space", "repeat_action_probability")

_EXTRAS = (
    ("procgen", "procgen", "Install rlsys[procgen]"),
    ("dm_control", "dm_control", "Install rlsys[control]"),
    ("dmlab", "deepmind_lab", "Build it from its own sources: no package index has it"),
    ("deepmind_lab", "deepmind_lab", "Build it from its own sources: no package index has it"),
)
"""How an id begins, the module behind it, and how to get that."""


def make(config: EnvConfig, seed: int, *, training: bool = True, render_mode: str | None = None) -> gymnasium.Env:
    """Makes one environment; its first `reset()` begins the first episode of the seed.

    Args:
      config: id and wrappers.
      seed: of everything random in it; reset without one.
      training: False leaves out what changes rewards or actions for learning (clip_rewards, avoid_repeat).
      render_mode: "rgb_array" makes `render()` return frames.

    Returns:
      An environment whose steps report `raw_reward` (and, with avoid_repeat, the executed `action`) in their info.

    Raises:
      EnvError: an unknown id, a missing package, or settings that the environment cannot have.
    """
    return _make(config, seed, training, render_mode)[0]


def spec(config: EnvConfig) -> EnvSpec:
    """Describes the environment; makes one and closes it.

    Raises:
      EnvError: as `make`, and spaces that no policy here can handle.
    """
    env, frames_per_step = _make(config, 0, True, None)
    try:
        return _describe(config, env, frames_per_step)
    finally:
        env.close()  # type: ignore[no-untyped-call]


def _make(config: EnvConfig, seed: int, training: bool, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    env, frames_per_step = _simulator(config, seed, render_mode)
    _check_flags(config, env)
    if config.sticky_actions > 1:
        env = ActionRepeat(env, config.sticky_actions)
        frames_per_step *= config.sticky_actions
    env = GameRecord(env)
    if config.episode_life:
        env = EpisodeLife(env, lost_point_ends="Pong" in config.id)
    if config.fire_reset:
        env = FireReset(env)
    if training and config.avoid_repeat:
        env = AvoidRepeat(env, _num_actions(config, env), frames_per_step)
    if config.stack_states > 1:
        env = FrameStackObservation(env, config.stack_states)
    if training and config.clip_rewards:
        env = TransformReward(env, _sign)
    return env, frames_per_step


def _simulator(config: EnvConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    try:
        env, frames_per_step = _family(config.id).make(config, seed, render_mode)
    except (gymnasium.error.Error, ImportError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise EnvError(f"'{config.id}' cannot be made: {reason}. Install what is missing or correct env.id.") from error
    if render_mode is not None and render_mode not in env.metadata.get("render_modes", ()):
        raise EnvError(
            f"'{config.id}' cannot be made: it is never drawn as '{render_mode}'. Leave out the render mode."
        )
    return env, frames_per_step


def _sign(reward: SupportsFloat) -> float:
    return float(np.sign(float(reward)))


def _family(name: str) -> Family:
    for prefix, module, way_out in _EXTRAS:
        if name.startswith(prefix) and importlib.util.find_spec(module) is None:
            raise EnvError(f"'{name}' needs {module}, which is not installed. {way_out}.")
    for family in FAMILIES:
        if family.knows(name):
            return family
    known = {candidate for family in FAMILIES for candidate in family.ids()}
    nearest = " or ".join(f"'{candidate}'" for candidate in difflib.get_close_matches(name, known))
    hint = f"Did you mean {nearest}?" if nearest else "gymnasium.pprint_registry() shows what is installed."
    raise EnvError(f"no environment '{name}'. {hint}")


def _check_flags(config: EnvConfig, env: gymnasium.Env) -> None:
    if not isinstance(env.unwrapped, atari.AtariGame):
        for name in _ATARI_ONLY:
            value = getattr(config, name)
            if value:
                raise EnvError(f"env.{name} = {value} with '{config.id}'; only Atari games have it. Leave it out.")
    elif config.fire_reset:
        meanings = env.unwrapped.get_action_meanings()
        if len(meanings) < 3 or meanings[1] != "FIRE":
            raise EnvError(
                f"env.fire_reset = True with '{config.id}', whose actions are {', '.join(meanings)}; it needs FIRE as "
                "the second of at least three. Set env.fire_reset=false."
            )


def _num_actions(config: EnvConfig, env: gymnasium.Env) -> int:
    if not isinstance(env.action_space, Discrete):
        raise EnvError(
            f"env.avoid_repeat = True with '{config.id}', whose actions are {env.action_space}; only discrete actions "
            "can be replaced. Set env.avoid_repeat=false."
        )
    return int(env.action_space.n)


def _describe(config: EnvConfig, env: gymnasium.Env, frames_per_step: int) -> EnvSpec:
    space = env.observation_space
    if not isinstance(space, Box):
        raise EnvError(f"'{config.id}' observes {space}; only arrays (Box) are supported. Choose another environment.")
    stacked = config.stack_states > 1
    observation = ArraySpec(space.shape[1:] if stacked else space.shape, str(space.dtype))
    action, num_actions = _describe_actions(config, env)
    low, high = _bounds(config, observation)
    meanings = env.unwrapped.get_action_meanings() if isinstance(env.unwrapped, atari.AtariGame) else ()
    return EnvSpec(
        id=config.id,
        observation=observation,
        action=action,
        num_actions=num_actions,
        num_stack=config.stack_states,
        frames_per_step=frames_per_step,
        observation_low=low,
        observation_high=high,
        action_meanings=tuple(meanings),
    )


def _describe_actions(config: EnvConfig, env: gymnasium.Env) -> tuple[ArraySpec, int]:
    space = env.action_space
    if isinstance(space, Discrete) and space.start == 0:
        return ArraySpec((), "int64"), int(space.n)
    if isinstance(space, Box):
        return ArraySpec(space.shape, str(space.dtype)), 0
    raise EnvError(
        f"'{config.id}' acts with {space}; only Discrete from 0 and arrays (Box) are supported. "
        "Choose another environment."
    )


def _bounds(config: EnvConfig, observation: ArraySpec) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not config.norm_states or config.state_range is None:
        return (), ()
    low, high = config.state_range[0::2], config.state_range[1::2]
    features = observation.shape[0] if len(observation.shape) == 1 else 1
    if len(low) not in (1, features):
        raise EnvError(
            f"env.state_range has {len(low)} pairs; '{config.id}' has observations of shape {observation.shape}. "
            f"Give one pair{f', or one for each of the {features} features' if features > 1 else ''}."
        )
    return low, high
