"""ProcGen's 16 games, many at once: `procgen-<game>`, `procgen-<game>-v0` and `procgen:procgen-<game>-v0`.

Observes `[3, 64, 64]` uint8, planes first; 15 actions; no frame is skipped. Which levels are played is up to
`env.num_levels` (0: all of them), `env.start_level` and `env.distribution_mode`; their order is up to the seed.

**Ends.** The package says that an episode ended, not why. Each game has a time limit in steps (`TIME_LIMITS`; otherwise
1,000). An episode that ends exactly there, and whose level is not complete, is taken as truncated, any other end as
terminated. An episode lost in just that last step is mistaken for a truncated one.

**The last observation.** A game that ends begins its next level within the same step and shows only that. What stands
for the last observation of the ended episode is the one before it, which is one step old. It matters for truncated
episodes alone, whose return is bootstrapped from it; nothing is learned from the last observation of a terminated one.

Cobbe et al. 2020, https://arxiv.org/abs/1912.01588. Shape legend: E environments.
"""

import contextlib
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import cv2
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from rlsys.config import EnvConfig
from rlsys.config.quantities import Level
from rlsys.envs.family import Family
from rlsys.envs.simulator import Ends, Simulator, SimulatorEnv, check_id
from rlsys.envs.wrappers import limited
from rlsys.errors import EnvError
from rlsys.types import Array

GAMES = (
    "bigfish", "bossfight", "caveflyer", "chaser", "climber", "coinrun", "dodgeball", "fruitbot", "heist", "jumper",
    "leaper", "maze", "miner", "ninja", "plunder", "starpilot",
)  # fmt: skip

MODE_GAMES = {
    "easy": GAMES,
    "hard": GAMES,
    "extreme": ("chaser", "dodgeball", "leaper", "starpilot"),
    "memory": ("caveflyer", "dodgeball", "heist", "jumper", "maze", "miner"),
    "exploration": ("caveflyer", "climber", "coinrun", "heist", "jumper", "leaper", "maze", "ninja"),
}
"""The games that each distribution mode is made for; others end the process."""

TIME_LIMITS = {"bigfish": 6000, "bossfight": 4000, "leaper": 500, "maze": 500, "plunder": 4000}
"""Steps after which an episode ends, where that is not 1,000 (jumper in memory mode: 2,000)."""

ACTIONS = (
    "LEFT DOWN", "LEFT", "LEFT UP", "DOWN", "NOOP", "UP", "RIGHT DOWN", "RIGHT", "RIGHT UP", "D", "A", "W", "S", "Q",
    "E",
)  # fmt: skip
"""What is pressed; the letters do something in some games only."""

_SIZE, _PLANES = 64, 3
_LEVELS = 2**31 - 1
_RESET = -1
_PATTERN = re.compile(r"(?:procgen:)?procgen-([a-z]+?)(?:-v0)?")


class ProcGenConfig(EnvConfig):
    """A game, and which of its levels are played."""

    num_levels: Level = 0
    """How many levels are played; 0 for all."""
    start_level: Level = 0
    """The first of num_levels consecutive levels."""
    distribution_mode: Literal["easy", "hard", "extreme", "memory", "exploration"] = "hard"
    """How levels are drawn; the last three exist for some games only."""


def game_of(name: str) -> str | None:
    """Returns the game that an id names, or None if it names none of ProcGen's."""
    match = _PATTERN.fullmatch(name)
    return match[1] if match and match[1] in GAMES else None


def time_limit(game: str, mode: str) -> int:
    """Returns the steps after which an episode of the game ends."""
    return 2000 if (game, mode) == ("jumper", "memory") else TIME_LIMITS.get(game, 1000)


