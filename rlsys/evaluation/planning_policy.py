"""Acting by trying in a world model: each first action is followed by the policy, and the best beginning is done.

Tensor2Tensor's agent `planner`, of Kaiser et al. 2020, https://arxiv.org/abs/1903.00374. Here later rewards are
discounted more than earlier ones; there it is the other way round.

Shape legend: B environments, N rollouts of each, R rows of real history that the model begins from.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from rlsys.api import Decision, Policy, PolicyContext, World, WorldContext
from rlsys.envs.imagined import ImaginedEnv
from rlsys.errors import ConfigError
from rlsys.types import Array, EnvSpec, State, Weights

_FRAMES, _ACTIONS, _KNOWN = _HISTORY = "planner/frames", "planner/actions", "planner/known"


@dataclass(frozen=True)
class Planning:
    """How it is tried.

    Attributes:
      rollouts: N, shared out evenly among the first actions.
      horizon: steps of each.
      discount: of rewards a step later.
    """

    rollouts: int = 64
    horizon: int = 16
    discount: float = 0.99


def planning_of(rollouts: int | None, horizon: int | None) -> Planning | None:
    """Returns what was asked for, with the usual numbers for the rest; None if nothing was."""
    asked = {name: value for name, value in (("rollouts", rollouts), ("horizon", horizon)) if value is not None}
    return Planning(**asked) if asked else None


@dataclass(frozen=True)
class MakePlanningPolicy:
    """Builds a `PlanningPolicy` from what a checkpoint holds; can be sent to other processes."""

    make_policy: Callable[[PolicyContext], Policy]
    make_world: Callable[[WorldContext], World]
    world: WorldContext
    planning: Planning
    value: str
    """The extra by which the policy tells what it expects from here on (`ValueSpec.extra`)."""

    def __call__(self, context: PolicyContext) -> Policy:
        """Builds the policy for a context; its model draws by the context's seed."""

        def make_world(num_environments: int) -> World:
            return self.make_world(replace(self.world, seed=context.seed, num_environments=num_environments))

        return PlanningPolicy(self.make_policy(context), make_world, context.env, self.planning, self.value)


class PlanningPolicy(Policy):
    """A policy that looks ahead in a world model; its state remembers what the model begins from."""

    def __init__(
        self, policy: Policy, make_world: Callable[[int], World], env: EnvSpec, planning: Planning, value: str
    ) -> None:
        """Takes a policy for what follows a first action, and what builds a model with so many copies.

        `value` is the extra by which the policy tells what it expects; one that does not tell it expects nothing.

        Raises:
          ConfigError: actions cannot be counted, or there are more of them than rollouts.
        """
        if not env.num_actions:
            raise ConfigError(
                f"agent = planner with '{env.id}', whose actions are continuous; it tries each of a few. "
                "Use agent policy."
            )
        if planning.rollouts < env.num_actions:
            raise ConfigError(
                f"rollouts = {planning.rollouts} with '{env.id}', which has {env.num_actions} actions; each must be "
                "tried. Raise it."
            )
        self._policy = policy
        self._make_world = make_world
        self._env = env
        self._planning = planning
        self._value = value
        self._imagine(num_environments=1)
        self._first_N = np.arange(planning.rollouts) * env.num_actions // planning.rollouts

    def initial_state(self, batch_size: int) -> State:
        """Returns the policy's own, and an empty history."""
        rows, env = self._num_context, self._env
        return {
            **self._policy.initial_state(batch_size),
            _FRAMES: np.zeros((batch_size, rows, *env.observation.shape), env.observation.dtype),
            _ACTIONS: np.zeros((batch_size, rows - 1), np.int64),
            _KNOWN: np.zeros(batch_size, np.bool_),
        }

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Chooses, for each environment, the first action of the rollouts with the highest mean.

        The extra of the policy's value is that mean.
        """
        decision = self._policy.act(observation, _own(state), explore=explore)
        frames = self._remembered(observation, state)
        action, value = self._plan(frames, state[_ACTIONS], decision.state)
        history = {_FRAMES: frames, _ACTIONS: state[_ACTIONS], _KNOWN: np.ones(len(observation), np.bool_)}
        return Decision(action, {**decision.state, **history}, {self._value: value})

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """Remembers the action."""
        actions = np.concatenate([state[_ACTIONS][:, 1:], np.asarray(action, np.int64)[:, None]], axis=1)
        return {**state, **self._policy.after_step(_own(state), action, reward), _ACTIONS: actions}

    def set_weights(self, weights: Weights) -> None:
        """Gives them to the policy."""
        self._policy.set_weights(weights)

    def weights(self) -> Mapping[str, Array]:
        """Returns the policy's."""
        return self._policy.weights()

    def _remembered(self, observation: Array, state: State) -> Array:
        """Returns `[B, R, *frame]`; at the beginning of an episode its first frame stands for those before."""
        newest = observation[:, -1] if self._env.num_stack > 1 else observation
        moved: Array = np.concatenate([state[_FRAMES][:, 1:], newest[:, None]], axis=1)
        begins = ~state[_KNOWN]
        moved[begins] = newest[begins][:, None]
        return moved

    def _imagine(self, num_environments: int) -> None:
        """Builds the model for so many environments; they become fewer when episodes end."""
        world = self._make_world(num_environments * self._planning.rollouts)
        self._num_environments, self._num_context = num_environments, world.num_context
        self._imagined = ImaginedEnv(world, self._env, max_steps=self._planning.horizon)

    def _plan(self, frames: Array, actions: Array, state: State) -> tuple[Array, Array]:
        """Returns the best first action of each environment, `[B]`, and what it leads to, `[B]`."""
        size, planning = len(frames), self._planning
        if size != self._num_environments:
            self._imagine(size)

        def copies(array: Array) -> Array:
            return np.repeat(array, planning.rollouts, axis=0)

        self._imagined.reset(options={"observation": copies(frames), "action": copies(actions)})
        action, inner = np.tile(self._first_N, size), {name: copies(value) for name, value in state.items()}
        total, weight = np.zeros(len(action)), np.ones(len(action))
        for _ in range(planning.horizon):
            observation, reward, terminated, _, _ = self._imagined.step(action)
            total += weight * reward
            weight = planning.discount * weight * ~terminated
            if not weight.any():
                break
            decision = self._policy.act(observation, self._policy.after_step(inner, action, reward), explore=False)
            inner, action = decision.state, decision.action
        if weight.any() and self._value in decision.extras:
            total += weight * decision.extras[self._value]
        sums = np.stack([np.bincount(self._first_N, row) for row in total.reshape(size, -1)])
        means = sums / np.bincount(self._first_N)
        return means.argmax(axis=1), means.max(axis=1).astype(np.float32)


def _own(state: State) -> State:
    """Returns what the policy itself remembers."""
    return {name: value for name, value in state.items() if name not in _HISTORY}
