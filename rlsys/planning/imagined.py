"""A world model as a gymnasium vector environment, so that whatever acts in environments can act in imagination.

Shape legend: N copies, M beginnings, R rows of real history, K frames of a stack.
"""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from rlsys.api import World, WorldState
from rlsys.errors import EnvError
from rlsys.types import Array, ArraySpec, EnvSpec, Part

Begin = Callable[[np.random.Generator, int], tuple[Array, Array]]
"""(random generator, M) -> real history to begin from: frames `[M, R, *frame]` and actions `[M, R - 1, *action]`."""


def latest(frames: Array, count: int, axis: int = 0) -> Array:
    """Returns the last `count` frames along an axis, the oldest repeated in front where there are fewer."""
    missing = max(0, count - frames.shape[axis])
    last = np.take(frames, range(max(0, frames.shape[axis] - count), frames.shape[axis]), axis)
    return np.concatenate([np.repeat(np.take(last, [0], axis), missing, axis), last], axis) if missing else last


def to_tensors(array: Array, device: Any) -> Any:
    """Returns a copy of frames or actions as a world takes them: a tensor or, of named parts, one for each."""
    if array.dtype.names:
        return {name: to_tensors(array[name], device) for name in array.dtype.names}
    return torch.from_numpy(np.array(array, order="C")).to(device)


def to_array(observation: Any, spec: ArraySpec) -> Array:
    """Returns what a world shows as an array, structured where there are named parts."""
    if not isinstance(observation, Mapping):
        array: Array = observation.cpu().numpy()
        return array
    parts = {name: part.cpu().numpy() for name, part in observation.items()}
    joined = np.zeros((len(next(iter(parts.values()))), *spec.shape), spec.dtype)
    for name, part in parts.items():
        joined[name] = part
    return joined


