"""Atari games by RAM and by pixels, under the ids of ALE, gymnasium and old gym.

    Breakout-ramNoFrameskip-v4      the 128 bytes of RAM, every frame
    BreakoutNoFrameskip-v4          pixels: env.frame_skip frames per step, the maximum of the last two, shrunk
    Breakout[-ram]Deterministic-v4  skips 4 frames by itself (Space Invaders: 3)
    Breakout[-ram]-v4               skips 2 to 4 frames by itself, at random
    ALE/Breakout[-ram]-v5           skips 4 frames by itself

`-v0` differs from `-v4` in nothing here: under every id, `env.repeat_action_probability` alone decides how often the
emulator repeats its previous action (it is 0.25 in the original -v0 and -v5 ids). A game is truncated after
`env.max_episode_steps` frames, or 108,000, 30 minutes of play.

Machado et al. 2018, sections 4 and 5, https://arxiv.org/abs/1709.06009.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ale_py
import cv2
import gymnasium
import numpy as np
from ale_py import roms
from ale_py.env import AtariEnv
from gymnasium.spaces import Box
from gymnasium.wrappers import AtariPreprocessing, TransformObservation
from pydantic import Field

from rlsys.config import EnvConfig
from rlsys.config.quantities import Flag, Index, Pixels, Probability, Repeats
from rlsys.envs.family import Family, NoOps
from rlsys.envs.kwargs import check_kwargs, refused
from rlsys.envs.snapshot import Restorable
from rlsys.envs.wrappers import NOOP, EpisodeLife, FireReset, NoopReset
from rlsys.errors import EnvError
from rlsys.types import Array

_MAX_FRAMES = 108_000
_TWO_PLAYERS = frozenset({"combat", "joust", "maze_craze", "warlords"})
_RANDOM_SKIP = (2, 5)
_FIRE = "FIRE"


class AtariConfig(EnvConfig):
    """A game, how it begins and ends, and what is seen of it."""

    noop_reset: Flag = False
    """Begin each game with 0 to noop_max no-ops, uniformly."""
    noop_max: Repeats = 30
    """Most no-ops of noop_reset."""
    repeat_action_probability: Probability = Field(0.0, lt=1.0)
    """Chance that the emulator repeats its previous action (Machado et al. 2018 use 0.25)."""
    full_action_space: Flag = False
    """All 18 actions rather than the game's own."""
    episode_life: Flag = False
    """Losing a life (Pong: a point) terminates the episode for learning while the game goes on."""
    fire_reset: Flag = False
    """Press FIRE after a reset, in games that have it: some wait for it."""
    frame_size: tuple[Pixels, Pixels] = (96, 96)
    """By pixels: height and width to which frames are shrunk (area interpolation)."""
    crop: tuple[Index, Index, Index, Index] | None = None
    """By pixels: of the screen only rows from the first of these to before the second, and columns from the third to
    before the fourth, before they are shrunk; none is all of it, 210 × 160 in most games. (PlaNet's fork shows Breakout
    without its score: [17, 210, 0, 160].)"""
    grayscale: Flag = True
    """By pixels: one channel rather than three."""
    frame_skip: Repeats = 4
    """By pixels: frames per step with the same action, of which the last two are max-pooled."""


class AtariGame(AtariEnv, Restorable):
    """ALE's environment, seeded when it is built (loading the ROM again for a seed takes 80 ms), with snapshots.

    A `blind` one returns an empty picture: gymnasium's preprocessing reads the screen itself, after two frames of a
    step rather than after each. The emulator's previous action, which it may repeat, is in none of ALE's snapshots and
    cannot be read: so it is here that actions are repeated, frame by frame, as ALE does it.
    """

    def __init__(
        self, seed: int, game: str, *, repeat_action_probability: float, blind: bool = False, **options: Any
    ) -> None:
        self._seed = seed
        self._rom = game
        self._blind = blind
        self._repeat_probability = repeat_action_probability
        self._previous = NOOP
        self.max_frames: int | None = options.get("max_num_frames_per_episode")
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # before the first interface prints its banner
        super().__init__(game=game, repeat_action_probability=0.0, **options)
        assert isinstance(self.observation_space, Box)
        self._nothing = np.zeros(self.observation_space.shape, np.uint8)

    def seed_game(self, seed: int | None = None) -> tuple[int, int]:
        """Seeds emulator and generator; without a seed, with the one given at construction."""
        return super().seed_game(self._seed if seed is None else seed)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Begins a game, before which nothing was done."""
        self._previous = NOOP
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """Makes a step of as many frames as the id says; each may repeat the action of the frame before."""
        if not self._repeat_probability:
            return super().step(action)
        skip, reward = self._frameskip, 0.0
        for _ in range(skip if isinstance(skip, int) else int(self.np_random.integers(*skip))):
            if self.np_random.random() >= self._repeat_probability:
                self._previous = int(action)
            reward += self.ale.act(self._action_set[self._previous], 1.0)
        is_over, is_truncated = self.ale.game_over(with_truncation=False), self.ale.game_truncated()
        return self._get_obs(), reward, is_over, is_truncated, self._get_info()

    def _get_obs(self) -> Any:
        return self._nothing if self._blind else super()._get_obs()

    def count_lives(self) -> int:
        """Returns the lives that are left."""
        return self.ale.lives()

    def get_state(self) -> dict[str, Any]:
        """Returns the emulator with its random state; the game must not be over (reset first)."""
        if self.ale.game_over():
            raise EnvError(f"the game '{self._rom}' is over; only a running game can be saved. Reset it first.")
        emulator = self.ale.cloneState(include_rng=True).serialize()
        return {
            "game": self._rom,
            "emulator": np.frombuffer(emulator, np.uint8).copy(),
            "previous_action": self._previous,
            "np_random": self.np_random.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over a running game; the screen shows it after the next step."""
        if state["game"] != self._rom:
            raise EnvError(f"the snapshot is of '{state['game']}'; this is '{self._rom}'. Load it into the same game.")
        self.ale.restoreState(ale_py.ALEState(state["emulator"].tobytes()))
        self._previous = state["previous_action"]
        self.np_random.bit_generator.state = state["np_random"]


