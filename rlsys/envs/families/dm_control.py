"""The DeepMind Control Suite: `dm_control/<domain>-<task>`, such as `dm_control/cheetah-run`.

    env.observation = state     `[n]` float32: all that the task tells, one after another
                      pixels    `[3, H, W]` uint8 of env.camera, env.frame_size high and wide
                      both      the task's own parts by their names ("position", "velocity", …) beside "pixels"

Acts with numbers within the bounds of the actuators. A decision is env.action_repeat steps of control with the same
action, whose rewards are summed and of which only the last is drawn; an episode has the task's time limit, 1,000 such
steps in most. Its end is a time limit, unless the task says with a discount of 0 that there is nothing more to come.

The physics draws nothing by itself: from state there need be no OpenGL. Pictures are drawn without a screen
(rlsys/envs/offscreen.py).

Tassa et al. 2018, https://arxiv.org/abs/1801.00690; Tunyasuvunakool et al. 2020, https://arxiv.org/abs/2006.12983.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from rlsys.config import EnvConfig
from rlsys.config.quantities import Index, Pixels, Repeats
from rlsys.envs import offscreen
from rlsys.envs.family import Family
from rlsys.envs.kwargs import check_kwargs, refused
from rlsys.envs.offscreen import Drawing
from rlsys.envs.snapshot import Restorable
from rlsys.envs.wrappers import Reset, Step, check_repeats, limited
from rlsys.errors import EnvError
from rlsys.types import Array

TASKS = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": ("balance", "balance_sparse", "swingup", "swingup_sparse", "three_poles", "two_poles"),
    "cheetah": ("run",),
    "dog": ("fetch", "run", "stand", "trot", "walk"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("swim", "upright"),
    "hopper": ("hop", "stand"),
    "humanoid": ("run", "run_pure_state", "stand", "walk"),
    "humanoid_CMU": ("run", "stand", "walk"),
    "lqr": ("lqr_2_1", "lqr_6_2"),
    "manipulator": ("bring_ball", "bring_peg", "insert_ball", "insert_peg"),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("escape", "fetch", "run", "walk"),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer15", "swimmer6"),
    "walker": ("run", "stand", "walk"),
}
"""Domain -> its tasks."""

_PREFIX = "dm_control/"
_PICTURE = (240, 320)
_OURS = ("random", "environment_kwargs")
_NOT_IN_SNAPSHOTS = ("bvh_", "flex_", "hfield_", "mesh_", "oct_", "skin_", "tex_")
"""Of a model, what is large and never changes."""
_BUILT_ANEW = frozenset({"quadruped-escape"})
"""Tasks that make a new terrain for each episode, of which the picture is somewhere else."""


class ControlConfig(EnvConfig):
    """A task, and what is seen of it."""

    observation: Literal["state", "pixels", "both"] = "state"
    """What the policy sees: the task's own numbers, pictures, or both as named parts."""
    action_repeat: Repeats = 1
    """Steps of control per decision with the same action; rewards are summed (PlaNet: 2 to 8, by task)."""
    camera: Index = 0
    """Which of the model's cameras draws."""
    frame_size: tuple[Pixels, Pixels] = (64, 64)
    """Height and width of pictures (PlaNet: 64 × 64)."""
    drawing: Drawing = "full"
    """How pictures are drawn: full, as by dm_control; flat, without shadows and reflections, an eighth of the work
    without a GPU; or coarse, with jagged edges, too, a tenth of it."""


def task_of(name: str) -> tuple[str, str] | None:
    """Returns domain and task that an id names, or None if it names none of the suite's."""
    domain, _, task = name.removeprefix(_PREFIX).partition("-")
    return (domain, task) if name.startswith(_PREFIX) and task in TASKS.get(domain, ()) else None


