"""Acting by trying in a world model: each first action is followed by the policy, and the best beginning is done.

Tensor2Tensor's agent `planner`, of Kaiser et al. 2020, https://arxiv.org/abs/1903.00374. Here later rewards are
discounted more than earlier ones; there it is the other way round. Actions that are not one choice of a few cannot all
be tried: the policy's own is, and random ones beside it.

Shape legend: B environments, N rollouts of each, R rows of real history, the most that the model begins from.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rlsys.api import Decision, Policy, PolicyContext, World, WorldContext
from rlsys.errors import ConfigError
from rlsys.evaluation.agents.random_policy import RandomPolicy
from rlsys.types import Array, EnvSpec, State, Weights

FRAMES, ACTIONS, KNOWN = HISTORY = "planner/frames", "planner/actions", "planner/known"

Kind = Literal["rollouts", "cem", "icem", "mppi", "tree"]


@dataclass(frozen=True)
class Planning:
    """How it is tried.

    Attributes:
      rollouts: N. Of the policy: shared out evenly among discrete first actions; of others, each tries one. Of a
        planner: candidates of an iteration; of a tree: simulations.
      horizon: steps of each.
      discount: of rewards a step later.
      iterations: how often candidates are drawn.
      kind: by "rollouts" of the policy, or by a planner of `rlsys.planning.settings.PlannerConfig`, which needs none.
    """

    rollouts: int = 64
    horizon: int = 16
    discount: float = 0.99
    iterations: int = 4
    kind: Kind = "rollouts"


def planning_of(kind: Kind | None, rollouts: int | None, horizon: int | None) -> Planning | None:
    """Returns what was asked for, with the usual numbers for the rest; None if nothing was."""
    named: tuple[tuple[str, Any], ...] = (("kind", kind), ("rollouts", rollouts), ("horizon", horizon))
    asked = {name: value for name, value in named if value is not None}
    return Planning(**asked) if asked else None


@dataclass(frozen=True)
class MakePlanningPolicy:
    """Builds a policy that looks ahead from what a checkpoint holds; can be sent to other processes."""

    make_policy: Callable[[PolicyContext], Policy]
    make_world: Callable[[WorldContext], World]
    world: WorldContext
    planning: Planning
    value: str
    """The extra by which the policy tells what it expects from here on (`ValueSpec.extra`)."""

    def __call__(self, context: PolicyContext) -> Policy:
        """Builds the policy for a context; what happens in its model is drawn by the context's seed."""
        policy, world = self.make_policy(context), self.make_world(self.world)
        if self.planning.kind != "rollouts":
            from rlsys.evaluation.agents.sequence_policy import (
                SequencePolicy,
            )  # torch, which who only asks does not need

            return SequencePolicy(policy, world, context.env, self.planning, self.value, context.seed)
        return PlanningPolicy(policy, world, context.env, self.planning, self.value, context.seed)


class LookingAhead(Policy):
    """A policy that plans in a world model; its state remembers what the model begins from."""

    def __init__(self, policy: Policy, world: World, env: EnvSpec) -> None:
        """Takes the policy whose weights these are, and a model."""
        self._policy, self._world, self._env = policy, world, env

    def initial_state(self, batch_size: int) -> State:
        """Returns an empty history."""
        rows, env = self._world.max_context, self._env
        return {
            FRAMES: np.zeros((batch_size, rows, *env.observation.shape), env.observation.dtype),
            ACTIONS: np.zeros((batch_size, rows - 1, *env.action.shape), env.action.dtype),
            KNOWN: np.zeros(batch_size, np.int64),
        }

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """Remembers the action."""
        newest = np.asarray(action, self._env.action.dtype)[:, None]
        return {**state, ACTIONS: np.concatenate([state[ACTIONS], newest], axis=1)[:, 1:]}

    def set_weights(self, weights: Weights) -> None:
        """Gives them to the policy."""
        self._policy.set_weights(weights)

    def weights(self) -> Mapping[str, Array]:
        """Returns the policy's."""
        return self._policy.weights()

    def _with(self, observation: Array, state: State) -> dict[str, Array]:
        """Returns the history with what is seen now; the first frame of an episode stands for those before it."""
        newest = observation[:, -1] if self._env.num_stack > 1 else observation
        moved: Array = np.concatenate([state[FRAMES][:, 1:], newest[:, None]], axis=1)
        begins = state[KNOWN] == 0
        moved[begins] = newest[begins][:, None]
        return {FRAMES: moved, ACTIONS: state[ACTIONS], KNOWN: state[KNOWN] + 1}

    def _beginnings(self, history: State) -> list[tuple[Array, Array, Array]]:
        """Returns which environments begin together, `[B]` bool, as equally much is known of them; and from what."""
        fewest, most = self._world.min_context, self._world.max_context
        rows_B = np.clip(history[KNOWN], fewest, most)
        return [
            (chosen, history[FRAMES][chosen, most - rows :], history[ACTIONS][chosen, most - rows :])
            for rows in np.unique(rows_B)
            for chosen in [rows_B == rows]
        ]


