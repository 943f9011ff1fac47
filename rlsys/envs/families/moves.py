"""What an environment says of the next move in `info`: which actions are legal and, where two play, whose turn it is.

    info["action_mask"]   `[A]`, not 0 where an action is legal
    info["player"]        0 or 1, who is to move; the two take turns

Board games say so, and environments of gymnasium's are asked with `env.action_mask`. The mask becomes the part
"action_mask" of the observation (`rlsys.api.masks`). Whose turn it is becomes no part of it: an environment shows a
position to whoever is to move, and rewards whoever has moved.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Discrete, MultiBinary

from rlsys.api.masks import ACTION_MASK, OBSERVATION
from rlsys.config import EnvConfig
from rlsys.envs.wrappers import Layer, Reset, Step, layers_of
from rlsys.errors import EnvError
from rlsys.types import Array

_PLAYER = "player"
_SHOWN = 12
_ACT_BY_THEMSELVES = {"action_repeat", "avoid_repeat", "sticky_actions"}
"""Settings that step with more than the policy chooses."""


class Moves(Layer):
    """Observes which actions are legal, and takes no others.

    Attributes:
      num_players: 2 where the last reset has said whose turn it is, else 1.
    """

    def __init__(self, env: gymnasium.Env, config: EnvConfig) -> None:
        """Wraps an environment.

        Args:
          env: as its family makes it.
          config: of it.

        Raises:
          EnvError: its actions are not discrete, or it is to be stepped with more than the policy chooses.
        """
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, Discrete):
            raise EnvError(
                f"env.action_mask = True with '{config.id}', which acts with {space}; only discrete actions can be "
                "illegal. Leave it out."
            )
        for name in _ACT_BY_THEMSELVES & type(config).model_fields.keys():
            value, nothing = getattr(config, name), type(config).model_fields[name].default
            if value != nothing:
                raise EnvError(
                    f"env.{name} = {value} with '{config.id}', some of whose actions are illegal at times; so may be "
                    f"what that does. Set env.{name}={str(nothing).lower()}."
                )
        self.num_players = 1
        self._name = config.id
        self._num_actions, self._start = int(space.n), int(space.start)
        self._mask_A = np.ones(self._num_actions, np.int8)
        self._player: int | None = None
        own = dict(env.observation_space.spaces) if isinstance(env.observation_space, Dict) else None
        self._is_named = own is not None
        self.observation_space = Dict(
            [*(own or {OBSERVATION: env.observation_space}).items(), (ACTION_MASK, MultiBinary(self._num_actions))]
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Resets.

        Raises:
          EnvError: nothing is said of legal actions.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        if ACTION_MASK not in info:
            raise EnvError(
                f"env.action_mask = True with '{self._name}', which does not say in info['{ACTION_MASK}'] which "
                "actions are legal. Leave it out."
            )
        self._mask_A = self._legal(info)
        self._player = self._to_move(info)
        self.num_players = 1 if self._player is None else 2
        return self._with_mask(observation), info

    def step(self, action: Any) -> Step:
        """Steps.

        Raises:
          EnvError: the action is not legal.
        """
        index = int(action) - self._start
        if not (0 <= index < self._num_actions and self._mask_A[index]):
            raise EnvError(
                f"action {action} is illegal here; legal are {self._told(self._mask_A)}. Correct the policy."
            )
        observation, reward, terminated, truncated, info = self.env.step(action)
        if terminated:  # nobody moves any more
            self._mask_A = np.zeros_like(self._mask_A)
        else:
            self._mask_A = self._legal(info)
            self._take_turns(info)
        return self._with_mask(observation), reward, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Returns what was said last."""
        return {"mask": self._mask_A.copy(), "player": self._player, "num_players": self.num_players}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what was said."""
        self._mask_A = np.array(state["mask"], np.int8)
        self._player, self.num_players = state["player"], state["num_players"]

    def _with_mask(self, observation: Any) -> dict[str, Any]:
        own = observation if self._is_named else {OBSERVATION: observation}
        return {**own, ACTION_MASK: self._mask_A}

    def _legal(self, info: Mapping[str, Any]) -> Array:
        mask = np.asarray(info.get(ACTION_MASK))
        if mask.shape != (self._num_actions,) or mask.dtype.kind not in "biuf":
            raise EnvError(
                f"info['{ACTION_MASK}'] is {mask.dtype} {mask.shape}; it must say of each of {self._num_actions} "
                "actions whether it is legal. Correct the environment."
            )
        legal: Array = (mask != 0).astype(np.int8)
        if not legal.any():
            raise EnvError(
                f"info['{ACTION_MASK}'] allows none of {self._num_actions} actions; until a game is over at least one "
                "must be legal. Correct the environment."
            )
        return legal

    def _take_turns(self, info: Mapping[str, Any]) -> None:
        player = self._to_move(info)
        if self._player is not None and player == self._player:
            raise EnvError(
                f"player {player} is to move twice in a row; two players must take turns. Let a player who cannot move "
                "pass, or choose another game."
            )
        if (player is None) != (self._player is None):
            raise EnvError(f"info['{_PLAYER}'] is there only sometimes. Correct the environment.")
        self._player = player

    def _to_move(self, info: Mapping[str, Any]) -> int | None:
        player = info.get(_PLAYER)
        if player is not None and player not in (0, 1):
            raise EnvError(
                f"info['{_PLAYER}'] = {player!r}; it must be 0 or 1, who is to move. Correct the environment."
            )
        return None if player is None else int(player)

    def _told(self, mask_A: Array) -> str:
        legal = (np.flatnonzero(mask_A) + self._start).tolist()
        return ", ".join(map(str, legal[:_SHOWN])) + (" …" if len(legal) > _SHOWN else "")


def players_of(env: gymnasium.Env) -> int:
    """Returns how many players' decisions an environment asks for, by turns; resets it where that may be two."""
    for layer in layers_of(env):
        if isinstance(layer, Moves):
            env.reset()
            return layer.num_players
    return 1
