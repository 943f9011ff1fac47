"""What collects: E environments, the policy that plays them, and what is cut from that for replay.

    while not collector.rests:
        collected = collector.step()            # one decision in every environment
        …                                       # what that completed goes into replay
    collector.act_with(weights)                 # from the next step on

Rollout workers, the checks of an algorithm's contract and golden traces collect with it.

Shape legend: E environments.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from rlsys.actor import Actor
from rlsys.api import Cut, Decision, Policy, Saved, Turns
from rlsys.envs.step import StepResult
from rlsys.envs.vector import BatchedEnv
from rlsys.replay.turn import Turn
from rlsys.replay.writers import make_writer
from rlsys.types import Array, EnvSpec, Item, State, Weights


@dataclass(frozen=True)
class Collected:
    """What one step brought.

    Attributes:
      decision: of the policy.
      result: of the environments.
      completed: items that it completed, for replay.
    """

    decision: Decision
    result: StepResult
    completed: Sequence[Item]


class Collector:
    """Deterministic given its state: environments, policy, what is not yet shipped of each episode, and the turn.

    Attributes:
      env: the environments.
      policy: which plays them.
      actor: the same with what it remembers of their episodes.
      version: of the weights that act; -1 before the first.
      asked_turn: the newest turn that the learner is known to have asked for.
      turn: what was collected of it.
    """

    def __init__(
        self,
        env: BatchedEnv,
        policy: Policy,
        stored: EnvSpec,
        cut: Cut,
        turns: Turns | None,
        *,
        worker: int,
        incarnation: int,
        num_environments: int,
        timed: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Begins with what the environments show.

        Args:
          env: E environments.
          policy: of the algorithm, or one that decides elsewhere.
          stored: the environment as replay knows it.
          cut: how what is collected is cut.
          turns: how much is collected in one, if there are any.
          worker: index of the worker.
          incarnation: how often it has been restarted.
          num_environments: of all workers.
          timed: part of a step ("act", "env", "write") -> a context around it.
        """
        self.env, self.policy = env, policy
        self._size = len(env.observation)
        self.actor = Actor(policy, self._size)
        self.version = -1
        self.asked_turn = -1
        self.turn = Turn(turns, self._size, num_environments)
        self._writer = make_writer(cut, stored, worker, incarnation, self._size)
        self._stored = cut.extras.keys()
        self._timed = timed

    def act_with(self, weights: Weights) -> None:
        """Acts with these weights from the next step on."""
        self.policy.set_weights(weights)
        self.version, self.asked_turn = weights.version, weights.turn

    @property
    def rests(self) -> bool:
        """Whether it has collected its share of a turn, and was not given the weights of another one."""
        return self.turn.is_over(self.asked_turn)

    def step(self) -> Collected:
        """Makes one decision in every environment."""
        with self._timed("act"):
            before = self.actor.state
            decision = self.actor.decide(self.env.observation, explore=True)
        if decision.weights_version is not None:
            self.version = decision.weights_version
        with self._timed("env"):
            observation = self.env.observation.copy()
            result = self.env.step(decision.action)
        with self._timed("write"):
            after = self.actor.observe(result.action, result.reward, result.first)
            completed = self._write(observation, decision, result, before, after)
            self.turn.collected(completed, result.first, self.asked_turn)
        return Collected(decision, result, completed)

    def save(self) -> Saved:
        """Returns environments, policy and unfinished segments."""
        return {
            "env": self.env.save(),
            "policy": self.policy.save(),
            "state": dict(self.actor.state),
            "writer": self._writer.save(),
            "turn": self.turn.save(),
        }

    def load(self, saved: Saved) -> bool:
        """Goes on from `save`, once it is given weights; returns False where it was of something else.

        Where simulators cannot be restored new episodes begin, and unfinished ones are lost.
        """
        state = {name: np.shape(value) for name, value in saved["state"].items()}
        expected = {name: np.shape(value) for name, value in self.actor.state.items()}
        if saved["env"]["num_environments"] != self._size or state != expected:
            return False
        self.policy.load(saved["policy"])
        self.turn.load(saved["turn"])
        if self.env.load(saved["env"]).all():
            self._writer.load(saved["writer"])
            self.actor.state = {name: np.array(value) for name, value in saved["state"].items()}
        return True

    def _write(
        self, observation: Array, decision: Decision, result: StepResult, before: State, after: State
    ) -> Sequence[Item]:
        """Cuts what one step brought; the policy's state is that before the decision, and after the step."""
        next_observation = result.observation
        if decision.encoded is not None:
            observation = decision.encoded
            rows = self._writer.rows_that_look_ahead(result.truncated)
            next_observation = np.zeros_like(observation)
            if len(rows):
                next_observation[rows] = self.policy.encode(result.observation[rows])
        return self._writer.append_batch(
            observation=observation,
            action=result.action,
            reward=result.reward,
            terminated=result.terminated,
            truncated=result.truncated,
            extras={name: decision.extras[name] for name in self._stored & decision.extras.keys()},
            weights_version=self.version,
            next_observation=next_observation,
            state=before,
            priority=decision.priority,
            bootstrap_extras=self._bootstrap_extras(result, after),
            ships_all=self.turn.ends_with(result.first),
            turn=self.asked_turn,
        )

    def _bootstrap_extras(self, result: StepResult, state: State) -> dict[str, Array] | None:
        """Asks the policy about the last observations of truncated episodes, where the algorithm wants that."""
        rows = self._writer.rows_that_bootstrap(result.terminated, result.truncated)
        if not rows.size:
            return None
        part = {name: value[rows] for name, value in state.items()}
        decision = self.policy.act(result.observation[rows], part, explore=False)
        filled = {}
        for name, value in decision.extras.items():
            filled[name] = np.zeros((self._size, *value.shape[1:]), value.dtype)
            filled[name][rows] = value
        return filled