@dataclass(frozen=True)
class Variant:
    """What an id stands for.

    Attributes:
      rom: the game in ALE's snake case.
      ram: RAM rather than pixels.
      frame_skip: frames that the id skips by itself; a pair (low, high) draws from [low, high) at each step.
      without_skip: the id of the same game and observation that skips none.
    """

    rom: str
    ram: bool
    frame_skip: int | tuple[int, int]
    without_skip: str

    @property
    def mean_skip(self) -> int:
        """Frames per step, on average where they are drawn."""
        low, high = self.frame_skip if isinstance(self.frame_skip, tuple) else (self.frame_skip, self.frame_skip + 1)
        return (low + high - 1) // 2


@functools.cache
def variants() -> dict[str, Variant]:
    """Returns what each Atari id stands for."""
    table = {}
    for rom in sorted(set(roms.get_all_rom_ids()) - _TWO_PLAYERS):
        game = rom.title().replace("_", "")
        fixed_skip = 3 if rom == "space_invaders" else 4
        for ram, name in ((False, game), (True, f"{game}-ram")):
            variant = functools.partial(Variant, rom, ram, without_skip=f"{name}NoFrameskip-v4")
            table[f"ALE/{name}-v5"] = variant(4)
            for version in ("v0", "v4"):
                table[f"{name}-{version}"] = variant(_RANDOM_SKIP)
                table[f"{name}Deterministic-{version}"] = variant(fixed_skip)
                table[f"{name}NoFrameskip-{version}"] = variant(1)
    return table


def _wrap(config: AtariConfig, env: gymnasium.Env) -> gymnasium.Env:
    """Ends episodes with lives, and presses FIRE, where that is asked for."""
    game = env.unwrapped
    assert isinstance(game, AtariGame)
    if config.episode_life:
        env = EpisodeLife(env, count_lives=game.count_lives, lost_point_ends="Pong" in config.id)
    if config.fire_reset and _FIRE in game.get_action_meanings():  # it is the second of at least three
        env = FireReset(env)
    return env


def _noops_per_decision(config: AtariConfig) -> int:
    """Returns how many no-ops of `noop_max` last as long as one decision.

    Such a no-op is a step of the emulator: one frame under a NoFrameskip id, else as many as the id skips by itself.
    """
    return config.sticky_actions * (1 if variants()[config.id].ram else config.frame_skip)


def _most_noops(config: AtariConfig) -> float:
    return config.noop_max / _noops_per_decision(config) if config.noop_reset else 0.0


def _with_most_noops(config: AtariConfig, decisions: int) -> AtariConfig:
    """Returns games that begin after no-ops.

    Their number is drawn uniformly in the emulator's own steps, from 0 to those of `decisions`: with four frames per
    decision and a NoFrameskip id, 8 decisions are 0 to 32 frames.
    """
    if not decisions:
        return config.model_copy(update={"noop_reset": False})
    return config.model_copy(update={"noop_reset": True, "noop_max": decisions * _noops_per_decision(config)})


def _ids(*, ram: bool) -> list[str]:
    """Returns the ids that are suggested, ours first: none that skips a random number of frames by itself."""
    names = [name for name, variant in variants().items() if variant.ram == ram]
    ours = [name for name in names if name.endswith("NoFrameskip-v4")]
    return ours + [name for name in names if name.startswith("ALE/")]


def _knows(name: str, *, ram: bool) -> bool:
    variant = variants().get(name)
    return variant is not None and variant.ram == ram