class ProcGenGames:
    """E games of one kind through gym3, on the calling thread."""

    can_snapshot = True
    action_meanings: tuple[str, ...] = ACTIONS
    max_steps: int | None = None

    def __init__(self, config: ProcGenConfig, seeds: Sequence[int], *, draw: bool = False) -> None:
        game = game_of(config.id)
        assert game is not None, config.id
        self.id = config.id
        self.size = len(seeds)
        self.observation_space: gymnasium.Space = Box(0, 255, (_PLANES, _SIZE, _SIZE), np.uint8)
        self.action_space: gymnasium.Space = Discrete(len(ACTIONS))
        self.observation = np.zeros((self.size, _PLANES, _SIZE, _SIZE), np.uint8)
        self.last_observation = self.observation
        self._kept = np.zeros_like(self.observation)
        self._time_limit = time_limit(game, config.distribution_mode)
        self._elapsed = np.zeros(self.size, np.int64)
        self._untouched = True
        self._draw = draw
        self._games = _open(config, game, seeds, draw)
        self._pixels = self._games.observe()[1]["rgb"]  # always the same array
        self._planes = [list(frame) for frame in self.observation]
        self._show()

    def reset(self) -> None:
        """Begins a new level in each environment, unless none has been played yet."""
        if not self._untouched:
            self._act(np.full(self.size, _RESET))
            self._elapsed[:] = 0
        self._show()

    def step(self, action_E: Array) -> Ends:
        """Steps each environment once; ended episodes begin again."""
        self._act(action_E)
        self._elapsed += 1
        reward, _, first = self._games.observe()
        reward, ended = reward.copy(), first.copy()
        truncated = np.zeros(self.size, np.bool_)
        rows = np.flatnonzero(ended)
        seen_last = self.observation[rows]
        self._show()
        self.last_observation = self.observation
        if rows.size:
            self.last_observation = self._kept
            self._kept[:] = self.observation
            self._kept[rows] = seen_last
            truncated[rows] = self._ran_out_of_time(rows)
            self._elapsed[rows] = 0
        return reward, ended & ~truncated, truncated

    def get_state(self) -> dict[str, Any]:
        """Returns the games as the package saves them, about 40 kB each, and the length of their episodes."""
        return {
            "id": self.id,
            "elapsed": self._elapsed.copy(),
            "games": [np.frombuffer(game, np.uint8).copy() for game in self._games.get_state()],
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned.

        Raises:
          EnvError: it is of another game.
        """
        check_id(self.id, state)
        self._games.set_state([game.tobytes() for game in state["games"]])
        self._elapsed[:] = state["elapsed"]
        self._untouched = False
        self._show()

    def render(self) -> Array:
        """Draws the first game, `[512, 512, 3]` if it was made for drawing, else as small as it is observed."""
        if self._draw:
            return np.asarray(self._games.get_info()[0]["rgb"])
        return np.ascontiguousarray(self.observation[0].transpose(1, 2, 0))

    def close(self) -> None:
        """Frees the games."""
        self._games.close()

    def _act(self, action_E: Array) -> None:
        self._untouched = False
        self._games.act(action_E)

    def _show(self) -> None:
        for pixels, planes in zip(self._pixels, self._planes, strict=True):
            cv2.split(pixels, planes)  # thrice as fast as numpy's transpose

    def _ran_out_of_time(self, rows: Array) -> Array:
        at_limit: Array = self._elapsed[rows] == self._time_limit
        if at_limit.any():
            info = self._games.get_info()
            at_limit &= [not info[row]["prev_level_complete"] for row in rows.tolist()]
        return at_limit


def _open(config: ProcGenConfig, game: str, seeds: Sequence[int], draw: bool) -> Any:
    """Makes the games; each is given the state of one that was made alone, so that neighbours change nothing."""
    options: dict[str, Any] = {
        "env_name": game,
        "distribution_mode": config.distribution_mode,
        "num_threads": 0,
        "render_mode": "rgb_array" if draw else None,
        **_levels(config, game),
    }
    make = _package().ProcgenGym3Env
    seeds = [seed % _LEVELS for seed in seeds]
    if len(seeds) == 1:
        return _without_copies(make(num=1, rand_seed=seeds[0], **options))
    states = []
    for seed in seeds:
        single = make(num=1, rand_seed=seed, **options)
        states += single.get_state()
        single.close()
    games = make(num=len(seeds), rand_seed=0, **options)
    games.set_state(states)
    return _without_copies(games)


def _without_copies(games: Any) -> Any:
    games._reuse_arrays = True  # gym3's option, which ProcGen does not hand on: a tenth of the time of a step
    return games


def _package() -> Any:
    with contextlib.redirect_stderr(io.StringIO()):  # old gym, which comes with it, announces its end when imported
        import procgen  # noqa: PLC0415 - optional
    return procgen


def _levels(config: ProcGenConfig, game: str) -> dict[str, int]:
    """Returns the options that choose levels; the package itself aborts the process over wrong ones."""
    mode, number, start = config.distribution_mode, config.num_levels, config.start_level
    if game not in MODE_GAMES[mode]:
        raise EnvError(
            f"env.distribution_mode = '{mode}' with '{config.id}'; only {', '.join(MODE_GAMES[mode])} have that mode. "
            "Choose one of them, or easy or hard."
        )
    if mode == "exploration":
        if number or start:
            raise EnvError(
                f"env.num_levels = {number} and env.start_level = {start} with env.distribution_mode = 'exploration', "
                "which is one fixed level. Leave them out."
            )
        return {}
    if number < 0 or start < 0 or start + number > _LEVELS:
        raise EnvError(
            f"env.start_level = {start} and env.num_levels = {number}; levels are numbered from 0 to {_LEVELS - 1}. "
            "Give a start from 0 on and a number, 0 for all levels."
        )
    if start and not number:
        raise EnvError(
            f"env.start_level = {start} with env.num_levels = 0, which plays all levels from 0 on. Give a number."
        )
    return {"num_levels": number, "start_level": start}


def _ids() -> list[str]:
    return [name for game in GAMES for name in (f"procgen-{game}", f"procgen-{game}-v0")]


def _make(config: ProcGenConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    games = ProcGenGames(config, [seed], draw=render_mode is not None)
    return limited(SimulatorEnv(games, seed, render_mode), config)


def _make_simulator(config: ProcGenConfig, seeds: Sequence[int]) -> Simulator | None:
    return None if config.max_episode_steps else ProcGenGames(config, seeds)  # all are reset at once or none


PROCGEN = Family(
    "ProcGen games",
    lambda name: game_of(name) is not None,
    _ids,
    _make,
    ProcGenConfig,
    _make_simulator,
    package="procgen",
    how_to_install="Install rlsys[procgen]",
)