class ImaginedEnv(VectorEnv):
    """N episodes in a world model that are stepped together.

    Nothing resets by itself (`AutoresetMode.DISABLED`): a copy whose episode is over stays where it ended, with rewards
    of 0, until `reset` begins it again. Observations of named parts are structured arrays, as everywhere here.
    """

    def __init__(
        self,
        world: World,
        spec: EnvSpec,
        num_envs: int = 1,
        *,
        begin: Begin | None = None,
        max_steps: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Makes spaces as a policy of the environment expects them.

        Args:
          world: the model; others may use it at the same time.
          spec: of the real environment; observations are stacked as it says.
          num_envs: N.
          begin: draws what episodes begin from, where a reset does not bring it along.
          max_steps: steps after which episodes are truncated; None never does it.
          seed: of all that is drawn: what episodes begin from, and what happens in them.
        """
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs = num_envs
        self.single_observation_space = _observation_space(spec)
        self.single_action_space = _action_space(spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._world = world
        self._spec = spec
        self._begin = begin
        self._max_steps = max_steps
        self._generator = torch.Generator(world.device)
        self._seed(seed)
        self._state: WorldState = {}
        self._steps = np.zeros(num_envs, np.int64)
        self._frames = np.zeros((num_envs, spec.num_stack, *spec.observation.shape), spec.observation.dtype)
        self._terminated = np.zeros(num_envs, np.bool_)
        self._truncated = np.ones(num_envs, np.bool_)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Begins episodes anew.

        Args:
          seed: of all that is drawn from here on.
          options: "reset_mask" `[N]`, which begin; by default all. "observation" `[M, R, *frame]` and "action"
            `[M, R - 1, *action]`: what they begin from, anywhere in an episode. Where M is less than the number of
            them, each beginning is that of several, which lie side by side.

        Raises:
          EnvError: there is nothing to begin from, or it has other shapes.
        """
        assert seed is None or isinstance(seed, int), "one generator draws for all copies"
        if seed is not None:
            self._seed(seed)
        options = options or {}
        (rows,) = np.nonzero(np.broadcast_to(options.get("reset_mask", True), self.num_envs))
        observation, action = self._history(options, len(rows))
        copies = self._check(observation, action, len(rows))
        self._place(rows, observation, action, copies)
        seen = latest(observation, self._spec.num_stack, axis=1)
        self._frames[rows] = np.repeat(seen, copies, axis=0)
        self._steps[rows], self._terminated[rows], self._truncated[rows] = 0, False, False
        return self._observation(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Predicts one step of each episode; those that are over stay as they are."""
        running = ~(self._terminated | self._truncated)
        assert running.any(), "all episodes are over: reset first"
        action = to_tensors(np.asarray(actions, self._spec.action.dtype), self._world.device)
        with torch.inference_mode():
            self._state, step = self._world.step(self._state, action, self._generator)
            frame = to_array(self._world.observe(self._state), self._spec.observation)
        moved = np.concatenate([self._frames[:, 1:], frame[:, None]], axis=1)
        self._frames[running] = moved[running]
        self._steps += running
        over = step.terminated.cpu().numpy()
        self._terminated |= running & over
        if self._max_steps is not None:
            self._truncated |= running & ~over & (self._steps >= self._max_steps)
        reward = np.where(running, step.reward.cpu().numpy(), 0.0).astype(np.float32)
        return self._observation(), reward, self._terminated.copy(), self._truncated.copy(), {}

    def _seed(self, seed: int | None) -> None:
        super().reset(seed=seed)
        self._generator.manual_seed(int(self.np_random.integers(2**63)))

    def _history(self, options: Mapping[str, Any], size: int) -> tuple[Array, Array]:
        if "observation" in options and "action" in options:
            return np.asarray(options["observation"]), np.asarray(options["action"])
        if self._begin is None:
            raise EnvError(
                "an imagined episode has nothing to begin from; reset takes options 'observation' and 'action'. "
                "Give both, or make the environment with begin=."
            )
        return self._begin(self.np_random, size)

    def _check(self, observation: Array, action: Array, size: int) -> int:
        """Returns how many episodes begin from each beginning."""
        fewest, most = self._world.min_context, self._world.max_context
        count, rows, *frame = observation.shape
        if not (
            count and size % count == 0 and fewest <= rows <= most and tuple(frame) == self._spec.observation.shape
        ):
            rows_said = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise EnvError(
                f"observation to begin from has shape {observation.shape}; this world model takes [M, R, "
                f"*{self._spec.observation.shape}] with R = {rows_said} and M that divides {size}. Correct it."
            )
        expected = (count, rows - 1, *self._spec.action.shape)
        if action.shape != expected:
            raise EnvError(
                f"action to begin from has shape {action.shape}; with {rows} rows this world model takes {expected}. "
                "Correct it."
            )
        return size // count

    def _place(self, rows: Array, observation: Array, action: Array, copies: int) -> None:
        """Puts some copies where they begin; each beginning is computed once."""
        device, dtype = self._world.device, self._spec.action.dtype
        with torch.inference_mode():
            begun = self._world.begin(to_tensors(observation, device), to_tensors(action.astype(dtype), device))
            chosen = {name: part.repeat_interleave(copies, dim=0) for name, part in begun.items()}
            if len(rows) < self.num_envs:
                index = torch.tensor(rows, device=device)
                chosen = {name: self._before(name, part).index_copy(0, index, part) for name, part in chosen.items()}
        self._state = chosen

    def _before(self, name: str, part: Tensor) -> Tensor:
        """Returns this part of the state of all copies, zeros where none has begun yet."""
        return self._state[name] if self._state else part.new_zeros((self.num_envs, *part.shape[1:]))

    def _observation(self) -> Array:
        return self._frames.copy() if self._spec.num_stack > 1 else self._frames[:, 0].copy()


def _observation_space(spec: EnvSpec) -> gymnasium.Space:
    stack = spec.policy_observation.shape[: 1 if spec.num_stack > 1 else 0]
    spaces = [(part.name, _part_space(part, stack)) for part in spec.parts]  # a list keeps the order
    return Dict(spaces) if spaces[0][0] else spaces[0][1]


def _part_space(part: Part, stack: tuple[int, ...]) -> gymnasium.Space:
    shape = stack + part.spec.shape
    if not part.choices:
        return _numbers(ArraySpec(shape, part.spec.dtype))
    if not shape:
        return Discrete(part.choices[0])
    counts = np.broadcast_to(np.reshape(part.choices, part.spec.shape), shape)
    return MultiDiscrete(counts, dtype=np.dtype(part.spec.dtype).type)


def _action_space(spec: EnvSpec) -> gymnasium.Space:
    if spec.num_actions:
        return Discrete(spec.num_actions)
    if spec.action_choices:
        return MultiDiscrete(np.reshape(spec.action_choices, spec.action.shape))
    if not spec.action_low:
        return _numbers(spec.action)
    low, high = (np.reshape(bounds, spec.action.shape) for bounds in (spec.action_low, spec.action_high))
    dtype = np.dtype(spec.action.dtype)
    return Box(low.astype(dtype), high.astype(dtype), spec.action.shape, dtype.type)


def _numbers(spec: ArraySpec) -> Box:
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return Box(-np.inf, np.inf, spec.shape, dtype.type)
    return Box(np.iinfo(dtype).min, np.iinfo(dtype).max, spec.shape, dtype.type)
