"""Makes the environment that a configuration describes, and tells what an algorithm may know about it.

A simulator comes from the first family in the table (table.py) that knows the id; around it, from the inside out:

    ArraySpaces → ActionSet → PaddedActions → ActionRepeat → GameRecord → the family's wrappers → AvoidRepeat* →
    ObservationNoise → FrameStack → sign of the reward

What is marked * is there while training only. All else a policy is told in evaluations as it was in training: of Atari,
lives end episodes and FIRE is pressed; rewards are those that it learned from. Scores count raw rewards (`GameRecord`),
and whoever evaluates resets and plays on until the game is over.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.wrappers import TransformReward

from rlsys.config import EnvConfig, read_env, tasks_of
from rlsys.envs.actions import ActionSet, PaddedActions
from rlsys.envs.families.moves import players_of
from rlsys.envs.family import Family
from rlsys.envs.simulator import Simulator
from rlsys.envs.spaces import Actions, ArraySpaces, Observations
from rlsys.envs.table import find, settled
from rlsys.envs.tasks import ShownTask, action_width, names, widest
from rlsys.envs.wrappers import (
    ActionRepeat,
    AvoidRepeat,
    Environment,
    FrameStack,
    GameRecord,
    ObservationNoise,
    most_steps,
)
from rlsys.errors import EnvError, RlsysError
from rlsys.types import EnvSpec, Part


def make(config: EnvConfig, seed: int, *, training: bool = True, render_mode: str | None = None) -> Environment:
    """Makes one environment; its first `reset()` begins the first episode of the seed.

    Args:
      config: id, settings and wrappers.
      seed: of everything random in it; reset without one.
      training: False leaves out what replaces a policy's actions for learning (avoid_repeat).
      render_mode: "rgb_array" makes `render()` return frames.

    Returns:
      The environment. Its rewards are those to learn from; its `record` has the raw ones.

    Raises:
      EnvError: an unknown id, a missing package, settings that the environment cannot have, or whatever it raises.
    """
    return _make(config, seed, training, render_mode)[0]


def make_simulator(config: EnvConfig, seeds: Sequence[int], *, training: bool = True) -> Simulator | None:
    """Makes one simulator for all seeds, where the family has one and nothing stands between it and a frame stack.

    Raises:
      EnvError: an unknown id, a missing package, or settings that the environment cannot have.
    """
    if config.sticky_actions > 1 or (training and config.avoid_repeat):
        return None
    if config.task_in_observation or config.observation_noise:
        return None
    own, most = _task(config)
    family = find(own.id)
    if own.action_set is not None:
        return None
    simulator = family.make_simulator(settled(own, family), seeds)
    if simulator is None or not _is_padded(Actions(simulator.action_space, own.id), most):
        return simulator
    simulator.close()
    return None


def env_spec(config: EnvConfig) -> EnvSpec:
    """Describes the environment; makes one and closes it.

    Raises:
      EnvError: as `make`, and spaces that no policy here can handle.
    """
    env, frames_per_step, observations, actions = _make(config, 0, True, None)
    try:
        spec = _describe(config, env, frames_per_step, observations, actions)
    finally:
        env.close()  # type: ignore[no-untyped-call]
    if not config.tasks:
        return spec
    played = _specs(config) if config.task is None else [spec]
    frames = [other.frames_per_step for other in played]
    return replace(
        spec,
        tasks=names(tasks_of(config)),
        frames_per_step=frames[0] if len(set(frames)) == 1 else sum(frames) / len(frames),
        max_steps=min((other.max_steps for other in played if other.max_steps is not None), default=None),
    )


def _make(
    config: EnvConfig, seed: int, training: bool, render_mode: str | None
) -> tuple[Environment, int, Observations, Actions]:
    own, most = _task(config)
    family = find(own.id)
    own = settled(own, family)
    env, frames_per_step = _simulator(family, own, seed, render_mode)
    if config.task_in_observation:
        env = ShownTask(env, config.task or 0, len(config.tasks))
    observations, actions = Observations(env.observation_space, config.id), Actions(env.action_space, config.id)
    if not (observations.is_array and actions.is_from_zero):
        env = ArraySpaces(env, observations, actions)
    if own.action_set is not None:
        env = ActionSet(env, own.action_set, own.id)
        actions = Actions(env.action_space, own.id)
    if most is not None and _is_padded(actions, most):
        env = PaddedActions(env, most)
        actions = Actions(env.action_space, own.id)
    config = own
    if config.sticky_actions > 1:
        env = ActionRepeat(env, config.sticky_actions)
        frames_per_step *= config.sticky_actions
    record = GameRecord(env)
    env = family.wrap(config, record)
    avoid_repeat = None
    if training and config.avoid_repeat:
        env = avoid_repeat = AvoidRepeat(env, record, _num_actions(config, env), frames_per_step, seed)
    if config.observation_noise:
        env = _noisy(config, env, seed)
    if config.stack_states > 1:
        env = FrameStack(env, config.stack_states)
    if config.clip_rewards:
        env = TransformReward(env, _sign)
    return Environment(env, record, avoid_repeat), frames_per_step, observations, actions


def _task(config: EnvConfig) -> tuple[EnvConfig, EnvSpec | None]:
    """Returns the environment that is made, and which task has most actions, if there are several.

    Of several, it is the first unless one is named.
    """
    if not config.tasks:
        return config, None
    return tasks_of(config)[config.task or 0], widest(_specs(config))


def _specs(config: EnvConfig) -> tuple[EnvSpec, ...]:
    """Describes each of the tasks, which are made for it once: all environments of a process ask for it."""
    return _specs_of(config.model_dump_json(exclude={"task"}))


@functools.lru_cache(maxsize=8)
def _specs_of(config: str) -> tuple[EnvSpec, ...]:
    return tuple(env_spec(own) for own in tasks_of(read_env(json.loads(config))))


def _is_padded(actions: Actions, most: EnvSpec | None) -> bool:
    return most is not None and (actions.num_actions or len(actions.low)) < action_width(most)


def _simulator(family: Family[Any], config: EnvConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    try:
        env, frames_per_step = family.make(config, seed, render_mode)
    except (gymnasium.error.Error, ImportError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise EnvError(f"'{config.id}' cannot be made: {reason}. Install what is missing or correct env.id.") from error
    except RlsysError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".:")
        raise EnvError(f"'{config.id}' cannot be made: {reason}. Correct it, or choose another environment.") from error
    if render_mode is not None and render_mode not in env.metadata.get("render_modes", ()):
        raise EnvError(
            f"'{config.id}' cannot be made: it is never drawn as '{render_mode}'. Leave out the render mode."
        )
    return env, frames_per_step


def _sign(reward: SupportsFloat) -> float:
    return float(np.sign(float(reward)))


def _num_actions(config: EnvConfig, env: gymnasium.Env) -> int:
    if not isinstance(env.action_space, Discrete):
        raise EnvError(
            f"env.avoid_repeat = True with '{config.id}', whose actions are {env.action_space}; only discrete actions "
            "can be replaced. Set env.avoid_repeat=false."
        )
    return int(env.action_space.n)


def _noisy(config: EnvConfig, env: gymnasium.Env, seed: int) -> gymnasium.Env:
    if env.observation_space.dtype != np.uint8:
        raise EnvError(
            f"env.observation_noise = {config.observation_noise:g} with '{config.id}', which observes "
            f"{env.observation_space}; noise is on bytes (uint8). Leave it out, or choose an environment by pixels."
        )
    return ObservationNoise(env, config.observation_noise, seed)


def _describe(
    config: EnvConfig, env: gymnasium.Env, frames_per_step: int, observations: Observations, actions: Actions
) -> EnvSpec:
    low, high = _bounds(config, observations)
    return EnvSpec(
        id=config.id,
        observation=observations.spec,
        action=actions.spec,
        num_actions=actions.num_actions,
        num_stack=config.stack_states,
        frames_per_step=frames_per_step,
        observation_low=low,
        observation_high=high,
        action_meanings=_action_meanings(env, actions.num_actions),
        clips_rewards=config.clip_rewards,
        parts=observations.parts,
        action_choices=actions.choices,
        action_low=actions.low,
        action_high=actions.high,
        max_steps=most_steps(env, frames_per_step),
        num_players=players_of(env),
    )


def _action_meanings(env: gymnasium.Env, num_actions: int) -> tuple[str, ...]:
    """Returns what ALE's method says; nothing where an environment has none, or one that means something else."""
    try:
        names = tuple(env.get_wrapper_attr("get_action_meanings")())
    except Exception:  # noqa: BLE001 - whatever it is, it names no actions
        return ()
    return names if len(names) == num_actions and all(isinstance(name, str) for name in names) else ()


def _bounds(config: EnvConfig, observations: Observations) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not config.norm_states or config.state_range is None:
        return (), ()
    if not observations.is_array:
        raise EnvError(
            f"env.norm_states = True with '{config.id}', which observes {', '.join(map(_words, observations.parts))}; "
            "only one array of numbers has a range. Set env.norm_states=false."
        )
    low, high = config.state_range[0::2], config.state_range[1::2]
    shape = observations.spec.shape
    features = shape[0] if len(shape) == 1 else 1
    if len(low) not in (1, features):
        raise EnvError(
            f"env.state_range has {len(low)} pairs; '{config.id}' has observations of shape {shape}. "
            f"Give one pair{f', or one for each of the {features} features' if features > 1 else ''}."
        )
    return low, high


def _words(part: Part) -> str:
    return f"'{part.name}'" if part.name else "integers"