class ControlTask(gymnasium.Env, Restorable):
    """One task. What its physics, its model and its draws are can be saved."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - as gymnasium declares it

    def __init__(self, config: ControlConfig, seed: int, render_mode: str | None = None) -> None:
        found = task_of(config.id)
        assert found is not None, config.id
        self.render_mode = render_mode
        self.can_snapshot = "-".join(found) not in _BUILT_ANEW
        self._id = config.id
        self._task = _load(config, *found, seed)
        self._physics = self._task.physics
        self._repeat = config.action_repeat
        limit = self._task._step_limit
        self.max_steps = None if math.isinf(limit) else math.ceil(limit / self._repeat)
        self._camera = config.camera
        self._size = config.frame_size
        self._shows = config.observation
        self._flags = offscreen.scene_flags(config.drawing)
        self._cameras: dict[tuple[int, int], Any] = {}
        offscreen.simplify(self._physics.model, config.drawing)
        action = self._task.action_spec()
        self._low, self._high = action.minimum, action.maximum
        self.action_space = Box(self._low.astype(np.float32), self._high.astype(np.float32), dtype=np.float32)
        self.observation_space = self._space()
        self._model = {name: array.copy() for name, array in _parts_of(self._physics.model.ptr)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Begins an episode; a seed begins the draws anew."""
        super().reset(seed=seed)
        if seed is not None:
            self._task.task._random = np.random.RandomState(seed)
        return self._seen(self._task.reset().observation), {}

    def step(self, action: Any) -> Step:
        """Repeats the action, as long as the episode lasts."""
        action = np.clip(np.asarray(action, np.float64), self._low, self._high)
        total = 0.0
        for _ in range(self._repeat):
            time_step = self._task.step(action)
            total += float(time_step.reward)
            if time_step.last():
                break
        terminated = bool(time_step.last() and time_step.discount == 0.0)
        truncated = bool(time_step.last() and not terminated)
        return self._seen(time_step.observation), total, terminated, truncated, {}

    def render(self) -> Array:  # type: ignore[override]
        """Draws the task, `[H, W, 3]`."""
        return self._picture(*_PICTURE)

    def close(self) -> None:
        """Frees the physics, and what draws it."""
        self._task.close()

    def get_state(self) -> dict[str, Any]:
        """Returns the physics, what an episode has changed of the model, and the draws to come."""
        model = dict(_parts_of(self._physics.model.ptr))
        return {
            "id": self._id,
            "physics": self._physics_state(),
            "model": {
                name: array.copy() for name, array in model.items() if not np.array_equal(array, self._model[name])
            },
            "steps": self._task._step_count,
            "begins": self._task._reset_next_step,
            "random": self._task.task.random.get_state(legacy=False),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned.

        Raises:
          EnvError: it is of another task.
        """
        if state["id"] != self._id:
            raise EnvError(f"the snapshot is of '{state['id']}'; this is '{self._id}'. Load it into the same task.")
        for name, array in _parts_of(self._physics.model.ptr):
            array[:] = state["model"].get(name, self._model[name])
        self._set_physics_state(state["physics"])
        self._physics.forward()  # positions and forces follow from the state,
        self._set_physics_state(state["physics"])  # which holds where the solver begins, too: that has moved
        self._task._step_count = state["steps"]
        self._task._reset_next_step = state["begins"]
        self._task.task.random.set_state(state["random"])

    def _physics_state(self) -> Array:
        import mujoco  # noqa: PLC0415 - optional

        model, data = self._physics.model.ptr, self._physics.data.ptr
        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(model, kind))
        mujoco.mj_getState(model, data, state, kind)
        return state

    def _set_physics_state(self, state: Array) -> None:
        import mujoco  # noqa: PLC0415 - optional

        kind = mujoco.mjtState.mjSTATE_INTEGRATION
        mujoco.mj_setState(self._physics.model.ptr, self._physics.data.ptr, np.array(state), kind)

    def _space(self) -> gymnasium.Space:
        picture = Box(0, 255, (3, *self._size), np.uint8)
        if self._shows == "pixels":
            return picture
        shapes = {name: part.shape or (1,) for name, part in self._task.observation_spec().items()}
        if self._shows == "state":
            return _numbers((sum(math.prod(shape) for shape in shapes.values()),))
        return Dict({**{name: _numbers(shape) for name, shape in shapes.items()}, "pixels": picture})

    def _seen(self, parts: Mapping[str, Any]) -> Any:
        """Returns an observation of what the task tells."""
        if self._shows == "state":
            return np.concatenate([np.ravel(part) for part in parts.values()], dtype=np.float32)
        picture = np.ascontiguousarray(self._picture(*self._size).transpose(2, 0, 1))
        if self._shows == "pixels":
            return picture
        return {**{name: np.atleast_1d(part).astype(np.float32) for name, part in parts.items()}, "pixels": picture}

    def _picture(self, height: int, width: int) -> Array:
        """Draws; a camera is kept for each size, for to make one takes as long as to draw what is flat."""
        if (height, width) not in self._cameras:
            from dm_control.mujoco import Camera  # noqa: PLC0415 - optional

            self._cameras[height, width] = Camera(self._physics, height, width, self._camera)
        return np.array(self._cameras[height, width].render(render_flag_overrides=dict(self._flags)))


def _numbers(shape: tuple[int, ...]) -> Box:
    return Box(-np.inf, np.inf, shape, np.float32)


def _parts_of(model: Any) -> Iterator[tuple[str, Array]]:
    """Yields name and array of all that an episode may change of a model: where goals are, how large, how stiff."""
    for name in dir(model):
        if not name.startswith(("_", *_NOT_IN_SNAPSHOTS)):
            array = getattr(model, name)
            if isinstance(array, np.ndarray) and array.dtype.kind == "f":
                yield name, array


def _load(config: ControlConfig, domain: str, task: str, seed: int) -> Any:
    """Builds one task of the suite."""
    offscreen.choose()
    if config.observation != "state":
        offscreen.check(config.id, config.observation)
    try:
        from dm_control import suite  # noqa: PLC0415 - optional, and it reads what was chosen
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".:")
        raise EnvError(
            f"'{config.id}' cannot be made: dm_control does not start with {offscreen.chosen()}, "
            f"{reason}. Set it to egl, osmesa, or disable to draw nothing."
        ) from error
    check_kwargs(config, suite._DOMAINS[domain].SUITE[task], _OURS)
    try:
        loaded = suite.load(domain, task, task_kwargs={**config.kwargs, "random": seed})
    except Exception as error:
        if config.kwargs:
            raise refused(config, error) from error
        raise
    num_cameras = loaded.physics.model.ncam
    if config.camera >= num_cameras:
        raise EnvError(
            f"env.camera = {config.camera} with '{config.id}', which has {num_cameras}. Give one from 0 to "
            f"{num_cameras - 1}."
        )
    return loaded


def _make(config: ControlConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    check_repeats(config, "action_repeat", config.action_repeat)
    if render_mode is not None and not offscreen.choose():
        raise EnvError(f"'{config.id}' cannot be drawn with {offscreen.chosen()}. Install libegl1 or libosmesa6.")
    return limited(ControlTask(config, seed, render_mode), config, config.action_repeat)


CONTROL = Family(
    "dm_control tasks",
    lambda name: task_of(name) is not None,
    lambda: [f"{_PREFIX}{domain}-{task}" for domain, tasks in TASKS.items() for task in tasks],
    _make,
    ControlConfig,
    takes_kwargs=True,
    package="dm_control",
    how_to_install="Install rlsys[control]",
)
