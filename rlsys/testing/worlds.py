"""A game of pictures, a world model of it that goes wrong when it is told to, and an algorithm that has both.

In `rlsys/Dot-v0` a bright dot moves over a dark field. The model knows the rules, so that it is right for as long as it
should be: whatever plays in it, or shows it, can be checked against the real game. A second model knows nothing, but it
remembers, which the first need not.

Shape legend: N copies, H rows, W columns.
"""

import math
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from rlsys.api import (
    Algorithm,
    Decision,
    Learner,
    LearnerContext,
    Policy,
    PolicyContext,
    Replay,
    Saved,
    Segments,
    TableSpec,
    WorldContext,
    WorldState,
    WorldStep,
)
from rlsys.api.world import Observation
from rlsys.config import Section
from rlsys.config.quantities import Steps
from rlsys.envs.wrappers import Reset, Step
from rlsys.testing.algorithm import undiscounted
from rlsys.types import Array, EnvSpec, Part, State, Weights

HEIGHT, WIDTH = 30, 40
ACTIONS = ("NOOP", "FIRE", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "DOWNLEFT", "UPFIRE")
"""What the actions of `rlsys/Dot-v0` are called: no DOWNRIGHT, for instance."""

_DARK, _DOT, _SHINING = 40, 200, 250
_STEPS = {"UP": (-1, 0), "DOWN": (1, 0), "LEFT": (0, -1), "RIGHT": (0, 1)}
_MOVES = np.array([sum(np.array(step) * (word in name) for word, step in _STEPS.items()) for name in ACTIONS])
_SHINES = np.array(["FIRE" in name for name in ACTIONS])


def draw_dots(position: Array, brightness: Array) -> Array:
    """Returns `[N, H, W]` uint8, a field for each position `[N, 2]` of a dot and its brightness `[N]`."""
    fields = np.full((len(position), HEIGHT, WIDTH), _DARK, np.uint8)
    fields[np.arange(len(position)), position[:, 0], position[:, 1]] = brightness
    return fields


def move_dots(position: Array, action: Array) -> tuple[Array, Array, Array]:
    """Returns where dots, `[N, 2]`, are after actions `[N]`, how brightly they shine, and their rewards, both `[N]`.

    A dot is rewarded with its step to the right, at the edges there is none; FIRE makes it shine for a step.
    """
    moved = np.clip(position + _MOVES[action], 0, [HEIGHT - 1, WIDTH - 1])
    reward = (moved[:, 1] - position[:, 1]).astype(np.float32)
    return moved, np.where(_SHINES[action], _SHINING, _DOT), reward


