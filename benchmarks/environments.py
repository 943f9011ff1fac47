"""Environment steps per CPU-second on one thread: `BatchedEnv` beside the bare simulators that it stands on.

    OMP_NUM_THREADS=1 python benchmarks/environments.py [--only KIND] [--json FILE]

Actions are uniformly random and the same on both sides. `ratio` is what is left of the simulator's own rate when its
steps are checked, its episodes begun again, and its games counted. Bare Atari is the emulator with what the observation
needs (RAM; or the maximum of two screens, shrunk), bare ProcGen is gym3's `act` and `observe` on the same games. R2AC's
wrappers wait and press FIRE at the start of an episode, which the bare emulator does not: a tenth of all frames. The
Control Suite by pixels is beside the suite itself, which draws in full, all without a GPU (llvmpipe). Both sides take
turns, and each figure is the best of its turns: whatever else a machine does only takes time away.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import cv2
import gymnasium
import numpy as np
from rows import json_option, publish

from rlsys.config import EnvConfig
from rlsys.envs.families.atari import AtariConfig, AtariGame
from rlsys.envs.families.dm_control import ControlConfig
from rlsys.envs.make import make_simulator
from rlsys.envs.offscreen import Drawing
from rlsys.envs.vector import BatchedEnv

_COMMAND = "OMP_NUM_THREADS=1 python benchmarks/environments.py"
_MANY, _FEW = 64, 8
_TURNS, _SECONDS = 5, 0.4
_KINDS = ("games", "procgen", "atari", "control")
_SKIP = 4
_REPEAT = 8


@dataclass(frozen=True)
class Row:
    """One measurement in environment steps per CPU-second, and the rate of the bare simulator."""

    what: str
    environments: int
    steps_per_s: float
    bare: str
    bare_steps_per_s: float
    ratio: float


def _rate(work: Callable[[], None], steps: int) -> float:
    start, calls = time.process_time(), 0
    while (spent := time.process_time() - start) < _SECONDS:
        work()
        calls += 1
    return calls * steps / spent


def _compare(what: str, batch: BatchedEnv, bare: str, bare_work: Callable[[], None], bare_steps: int) -> Row:
    size = batch.num_environments
    actions = _actions(batch.spec.num_actions, size)
    turns = [(_rate(lambda: _step(batch, actions), size), _rate(bare_work, bare_steps)) for _ in range(_TURNS)]
    ours, theirs = (max(rates) for rates in zip(*turns, strict=True))
    batch.close()
    return Row(what, size, ours, bare, theirs, ours / theirs)


def _actions(num_actions: int, size: int) -> list[np.ndarray]:
    """Returns actions to be taken in turn, without end."""
    return list(np.random.default_rng(0).integers(0, num_actions, (997, size)))


def _step(batch: BatchedEnv, actions: list[np.ndarray]) -> None:
    batch.step(_next(actions))


def _next(actions: list[np.ndarray]) -> np.ndarray:
    action = actions.pop()
    actions.insert(0, action)
    return action


def _simulator(name: str) -> Row:
    simulator = make_simulator(EnvConfig(id=name), range(_MANY))
    assert simulator is not None
    simulator.reset()
    batch = BatchedEnv(EnvConfig(id=name), range(_MANY))
    actions = _actions(batch.spec.num_actions, _MANY)
    return _compare(name, batch, "its simulator", lambda: simulator.step(_next(actions)) and None, _MANY)


def _cartpole_by_gymnasium() -> Row:
    envs = gymnasium.make_vec("CartPole-v1", _MANY, vectorization_mode="sync")
    envs.reset(seed=0)
    actions = _actions(2, _MANY)
    batch = BatchedEnv(EnvConfig(id="CartPole-v1"), range(_MANY))
    return _compare("CartPole-v1", batch, "gymnasium, one by one", lambda: envs.step(_next(actions)) and None, _MANY)


def _procgen(game: str) -> Row:
    from procgen import ProcgenGym3Env  # noqa: PLC0415 - optional

    config = EnvConfig(id=f"procgen-{game}")
    batch, twin = BatchedEnv(config, range(_MANY)), BatchedEnv(config, range(_MANY))
    games = ProcgenGym3Env(_MANY, game, num_threads=0, rand_seed=0)
    games.set_state([state.tobytes() for state in twin.save()["simulator"]["games"]])
    actions = _actions(15, _MANY)

    def bare() -> None:
        games.act(_next(actions))
        games.observe()

    return _compare(config.id, batch, "gym3", bare, _MANY)


def _atari(what: str, config: EnvConfig, see: Callable[[AtariGame, list[np.ndarray]], None]) -> Row:
    batch = BatchedEnv(config, range(_FEW))
    game = AtariGame(0, "breakout", obs_type="ram", frameskip=1, repeat_action_probability=0.0)
    game.reset()
    ale, meanings = game.ale, game.ale.getMinimalActionSet()
    actions = _actions(4, 1)
    screens = [np.zeros((210, 160), np.uint8) for _ in range(2)]

    def bare() -> None:
        action = meanings[int(_next(actions)[0])]
        for _ in range(_SKIP - 1):
            ale.act(action)
        if config.id == "BreakoutNoFrameskip-v4":
            ale.getScreenGrayscale(screens[0])
        ale.act(action)
        see(game, screens)
        if ale.game_over():
            ale.reset_game()

    return _compare(what, batch, "ALE", bare, 1)


def _control(drawing: Drawing, size: int) -> Row:
    config = ControlConfig(
        id="dm_control/cartpole-swingup",
        observation="pixels",
        action_repeat=_REPEAT,
        frame_size=(size, size),
        drawing=drawing,
    )
    from dm_control import suite  # noqa: PLC0415 - optional, and it reads what is chosen when the other is made

    batch, actions = BatchedEnv(config, (0,)), np.random.default_rng(0).uniform(-1, 1, (997, 1, 1)).astype(np.float32)
    theirs, turn = suite.load("cartpole", "swingup"), itertools.cycle(actions)

    def bare() -> None:
        action = next(turn)[0]
        for _ in range(_REPEAT):
            theirs.step(action)
        theirs.physics.render(size, size, camera_id=0)

    rates = [(_rate(lambda: batch.step(next(turn)) and None, 1), _rate(bare, 1)) for _ in range(_TURNS)]
    ours, whole = (max(rate) for rate in zip(*rates, strict=True))
    batch.close()
    return Row(f"cartpole by {size}x{size} pixels, {drawing}", 1, ours, "dm_control", whole, ours / whole)


def _see_ram(game: AtariGame, screens: list[np.ndarray]) -> None:
    game.ale.getRAM()


def _see_pixels(game: AtariGame, screens: list[np.ndarray]) -> None:
    game.ale.getScreenGrayscale(screens[1])
    cv2.resize(np.maximum(*screens), (84, 84), interpolation=cv2.INTER_AREA)


def measure(only: str | None = None) -> list[Row]:
    """Measures each kind of environment, or one kind."""
    ram = AtariConfig(id="Breakout-ramNoFrameskip-v4", sticky_actions=_SKIP)
    pixels = AtariConfig(id="BreakoutNoFrameskip-v4", frame_size=(84, 84), frame_skip=_SKIP)
    usual = {"stack_states": 4, "episode_life": True, "noop_reset": True, "fire_reset": True, "clip_rewards": True}
    kinds: dict[str, Callable[[], list[Row]]] = {
        "games": lambda: [_simulator("CartPole-v1"), _cartpole_by_gymnasium(), _simulator("tmaze-20")],
        "procgen": lambda: [_procgen(game) for game in ("coinrun", "chaser", "maze", "starpilot")],
        "atari": lambda: [
            _atari("RAM Breakout, repeat 4", ram, _see_ram),
            _atari("pixel Breakout, skip 4, 84x84", pixels, _see_pixels),
            _atari("the same with R2AC's wrappers", pixels.model_copy(update=usual), _see_pixels),
        ],
        "control": lambda: [_control(drawing, size) for size in (64, 32) for drawing in get_args(Drawing)],
    }
    return [row for kind in ([only] if only else _KINDS) for row in kinds[kind]()]


def main() -> None:
    """Prints a line per row; `--json FILE` appends them as JSON lines, too."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=_KINDS)
    json_option(parser)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    command = f"{_COMMAND} --only {options.only}" if options.only else _COMMAND
    publish(options.json, measure(options.only), _line, command=command)


def _line(row: Row) -> str:
    return (
        f"{row.what:34} x {row.environments:2} {row.steps_per_s:>11,.0f} steps/s   "
        f"{row.bare:21} {row.bare_steps_per_s:>11,.0f}   ratio {row.ratio:6.2f}"
    )


if __name__ == "__main__":
    main()
