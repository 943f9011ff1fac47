"""What play, planning and films rely on in a world model.

Shape legend: N copies, R rows of real history.
"""

import numpy as np

from rlsys.api import Saved, World, WorldContext
from rlsys.config import EnvConfig
from rlsys.envs.make import make
from rlsys.envs.vector import BatchedEnv
from rlsys.testing.processes import Process
from rlsys.testing.requirement import require
from rlsys.testing.training import Training
from rlsys.types import Array, DType, EnvSpec

_COPIES = 2
_STEPS = 5
_MOST_STEPS = 10_000


def check_world(training: Training) -> None:
    """Requires of `make_world` a world that begins where it is told, foretells frames, and is the same for a seed."""
    algorithm, (saved,) = training.algorithm, training.save()
    if algorithm.make_world is None:
        require("world" not in saved, "with a world that is saved comes `make_world`; there is none")
        return
    require("world" in saved, "with `make_world` a learner saves its 'world'; it saves none")
    spec, history = training.ranks[0].env.spec, None
    played: list[list[Array]] = []
    for process_seed in (1, 2):
        with Process(process_seed):
            world = _make(training, saved["world"])
            history = history or _history(training.env_config, spec, world.num_context)
            played.append([*_play(world, spec, *history), *_play(world, spec, *history)])
    require(
        all(np.array_equal(one, other) for one, other in zip(*played, strict=True)),
        "worlds of the same seed foretell the same; they differ",
    )


def _make(training: Training, saved: Saved) -> World:
    make_world, rank = training.algorithm.make_world, training.ranks[0]
    assert make_world is not None
    world = make_world(WorldContext(training.section, rank.env.spec, saved, seed=5, num_environments=_COPIES))
    require(
        world.num_environments == _COPIES and world.num_context >= 1,
        f"a world has the copies that are asked for and begins from some row; it has {world.num_environments} of "
        f"{_COPIES}, and begins from {world.num_context}",
    )
    return world


def _play(world: World, spec: EnvSpec, observation: Array, action: Array, next_actions: Array) -> list[Array]:
    """Begins and steps; returns all that was foretold."""
    given = observation.copy(), action.copy()
    frame = world.begin(*given)
    _check_array("`begin` returns", frame, spec.observation.shape, spec.observation.dtype)
    require(
        np.array_equal(frame, observation[:, -1]), "`begin` returns the last frames of the history; it returns others"
    )
    foretold = [frame.copy()]
    for next_action in next_actions:
        frame, reward, is_over = world.step(next_action.copy())
        _check_array("`step` returns frames,", frame, spec.observation.shape, spec.observation.dtype)
        _check_array("`step` returns rewards,", reward, (), "float32")
        _check_array("`step` returns whether episodes are over,", is_over, (), "bool")
        foretold += [frame.copy(), reward.copy(), is_over.copy()]
    require(
        np.array_equal(given[0], observation) and np.array_equal(given[1], action),
        "a world leaves the history as it is; it has written into it",
    )
    return foretold


def _check_array(what: str, array: Array, shape: tuple[int, ...], dtype: DType) -> None:
    expected = (_COPIES, *shape)
    require(
        array.shape == expected and array.dtype == np.dtype(dtype),
        f"{what} {dtype} of shape {expected}; it is {array.dtype} of {array.shape}",
    )
    require(bool(np.isfinite(array).all()), f"{what} finite numbers; some are not")


def _history(config: EnvConfig, spec: EnvSpec, num_context: int) -> tuple[Array, Array, Array]:
    """Returns `[N, R, *frame]` and `[N, R - 1, *action]` of unbroken episodes, and actions to go on with."""
    env, space = BatchedEnv(config, range(_COPIES)), make(config, 0).action_space
    space.seed(0)

    def draw() -> Array:
        return np.array([space.sample() for _ in range(_COPIES)], spec.action.dtype)

    frames, actions = [_newest(env, spec)], list[Array]()
    for _ in range(_MOST_STEPS):
        if len(frames) == num_context:
            break
        action = draw()
        is_broken = env.step(action).first.any()
        frames, actions = ([], []) if is_broken else (frames, [*actions, action])
        frames.append(_newest(env, spec))
    env.close()
    require(len(frames) == num_context, f"episodes of the example are as long as a world's history, {num_context} rows")
    done = np.stack(actions, axis=1) if actions else np.zeros((_COPIES, 0, *spec.action.shape), spec.action.dtype)
    return np.stack(frames, axis=1), done, np.stack([draw() for _ in range(_STEPS)])


def _newest(env: BatchedEnv, spec: EnvSpec) -> Array:
    return (env.observation[:, -1] if spec.num_stack > 1 else env.observation).copy()