class PlanningPolicy(LookingAhead):
    """It tries first actions, and lets the policy go on."""

    def __init__(
        self, policy: Policy, world: World, env: EnvSpec, planning: Planning, value: str, seed: int = 0
    ) -> None:
        """Takes a policy for what follows a first action, and a model.

        `value` is the extra by which the policy tells what it expects; one that does not tell it expects nothing.
        `seed` is of what happens in the model.

        Raises:
          ConfigError: there are more discrete actions than rollouts.
        """
        super().__init__(policy, world, env)
        if planning.rollouts < env.num_actions:
            raise ConfigError(
                f"rollouts = {planning.rollouts} with '{env.id}', which has {env.num_actions} actions; each must be "
                "tried. Raise it."
            )
        self._planning = planning
        self._value = value
        self._seed = seed
        self._imagine(num_environments=1)
        self._random = RandomPolicy(PolicyContext(None, env, seed))
        num_tried = env.num_actions or planning.rollouts
        self._tried_N = np.arange(planning.rollouts) * num_tried // planning.rollouts
        """Which of the first actions each rollout tries."""

    def initial_state(self, batch_size: int) -> State:
        """Returns the policy's own, and an empty history."""
        return {**self._policy.initial_state(batch_size), **super().initial_state(batch_size)}

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        """Chooses, for each environment, the first action of the rollouts with the highest mean.

        The extra of the policy's value is that mean.
        """
        decision = self._policy.act(observation, _own(state), explore=explore)
        history = self._with(observation, state)
        action, value = self._plan(history, decision)
        return Decision(action, {**decision.state, **history}, {self._value: value})

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        """Remembers the action, and tells the policy."""
        remembered = super().after_step(state, action, reward)
        return {**remembered, **self._policy.after_step(_own(state), action, reward)}

    def _imagine(self, num_environments: int) -> None:
        """Makes room for so many environments; they become fewer when episodes end."""
        from rlsys.planning.imagined import ImaginedEnv  # torch, which who only asks for options does not need

        self._num_environments, copies = num_environments, num_environments * self._planning.rollouts
        horizon = self._planning.horizon
        self._imagined = ImaginedEnv(self._world, self._env, copies, max_steps=horizon, seed=self._seed)

    def _begin(self, history: State) -> None:
        """Begins all rollouts where their environments are: together those of which equally much is known."""
        for chosen, frames, actions in self._beginnings(history):
            mask = np.repeat(chosen, self._planning.rollouts)
            self._imagined.reset(options={"reset_mask": mask, "observation": frames, "action": actions})

    def _first_actions(self, own: Array) -> Array:
        """Returns what rollouts begin with, `[B * N, *action]`, where the policy would do its `own`, `[B, *action]`."""
        size, rollouts = len(own), self._planning.rollouts
        if self._env.num_actions:
            return np.tile(self._tried_N, size)
        drawn = self._random.act(np.zeros(size * rollouts), {}, explore=True).action
        drawn[::rollouts] = own
        return drawn

    def _plan(self, history: State, decided: Decision) -> tuple[Array, Array]:
        """Returns the best first action of each environment, `[B, *action]`, and what it leads to, `[B]`."""
        size, planning = len(history[KNOWN]), self._planning
        if size != self._num_environments:
            self._imagine(size)
        self._begin(history)
        action = first = self._first_actions(decided.action)
        inner = {name: np.repeat(value, planning.rollouts, axis=0) for name, value in decided.state.items()}
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
        sums = np.stack([np.bincount(self._tried_N, row) for row in total.reshape(size, -1)])
        means = sums / np.bincount(self._tried_N)
        best = np.arange(size) * planning.rollouts + np.searchsorted(self._tried_N, means.argmax(axis=1))
        return first[best], means.max(axis=1).astype(np.float32)


def _own(state: State) -> State:
    """Returns what the policy itself remembers."""
    return {name: value for name, value in state.items() if name not in HISTORY}
