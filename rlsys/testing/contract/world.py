"""What play, planning, films and training in it rely on in a world model.

Shape legend: N copies, R rows of real history.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlsys.api import Saved, World, WorldContext, WorldState
from rlsys.config import EnvConfig
from rlsys.envs.make import make
from rlsys.envs.vector import BatchedEnv
from rlsys.planning.imagined import to_array, to_tensors
from rlsys.testing.processes import Process
from rlsys.testing.requirement import require
from rlsys.testing.training import Training
from rlsys.types import Array, ArraySpec, EnvSpec

_COPIES = 3
_CHOSEN = [2, 0, 0]
"""Copies that are gone on from: one of them twice, in another order."""
_STEPS = 5
_MORE_ROWS = 4
"""Of history than the fewest, where a model can be given more."""
_MOST_STEPS = 10_000
_SEED = 5
_RELATIVE, _SHARE = 1e-4, 0.99
"""Rows that are computed in another place of a batch are summed up in another order, by which the likeliest of two
colours may become the other."""

_REWARD, _OVER = ArraySpec((), "float32"), ArraySpec((), "bool")

Foretold = dict[str, Tensor]
"""What a step led to: "observation" and its parts, "reward", "terminated", and "state" with each of its names."""


@dataclass(frozen=True)
class History:
    """What has really happened in N episodes, and what is to be done next.

    Attributes:
      observation: `[N, R, *frame]`.
      action: `[N, R - 1, *action]`.
      next_actions: `[steps, N, *action]`.
    """

    observation: Array
    action: Array
    next_actions: Array

    def chosen(self, rows: Sequence[int]) -> "History":
        """Returns that of some of the episodes."""
        return History(self.observation[rows], self.action[rows], self.next_actions[:, rows])


def check_world(training: Training) -> None:
    """Requires of `make_world` a world whose state goes in and comes out: anywhere in an episode, often, and alike."""
    algorithm, (saved,) = training.algorithm, training.save()
    if algorithm.make_world is None:
        require("world" not in saved, "with a world that is saved comes `make_world`; there is none")
        return
    require("world" in saved, "with `make_world` a learner saves its 'world'; it saves none")
    spec = training.ranks[0].env.spec
    world, twin = (_make(training, saved["world"]) for _ in range(2))
    shapes = []
    for rows in sorted({world.min_context, min(world.min_context + _MORE_ROWS, world.max_context)}):
        history = _history(training.env_config, spec, rows)
        with Process(1):
            foretold = list(_play(world, spec, history))
        with Process(2):
            again = list(_play(twin, spec, history))
        require(_all_equal(foretold, again), "worlds foretell the same with equal generators; they differ")
        _check_apart(world, spec, history, foretold)
        _check_rows(world, spec, history)
        shapes.append({name: (part.shape, part.dtype) for name, part in foretold[0].items()})
    require(
        shapes[0] == shapes[-1],
        f"a state has the same names, shapes and types however long the history; they are {shapes[0]} and {shapes[-1]}",
    )


def _make(training: Training, saved: Saved) -> World:
    make_world, rank = training.algorithm.make_world, training.ranks[0]
    assert make_world is not None
    world = make_world(WorldContext(training.section, rank.env.spec, saved))
    require(
        1 <= world.min_context <= world.max_context,
        f"a world begins from at least one row, and at most as many as it says; it says {world.min_context} to "
        f"{world.max_context}",
    )
    return world


def _check_apart(world: World, spec: EnvSpec, history: History, alone: list[Foretold]) -> None:
    """Requires that a state goes on as it does alone, although another is stepped in turns with it."""
    others = _play(world, spec, history.chosen(list(reversed(range(_COPIES)))))
    mine = [foretold for foretold, _ in zip(_play(world, spec, history), others, strict=True)]
    require(
        _all_equal(mine, alone), "several states are alive at once in a world; stepping one of them has changed another"
    )


def _check_rows(world: World, spec: EnvSpec, history: History) -> None:
    """Requires that rows of a state go on as if they had been begun there."""
    chosen = history.chosen(_CHOSEN)
    whole = _begin(world, history)
    picked = {name: part[_CHOSEN] for name, part in whole.items()}
    ours, theirs = (list(_go_on(world, spec, state, chosen)) for state in (picked, _begin(world, chosen)))
    for one, other in zip(ours, theirs, strict=True):
        for name, part in one.items():
            is_close = torch.isclose(part.double(), other[name].double(), rtol=_RELATIVE, atol=_RELATIVE)
            require(
                is_close.double().mean().item() >= _SHARE,
                f"rows of a state can be chosen and repeated, and go on as if begun there; their {name} differs",
            )


def _play(world: World, spec: EnvSpec, history: History) -> Iterator[Foretold]:
    """Begins, and steps whenever the next is asked for."""
    return _go_on(world, spec, _begin(world, history), history)


def _begin(world: World, history: History) -> WorldState:
    given, kept = (
        [to_tensors(array, world.device) for array in (history.observation, history.action)] for _ in range(2)
    )
    state = world.begin(*given)
    found = {name: (tuple(part.shape), str(part.device)) for name, part in state.items()}
    require(
        all(len(part) == len(history.action) and part.device == given[1].device for part in state.values()),
        f"a state has tensors on the world's device, a row for each of {len(history.action)} copies; it has {found}",
    )
    require(
        all(_equal(_named(one), _named(other)) for one, other in zip(given, kept, strict=True)),
        "`begin` leaves the history as it is; it has written into it",
    )
    return state


def _go_on(world: World, spec: EnvSpec, state: WorldState, history: History) -> Iterator[Foretold]:
    """Yields what each of the next actions leads to; all that is random is drawn from one generator."""
    generator, specs = torch.Generator(world.device).manual_seed(_SEED), _specs(state)
    _check_array("`observe` returns", to_array(world.observe(state), spec.observation), spec.observation)
    for action in history.next_actions:
        before = {name: part.clone() for name, part in state.items()}
        after, step = world.step(state, to_tensors(action, world.device), generator)
        require(_equal(before, state), "`step` leaves the state that it is given as it is; it has written into it")
        require(
            _specs(after) == specs, f"a state keeps names, shapes and types, {specs}; it has become {_specs(after)}"
        )
        observation = world.observe(after)
        _check_array("`observe` returns", to_array(observation, spec.observation), spec.observation)
        _check_array("`step` returns rewards,", to_array(step.reward, _REWARD), _REWARD)
        _check_array("`step` returns whether episodes are over,", to_array(step.terminated, _OVER), _OVER)
        seen = {**_named(observation), "reward": step.reward, "terminated": step.terminated}
        yield {name: part.clone() for name, part in {**seen, **_named(after, "state ")}.items()}
        state = after


def _check_array(what: str, array: Array, spec: ArraySpec) -> None:
    expected = (_COPIES, *spec.shape)
    require(
        array.shape == expected and array.dtype == np.dtype(spec.dtype),
        f"{what} {spec.dtype} of shape {expected}; it is {array.dtype} of {array.shape}",
    )
    parts = [array[name] for name in array.dtype.names] if array.dtype.names else [array]
    require(all(bool(np.isfinite(part).all()) for part in parts), f"{what} finite numbers; some are not")


def _named(tensors: Any, prefix: str = "observation ") -> Foretold:
    """Returns a mapping of tensors with longer names, or one tensor as such a mapping."""
    named = tensors if isinstance(tensors, Mapping) else {"": tensors}
    return {f"{prefix}{name}".strip(): part for name, part in named.items()}


def _specs(state: WorldState) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (tuple(part.shape[1:]), str(part.dtype)) for name, part in state.items()}


def _equal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(part, theirs[name]) for name, part in ours.items())


def _all_equal(ours: Sequence[Foretold], theirs: Sequence[Foretold]) -> bool:
    return all(_equal(one, other) for one, other in zip(ours, theirs, strict=True))


def _history(config: EnvConfig, spec: EnvSpec, rows: int) -> History:
    """Returns so many rows of unbroken episodes, after their first ones, and actions to go on with."""
    env, space = BatchedEnv(config, range(_COPIES)), make(config, 0).action_space
    space.seed(0)

    def draw() -> Array:
        return np.array([space.sample() for _ in range(_COPIES)], spec.action.dtype)

    frames, actions = [_newest(env, spec)], list[Array]()
    for _ in range(_MOST_STEPS):
        if len(frames) == rows + 1:
            break
        action = draw()
        is_broken = env.step(action).first.any()
        frames, actions = ([], []) if is_broken else (frames, [*actions, action])
        frames.append(_newest(env, spec))
    env.close()
    require(len(frames) == rows + 1, f"episodes of the example are longer than a world's history, {rows} rows")
    done = np.stack(actions, axis=1)[:, 1:]
    return History(np.stack(frames[1:], axis=1), done, np.stack([draw() for _ in range(_STEPS)]))


def _newest(env: BatchedEnv, spec: EnvSpec) -> Array:
    return (env.observation[:, -1] if spec.num_stack > 1 else env.observation).copy()
