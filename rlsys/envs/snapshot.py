"""Saves and restores running environments, so that a copy made with another seed goes on identically.

A state is a dictionary, class name of a layer -> that layer's own state: arrays and JSON scalars, nothing pickled. Our
wrappers and simulators save themselves (`Restorable`); gymnasium's are in a table here. An environment can be saved if
every layer of it can: Atari and CartPole can, LunarLander cannot (Box2D has no copy of its world). One whose methods
merely have the same names cannot: what they return is anybody's guess.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.wrappers import (
    AtariPreprocessing,
    FrameStackObservation,
    OrderEnforcing,
    TimeLimit,
    TransformObservation,
    TransformReward,
)

from rlsys.errors import EnvError

State = dict[str, Any]


class Restorable:
    """A layer that saves itself.

    Attributes:
      can_snapshot: whether its state is all that its future depends on.
    """

    can_snapshot: bool = True

    def get_state(self) -> State:
        """Returns the layer's own state: arrays and JSON scalars."""
        raise NotImplementedError

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned."""
        raise NotImplementedError


def can_snapshot(env: gymnasium.Env) -> bool:
    """Tells whether every layer of the environment can be saved, and has a name of its own."""
    layers = list(_layers(env))
    restorable = all(
        layer.can_snapshot if isinstance(layer, Restorable) else type(layer) in _GYMNASIUM for layer in layers
    )
    return restorable and len({type(layer).__name__ for layer in layers}) == len(layers)


def get_state(env: gymnasium.Env) -> State:
    """Returns all that the environment's future depends on, besides the actions.

    Raises:
      EnvError: the environment cannot be saved, or its game is over.
    """
    if not can_snapshot(env):
        raise EnvError(f"{env.unwrapped} cannot be saved; its simulator has no snapshot. Reset it instead.")
    return {type(layer).__name__: _get_layer(layer) for layer in _layers(env)}


def set_state(env: gymnasium.Env, state: Mapping[str, Any]) -> None:
    """Continues from what `get_state` returned for an environment of the same configuration.

    Raises:
      EnvError: the state is of another kind of environment.
    """
    layers = {type(layer).__name__: layer for layer in _layers(env)}
    if layers.keys() != state.keys():
        saved, here = (" in ".join(reversed(list(names))) for names in (state, layers))
        raise EnvError(
            f"the snapshot is of {saved}; the environment is {here}. Load it with the configuration it was saved with."
        )
    for name, layer in layers.items():
        _set_layer(layer, state[name])


def _layers(env: gymnasium.Env) -> Iterator[gymnasium.Env]:
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env
    yield env


def _get_layer(layer: gymnasium.Env) -> State:
    return layer.get_state() if isinstance(layer, Restorable) else _GYMNASIUM[type(layer)][0](layer)


def _set_layer(layer: gymnasium.Env, state: Mapping[str, Any]) -> None:
    if isinstance(layer, Restorable):
        layer.set_state(state)
    else:
        _GYMNASIUM[type(layer)][1](layer, state)


def _get_nothing(layer: gymnasium.Env) -> State:
    return {}


def _set_nothing(layer: gymnasium.Env, state: Mapping[str, Any]) -> None:
    pass


def _get_time_limit(layer: TimeLimit) -> State:
    return {"elapsed_steps": layer._elapsed_steps}


def _set_time_limit(layer: TimeLimit, state: Mapping[str, Any]) -> None:
    layer._elapsed_steps = state["elapsed_steps"]


def _get_frame_stack(layer: FrameStackObservation) -> State:
    return {"frames": np.stack(layer.obs_queue)}


def _set_frame_stack(layer: FrameStackObservation, state: Mapping[str, Any]) -> None:
    layer.obs_queue.extend(state["frames"].copy())


def _get_atari_preprocessing(layer: AtariPreprocessing) -> State:
    return {"frames": np.stack(layer.obs_buffer), "lives": layer.lives, "game_over": layer.game_over}


def _set_atari_preprocessing(layer: AtariPreprocessing, state: Mapping[str, Any]) -> None:
    layer.obs_buffer = list(state["frames"].copy())
    layer.lives = state["lives"]
    layer.game_over = state["game_over"]


def _get_cartpole(env: CartPoleEnv) -> State:
    return {
        "state": np.array(env.state),
        "steps_beyond_terminated": env.steps_beyond_terminated,
        "np_random": env.np_random.bit_generator.state,
    }


def _set_cartpole(env: CartPoleEnv, state: Mapping[str, Any]) -> None:
    env.state = state["state"].copy()
    env.steps_beyond_terminated = state["steps_beyond_terminated"]
    env.np_random.bit_generator.state = state["np_random"]


_GYMNASIUM: dict[type, tuple[Callable[[Any], State], Callable[[Any, Mapping[str, Any]], None]]] = {
    AtariPreprocessing: (_get_atari_preprocessing, _set_atari_preprocessing),
    CartPoleEnv: (_get_cartpole, _set_cartpole),
    FrameStackObservation: (_get_frame_stack, _set_frame_stack),
    OrderEnforcing: (_get_nothing, _set_nothing),
    TimeLimit: (_get_time_limit, _set_time_limit),
    TransformObservation: (_get_nothing, _set_nothing),
    TransformReward: (_get_nothing, _set_nothing),
}
"""gymnasium's layers: how their state is read and set."""