def _make_ram(config: AtariConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    """Makes a game that shows its RAM: `[128]` uint8."""
    variant = variants()[config.id]
    _refuse_two_skips(config, variant, {"env.sticky_actions": config.sticky_actions})
    return _game(config, seed, variant, "ram", render_mode), variant.mean_skip


def _make_pixels(config: AtariConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    """Makes a game that shows its screen: `[H, W]` uint8, or `[3, H, W]` in colour."""
    variant = variants()[config.id]
    skips = {"env.frame_skip": config.frame_skip, "env.sticky_actions": config.sticky_actions}
    _refuse_two_skips(config, variant, skips)
    height, width = config.frame_size
    game = _game(config, seed, variant, "grayscale" if config.grayscale else "rgb", render_mode)
    rows, columns = _seen(config, game)
    env: gymnasium.Env = AtariPreprocessing(
        game,
        noop_max=0,  # gymnasium draws from {1, …, noop_max}: NoopReset does it
        frame_skip=config.frame_skip,
        screen_size=(width, height) if config.crop is None else _screen(game)[::-1],
        grayscale_obs=config.grayscale,
    )
    if config.crop is not None or not config.grayscale:
        space = Box(0, 255, (height, width) if config.grayscale else (3, height, width), np.uint8)
        env = TransformObservation(env, lambda screen: _frame(screen[rows, columns], height, width), space)
    return env, config.frame_skip * variant.mean_skip


def _screen(game: gymnasium.Env) -> tuple[int, int]:
    """Returns height and width of what the emulator draws."""
    assert game.observation_space.shape is not None
    height, width, *_ = game.observation_space.shape
    return height, width


def _seen(config: AtariConfig, game: gymnasium.Env) -> tuple[slice, slice]:
    """Returns the rows and columns of the screen that are seen."""
    if config.crop is None:
        return slice(None), slice(None)
    height, width = _screen(game)
    top, bottom, left, right = config.crop
    if not (top < bottom <= height and left < right <= width):
        raise EnvError(
            f"env.crop = {list(config.crop)} with '{config.id}', whose screen has {height} rows and {width} "
            f"columns. Give the first of each, and the last + 1; {[0, height, 0, width]} is all."
        )
    return slice(top, bottom), slice(left, right)


def _frame(screen: Array, height: int, width: int) -> Array:
    """Returns what is seen of a screen, `[H, W]` or `[3, H, W]`: shrunk as gymnasium does it, and colours first."""
    if screen.shape[:2] != (height, width):
        screen = cv2.resize(screen, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(screen if screen.ndim == 2 else screen.transpose(2, 0, 1))


def _game(config: AtariConfig, seed: int, variant: Variant, obs_type: str, render_mode: str | None) -> gymnasium.Env:
    check_kwargs(config, AtariEnv, _OURS)
    try:
        game: gymnasium.Env = AtariGame(
            seed,
            variant.rom,
            blind=not variant.ram,
            obs_type=obs_type,
            frameskip=variant.frame_skip,
            repeat_action_probability=config.repeat_action_probability,
            full_action_space=config.full_action_space,
            max_num_frames_per_episode=config.max_episode_steps or _MAX_FRAMES,
            render_mode=render_mode,
            **config.kwargs,
        )
    except (RuntimeError, TypeError) as error:
        if not config.kwargs:
            raise
        raise refused(config, error) from error
    return NoopReset(game, config.noop_max) if config.noop_reset else game


def _refuse_two_skips(config: AtariConfig, variant: Variant, settings: Mapping[str, int]) -> None:
    skips = {f"'{config.id}' by itself": variant.mean_skip, **settings}
    several = [f"{name} = {frames}" for name, frames in skips.items() if frames > 1]
    if len(several) > 1:
        way_out = f"Use '{variant.without_skip}'" if variant.mean_skip > 1 else "Set env.sticky_actions=1"
        raise EnvError(f"frames are skipped twice: {' and '.join(several)}; only one of them may skip. {way_out}.")


_OURS = (
    "game",
    "obs_type",
    "frameskip",
    "repeat_action_probability",
    "full_action_space",
    "max_num_frames_per_episode",
    "render_mode",
)
"""Arguments of ALE's environment for which there are settings, or which an id decides."""


def _family(make: Callable[[AtariConfig, int, str | None], tuple[gymnasium.Env, int]], *, ram: bool) -> Family:
    return Family(
        "Atari games",
        functools.partial(_knows, ram=ram),
        functools.partial(_ids, ram=ram),
        make,
        AtariConfig,
        wrap=_wrap,
        noops=NoOps(_most_noops, _with_most_noops),
        takes_kwargs=True,
    )


RAM = _family(_make_ram, ram=True)
PIXELS = _family(_make_pixels, ram=False)