class DotEnv(gymnasium.Env):
    """`rlsys/Dot-v0`: observes the field, `[30, 40]` uint8. An episode terminates when the dot is at the right edge."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - as gymnasium declares it
    action_space = Discrete(len(ACTIONS))
    observation_space = Box(0, 255, (HEIGHT, WIDTH), np.uint8)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._position = np.zeros((1, 2), np.int64)
        self._field = np.zeros((HEIGHT, WIDTH), np.uint8)

    def get_action_meanings(self) -> tuple[str, ...]:
        """Returns a word per action."""
        return ACTIONS

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Puts the dot somewhere on the left half."""
        super().reset(seed=seed)
        self._position = self.np_random.integers(0, [[HEIGHT, WIDTH // 2]])
        self._field = draw_dots(self._position, np.array([_DOT]))[0]
        return self._field.copy(), {}

    def step(self, action: Any) -> Step:
        """Moves the dot."""
        self._position, brightness, reward = move_dots(self._position, np.array([action]))
        self._field = draw_dots(self._position, brightness)[0]
        at_edge = bool(self._position[0, 1] == WIDTH - 1)
        return self._field.copy(), float(reward[0]), at_edge, False, {}

    def render(self) -> Array:  # type: ignore[override]
        """Draws the field."""
        return self._field[..., None].repeat(3, axis=2)


class DotWorld:
    """A model of `rlsys/Dot-v0` that reads the dot from the last frame; see `World`.

    Its state is the `field`, where the dot is, and how many steps it has made.
    """

    device = torch.device("cpu")

    def __init__(self, *, error_after: int = 1_000_000, min_context: int = 4, max_context: int | None = None) -> None:
        """Makes a model.

        Args:
          error_after: steps after which each frame is brighter, and each reward larger, than in the game.
          min_context: the fewest frames that it begins from; only the last matters, but it checks that the actions fit.
          max_context: the most; None: as many.
        """
        self.min_context, self.max_context = min_context, max_context or min_context
        self._error_after = error_after

    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        """See `World`; asserts that the actions lead from each frame to the next."""
        size, rows, *frame = observation.shape
        assert self.min_context <= rows <= self.max_context and action.shape == (size, rows - 1), observation.shape
        assert frame == [HEIGHT, WIDTH] and observation.dtype == torch.uint8, (frame, observation.dtype)
        assert action.dtype == torch.int64, action.dtype
        field, done = observation.numpy(), action.numpy()
        for row in range(rows - 1):
            moved, brightness, _ = move_dots(_find_dots(field[:, row]), done[:, row])
            assert np.array_equal(draw_dots(moved, brightness), field[:, row + 1]), row
        position = torch.from_numpy(_find_dots(field[:, -1]))
        return {
            "field": observation[:, -1].clone(),
            "position": position,
            "steps": torch.zeros(size, dtype=torch.int64),
        }

    def step(
        self, state: WorldState, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[WorldState, WorldStep]:
        """See `World`."""
        position, brightness, reward = move_dots(state["position"].numpy(), action.numpy())
        field, steps = draw_dots(position, brightness), state["steps"] + 1
        errs = (steps > self._error_after).numpy()
        field[errs] += np.uint8(5)
        field[errs, 0] += np.uint8(60)  # the top row, by which it is seen
        after = {"field": torch.from_numpy(field), "position": torch.from_numpy(position), "steps": steps}
        reward = (reward + 0.5 * errs).astype(np.float32)
        return after, WorldStep(torch.from_numpy(reward), torch.from_numpy(position[:, 1] == WIDTH - 1))

    def observe(self, state: WorldState) -> Tensor:
        """See `World`."""
        field: Tensor = state["field"]
        return field


class RecurrentWorld:
    """A model of any environment with weights that nobody trained; see `World`.

    Its state is what it remembers of all frames and actions, so that one frame does not say where it is. What it
    remembers is disturbed by noise; any actions are taken, choices as numbers.
    """

    device = torch.device("cpu")
    min_context, max_context = 1, 6
    _UNITS = 16

    def __init__(self, env: EnvSpec, seed: int = 0) -> None:
        """Draws weights for an environment."""
        generator = torch.Generator().manual_seed(seed)
        self._parts = env.parts
        self._sizes = [math.prod(part.spec.shape) for part in env.parts]
        seen, done = sum(self._sizes), math.prod(env.action.shape)
        self._reads, self._obeys, self._keeps, self._shows = (
            torch.randn(shape, generator=generator) / shape[0] ** 0.5
            for shape in ((seen, self._UNITS), (done, self._UNITS), (self._UNITS,) * 2, (self._UNITS, seen))
        )

    def begin(self, observation: Observation, action: Tensor) -> WorldState:
        """See `World`; the longer the history, the more of it is remembered."""
        rows = self._read(observation).unbind(1)
        memory = torch.tanh(rows[0])
        for row, done in zip(rows[1:], action.unbind(1), strict=True):
            memory = torch.tanh(row + self._after(memory, done))
        return {"memory": memory}

    def step(
        self, state: WorldState, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[WorldState, WorldStep]:
        """See `World`; few episodes end."""
        noise = 0.1 * torch.randn(state["memory"].shape, generator=generator)
        memory = torch.tanh(self._after(state["memory"], action) + noise)
        return {"memory": memory}, WorldStep(memory.mean(dim=1), memory[:, 0] > 0.99)

    def observe(self, state: WorldState) -> Observation:
        """See `World`."""
        numbers = (state["memory"] @ self._shows).split(self._sizes, dim=1)
        shown = {part.name: _shown(part, share) for part, share in zip(self._parts, numbers, strict=True)}
        return shown.get("", shown)

    def _read(self, observation: Observation) -> Tensor:
        """Returns what `[N, R, *frame]` say, `[N, R, units]`."""
        found = [(part, observation[part.name] if part.name else observation) for part in self._parts]
        numbers = [array.reshape(*array.shape[:2], -1).float() / _greatest(part).clamp_min(1) for part, array in found]
        read: Tensor = torch.cat(numbers, dim=2) @ self._reads
        return read

    def _after(self, memory: Tensor, action: Tensor) -> Tensor:
        after: Tensor = memory @ self._keeps + action.reshape(len(action), -1).float() @ self._obeys
        return after


def _greatest(part: Part) -> Tensor:
    """Returns the greatest number that each of a part's can be, 1 where there is none."""
    if part.choices:
        return torch.tensor(part.choices) - 1
    return torch.tensor(255 if part.spec.dtype == "uint8" else 1)


def _shown(part: Part, numbers: Tensor) -> Tensor:
    """Returns frames of a part for any numbers, `[N, size]`."""
    dtype = np.dtype(part.spec.dtype)
    if dtype.kind in "iu":
        numbers = (torch.sigmoid(numbers) * _greatest(part)).round()
    return numbers.reshape(len(numbers), *part.spec.shape).to(torch.from_numpy(np.zeros(0, dtype)).dtype)


def _find_dots(field: Array) -> Array:
    return np.stack(np.unravel_index(field.reshape(len(field), -1).argmax(axis=1), (HEIGHT, WIDTH)), axis=1)


_BATCH_SIZE = 4


class DotsConfig(Section):
    """Settings of the algorithm below."""

    error_after: Steps = 1_000_000
    """Steps after which its world model goes wrong."""


class RightPolicy(Policy):
    """Goes to the right, and checks that it sees an unbroken run of frames."""

    def __init__(self, context: PolicyContext) -> None:
        self._shape = context.env.policy_observation.shape
        self._weights: Mapping[str, Array] = {}

    def initial_state(self, batch_size: int) -> State:
        """Remembers its last reward, none at first."""
        return {"reward": np.zeros(batch_size, np.float32)}

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Goes to the right."""
        assert observation.shape[1:] == self._shape, observation.shape
        value = np.zeros(len(observation), np.float32)
        return Decision(np.full(len(observation), ACTIONS.index("RIGHT"), np.int64), state, {"value": value})

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """Remembers the reward."""
        return {"reward": reward}

    def set_weights(self, weights: Weights) -> None:
        """Keeps them."""
        self._weights = weights.arrays

    def weights(self) -> Mapping[str, Array]:
        """See `Policy`."""
        return self._weights


class DotsLearner(Learner):
    """Counts its updates; what it saves of its world is when that goes wrong."""

    def __init__(self, context: LearnerContext) -> None:
        self._error_after: int = context.config.error_after
        self._batch_size = _BATCH_SIZE // context.num_ranks
        self._steps = 0
        self._begun_with = np.zeros(1, np.int64)

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Samples."""
        batch = replay.sample(self._batch_size, 2)
        self._steps += 1
        return {"loss/total": float(batch.reward.mean())}

    def weights(self) -> Mapping[str, Array]:
        """Returns the number of updates, with those of the run that it began from."""
        return {"steps": self._begun_with + self._steps}

    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Counts on; when its world goes wrong is a setting."""
        self._begun_with = weights["steps"].copy()

    def save(self) -> Saved:
        """Returns the counters, and the world."""
        world = {"error_after": np.array(self._error_after)}
        return {"steps": self._steps, "begun_with": self._begun_with, "world": world}

    def load(self, saved: Saved) -> None:
        """Takes over the counters."""
        self._steps, self._begun_with = saved["steps"], saved["begun_with"]


def make_dot_world(context: WorldContext) -> DotWorld:
    """Builds the model that a learner saved."""
    return DotWorld(error_after=int(context.saved["error_after"]))


def _cut(config: DotsConfig, env: EnvSpec) -> Segments:
    return Segments(length=20)


def _store(config: DotsConfig, env: EnvSpec) -> TableSpec:
    return TableSpec(max_size=1_000, sampler="uniform", min_size_to_sample=20, batch_size=_BATCH_SIZE)


def _check(config: DotsConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    pass


DOTS = Algorithm(
    name="dots",
    config_type=DotsConfig,
    make_policy=RightPolicy,
    make_learner=DotsLearner,
    cut=_cut,
    store=_store,
    check=_check,
    values=undiscounted,
    example_env={"id": "rlsys/Dot-v0"},
    make_world=make_dot_world,
)
"""The record; it is handed to the runtime directly, since it is no folder of rlsys/algorithms."""
