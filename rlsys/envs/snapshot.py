"""Saves and restores running environments, so that a copy made with another seed goes on identically.

A state is a dictionary, class name of a layer -> that layer's own state: arrays and JSON scalars, nothing pickled. Our
wrappers and simulators save themselves (`Restorable`); gymnasium's are in a table here. An environment can be saved if
every layer of it can: Atari, CartPole and Taxi can, LunarLander cannot (Box2D has no copy of its world). One whose
methods merely have the same names cannot: what they return is anybody's guess.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.envs.toy_text.blackjack import BlackjackEnv
from gymnasium.envs.toy_text.taxi import TaxiEnv
from gymnasium.wrappers import (
    AtariPreprocessing,
    OrderEnforcing,
    TimeLimit,
    TransformObservation,
    TransformReward,
)

from rlsys.errors import EnvError

State = dict[str, Any]
_Access = tuple[Callable[[Any], State], Callable[[Any, Mapping[str, Any]], None]]
"""How a layer's state is read and set."""


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
        layer.can_snapshot if isinstance(layer, Restorable) else _access(layer) is not None for layer in layers
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
    if isinstance(layer, Restorable):
        return layer.get_state()
    access = _access(layer)
    assert access is not None, layer
    return access[0](layer)


def _set_layer(layer: gymnasium.Env, state: Mapping[str, Any]) -> None:
    if isinstance(layer, Restorable):
        layer.set_state(state)
        return
    access = _access(layer)
    assert access is not None, layer
    access[1](layer, state)


def _access(layer: gymnasium.Env) -> _Access | None:
    kind = type(layer)
    if kind.__module__.startswith("gymnasium.envs.mujoco.") and kind.__name__ in _MUJOCO:
        return _get_mujoco, _set_mujoco
    return _GYMNASIUM.get(kind)


def _get_nothing(layer: gymnasium.Env) -> State:
    return {}


def _set_nothing(layer: gymnasium.Env, state: Mapping[str, Any]) -> None:
    pass


def _get_time_limit(layer: TimeLimit) -> State:
    return {"elapsed_steps": layer._elapsed_steps}


def _set_time_limit(layer: TimeLimit, state: Mapping[str, Any]) -> None:
    layer._elapsed_steps = state["elapsed_steps"]


def _get_atari_preprocessing(layer: AtariPreprocessing) -> State:
    return {"frames": np.stack(layer.obs_buffer), "lives": layer.lives, "game_over": layer.game_over}


def _set_atari_preprocessing(layer: AtariPreprocessing, state: Mapping[str, Any]) -> None:
    layer.obs_buffer = list(state["frames"].copy())
    layer.lives = state["lives"]
    layer.game_over = state["game_over"]


def _get_mujoco(env: Any) -> State:
    import mujoco  # noqa: PLC0415 - whoever has such a game has it loaded

    what = mujoco.mjtState.mjSTATE_INTEGRATION
    physics = np.zeros(mujoco.mj_stateSize(env.model, what))
    mujoco.mj_getState(env.model, env.data, physics, what)
    return {"physics": physics, "np_random": env.np_random.bit_generator.state}


def _set_mujoco(env: Any, state: Mapping[str, Any]) -> None:
    import mujoco  # noqa: PLC0415 - likewise

    mujoco.mj_setState(env.model, env.data, state["physics"], mujoco.mjtState.mjSTATE_INTEGRATION)
    env.np_random.bit_generator.state = state["np_random"]


def _game(*names: str) -> _Access:
    """Returns how a game is read and set whose state are these attributes and its generator."""

    def get(game: gymnasium.Env) -> State:
        values = {name: _plain(getattr(game, name)) for name in names}
        return {**values, "np_random": game.np_random.bit_generator.state}

    def set_(game: gymnasium.Env, state: Mapping[str, Any]) -> None:
        for name in names:
            setattr(game, name, _plain(state[name]))
        game.np_random.bit_generator.state = state["np_random"]

    return get, set_


def _plain(value: Any) -> Any:
    """Returns a copy of arrays, numbers and lists of numbers, without numpy's scalars."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


_MUJOCO = ("HalfCheetahEnv", "HopperEnv", "SwimmerEnv", "Walker2dEnv")
"""gymnasium's games on MuJoCo whose steps look at positions and velocities alone; others look at what the last step had
computed on its way, too."""
_GYMNASIUM: dict[type, _Access] = {
    AtariPreprocessing: (_get_atari_preprocessing, _set_atari_preprocessing),
    BlackjackEnv: _game("player", "dealer", "dealer_top_card_suit", "dealer_top_card_value_str"),
    CartPoleEnv: _game("state", "steps_beyond_terminated"),
    OrderEnforcing: (_get_nothing, _set_nothing),
    PendulumEnv: _game("state", "last_u"),
    TaxiEnv: _game("s", "lastaction", "fickle_step", "taxi_orientation"),
    TimeLimit: (_get_time_limit, _set_time_limit),
    TransformObservation: (_get_nothing, _set_nothing),
    TransformReward: (_get_nothing, _set_nothing),
}
"""gymnasium's layers. Those of others are `Restorable`."""
