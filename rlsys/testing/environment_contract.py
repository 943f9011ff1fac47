"""The check that every environment must pass, with the wrappers that it can have.

Shape legend: E environments.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from rlsys.api.masks import split_mask
from rlsys.api.spaces import action_kind
from rlsys.config import EnvConfig
from rlsys.envs.make import make
from rlsys.envs.vector import BatchedEnv, StepResult
from rlsys.testing.requirement import ContractError, require
from rlsys.testing.saved import check_saved
from rlsys.types import Array, DType, EnvSpec

_SEEDS = (1, 2)
_EVALUATED_STEPS = 20


def check_environment(config: EnvConfig, num_steps: int = 200) -> None:
    """Requires of an environment what `rlsys.envs` promises.

    What comes out has the shapes and types of its spec and is finite; an ended episode begins again in the same step;
    equal seeds and actions give equal games; a snapshot continues identically where there are any; evaluation tells of
    rewards as training does; where it says which actions are legal, one always is; it can be drawn.

    Args:
      config: the environment.
      num_steps: random steps of two environments; enough for some episodes to end, if that is to be checked.

    Raises:
      ContractError: a sentence that names the environment, what it should have kept to, and what it did instead.
    """
    try:
        _check(config, num_steps)
    except ContractError as error:
        raise ContractError(f"'{config.id}' breaks the contract of environments: {error}") from error


def _check(config: EnvConfig, num_steps: int) -> None:
    env, twin = BatchedEnv(config, _SEEDS), BatchedEnv(config, _SEEDS)
    actions = _random_actions(config, env.num_environments, num_steps)
    _check_observation(env, env.observation)
    _check_spec(env.spec)
    for drawn in actions:
        action = _legal(env, drawn)
        before = env.observation.copy()
        result = env.step(action)
        _check_step(env, before, result)
        _check_same(env, result, twin, twin.step(action), "equal seeds and actions give equal games")
    _check_snapshot(config, env, actions)
    _check_evaluation(config, actions[:_EVALUATED_STEPS])
    _check_drawing(config)
    env.close()
    twin.close()


def _random_actions(config: EnvConfig, size: int, num_steps: int) -> Sequence[Array]:
    space = make(config, 0).action_space
    space.seed(0)
    return [np.stack([space.sample() for _ in range(size)]) for _ in range(num_steps)]


def _legal(env: BatchedEnv, action: Array) -> Array:
    """Returns actions with the next legal one in the place of each that is illegal."""
    _, mask_EA = split_mask(env.spec, env.observation)
    if mask_EA is None:
        return action
    require(bool(mask_EA.any(axis=1).all()), f"where a decision is made an action is legal; legal are {mask_EA}")
    order_EA = (action[:, None] + np.arange(env.spec.num_actions)) % env.spec.num_actions
    first_E = np.take_along_axis(mask_EA, order_EA, axis=1).argmax(axis=1)
    return np.asarray(order_EA[np.arange(len(action)), first_E])


def _check_observation(env: BatchedEnv, observation: Array) -> None:
    spec = env.spec.policy_observation
    _check_array("observations", observation, (env.num_environments, *spec.shape), spec.dtype)
    _check_choices(env, observation)


def _check_spec(spec: EnvSpec) -> None:
    names, fields = tuple(part.name for part in spec.parts), np.dtype(spec.observation.dtype).names
    require(names == (fields or ("",)), f"parts are the fields of the observation, {fields}; they are {names}")
    for part in spec.parts:
        frame = part.of(np.zeros(spec.observation.shape, spec.observation.dtype))
        _check_array(f"frames of part '{part.name}'", frame, part.spec.shape, part.spec.dtype)
        size = frame.size if part.choices else 0
        require(len(part.choices) == size, f"part '{part.name}' has choices for each integer; it has {part.choices}")
    size = int(np.prod(spec.action.shape))
    expected = {"discrete": (0, 0, 0), "choices": (size, 0, 0), "numbers": (0, size, size)}[action_kind(spec)]
    found = tuple(map(len, (spec.action_choices, spec.action_low, spec.action_high)))
    require(found == expected, f"actions have {expected} choices, least and greatest numbers; they have {found}")
    features = spec.observation.shape[-1:]
    for bound in (spec.observation_low, spec.observation_high):
        require(
            len(bound) in (0, 1, *features),
            f"observations are rescaled by no bound, by one, or by one per feature, {features}; it has {len(bound)}",
        )


def _check_step(env: BatchedEnv, before: Array, result: StepResult) -> None:
    size, spec = env.num_environments, env.spec
    _check_observation(env, result.observation)
    _check_observation(env, env.observation)
    _check_array("rewards", result.reward, (size,), "float32")
    _check_array("raw rewards", result.raw_reward, (size,), "float32")
    _check_array("ends", result.terminated, (size,), "bool")
    _check_array("time limits", result.truncated, (size,), "bool")
    _check_array("executed actions", result.action, (size, *spec.action.shape), spec.action.dtype)
    require(
        not np.any(result.terminated & result.truncated), "what terminated is not truncated, too; an episode is both"
    )
    goes_on = ~result.first
    require(
        np.array_equal(env.observation[goes_on], result.observation[goes_on]),
        "within an episode the next decision sees what the last step led to; it sees something else",
    )
    if spec.num_stack > 1:
        _check_stack(env, before, result)
    for game in result.games:
        require(bool(result.first[game.environment]), f"a game ends with an episode; {game} ended within one")
        require(
            game.length_frames == round(game.length_env_steps * spec.frames_per_step),
            f"a game's frames are its steps × {spec.frames_per_step}; of {game} they are not",
        )


def _check_stack(env: BatchedEnv, before: Array, result: StepResult) -> None:
    require(
        np.array_equal(result.observation[:, :-1], before[:, 1:]),
        "a step moves the stack by one frame; it holds other frames than before",
    )
    fresh = env.observation[result.first]
    require(
        np.array_equal(fresh, np.repeat(fresh[:, :1], env.spec.num_stack, axis=1)),
        "a stack begins with copies of the first frame; it begins with others",
    )


def _check_same(env: BatchedEnv, result: StepResult, other_env: BatchedEnv, other: StepResult, promise: str) -> None:
    pairs: dict[str, tuple[Any, Any]] = {
        name: (getattr(result, name), getattr(other, name))
        for name in ("observation", "reward", "raw_reward", "terminated", "truncated", "action", "games")
    }
    pairs["observation of the next decision"] = (env.observation, other_env.observation)
    for name, (ours, theirs) in pairs.items():
        require(np.array_equal(ours, theirs), f"{promise}; two differ in {name}")


def _check_snapshot(config: EnvConfig, env: BatchedEnv, actions: Sequence[Array]) -> None:
    copy = BatchedEnv(config, [seed + 100 for seed in range(env.num_environments)])
    saved = env.save()
    check_saved(saved, "an environment")
    continued = copy.load(saved)
    require(
        continued.shape == (env.num_environments,) and bool((continued == env.can_snapshot).all()),
        f"with can_snapshot = {env.can_snapshot} so many games go on; {continued} do",
    )
    if env.can_snapshot:
        promise = "a snapshot goes on as the environment that it is of"
        require(np.array_equal(copy.observation, env.observation), f"{promise}; it is not where that was")
        for drawn in actions:
            action = _legal(env, drawn)
            _check_same(env, env.step(action), copy, copy.step(action), promise)
    copy.close()


def _check_evaluation(config: EnvConfig, actions: Sequence[Array]) -> None:
    env = BatchedEnv(config, [0] * len(actions[0]), training=False)
    for drawn in actions:
        action = _legal(env, drawn)
        result = env.step(action)
        learned = np.sign(result.raw_reward) if config.clip_rewards else result.raw_reward
        require(
            np.array_equal(result.reward, learned),
            f"evaluation tells of rewards as they were learned from, {learned}; it tells of {result.reward}",
        )
        require(
            np.array_equal(result.action, action),
            f"evaluation executes what the policy chose, {action}; it executes {result.action}",
        )
        require(
            len(result.games) == result.first.sum(),
            f"evaluation plays whole games; {result.first.sum()} episodes have ended, and {len(result.games)} games",
        )
    env.close()


def _check_drawing(config: EnvConfig) -> None:
    env = make(config, 0, training=False, render_mode="rgb_array")
    env.reset()
    image: Any = env.render()
    require(
        isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3,
        f"it is drawn as `[H, W, 3]` uint8; `render` returns {getattr(image, 'dtype', type(image).__name__)} of shape "
        f"{np.shape(image)}",
    )
    env.close()  # type: ignore[no-untyped-call]


def _check_choices(env: BatchedEnv, observation: Array) -> None:
    for part in env.spec.parts:
        if part.choices:
            most = np.reshape(part.choices, part.spec.shape) - 1
            found = part.of(observation)
            require(
                bool(((found >= 0) & (found <= most)).all()),
                f"integers of part '{part.name}' are 0 to {most}; one is not: {found}",
            )


def _check_array(what: str, array: Array, shape: tuple[int, ...], dtype: DType) -> None:
    require(
        array.shape == shape and array.dtype == np.dtype(dtype),
        f"{what} are {dtype} of shape {shape}; they are {array.dtype} of {array.shape}",
    )
    for name in array.dtype.names or ("",):
        values = array[name] if name else array
        require(bool(np.isfinite(values).all()), f"{what} are finite; some are not")
