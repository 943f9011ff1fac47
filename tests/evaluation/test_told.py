"""What a policy is told while it is trained, it is told while it is evaluated: the same numbers in the same order."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from support.runs import MakeSpec

from rlsys.api import Decision, Policy, PolicyContext, Segments
from rlsys.config import EnvConfig
from rlsys.envs.families.atari import AtariConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.evaluation.episodes import play_episodes
from rlsys.runs.grid import changed_env
from rlsys.runtime.workers.rollout import RolloutWorker
from rlsys.testing.algorithm import CHECKING
from rlsys.types import Array, State, Weights

RAM = {"sticky_actions": 4, "clip_rewards": True, "noop_reset": True}
ENVIRONMENTS = {
    "lives, FIRE, stacks": AtariConfig(
        id="Breakout-ramNoFrameskip-v4", episode_life=True, fire_reset=True, stack_states=2, **RAM
    ),
    "large rewards": AtariConfig(id="SpaceInvaders-ramNoFrameskip-v4", episode_life=True, **RAM),
    "lost points, a time limit": AtariConfig(
        id="Pong-ramNoFrameskip-v4", episode_life=True, max_episode_steps=6_000, **RAM
    ),
    "large rewards as they are": EnvConfig(id="SpaceInvaders-ramNoFrameskip-v4", sticky_actions=4),
    "many at once": EnvConfig(id="CartPole-v1", stack_states=3),
    "clipped": EnvConfig(id="rlsys/Counting-v0", clip_rewards=True, sticky_actions=2),
    "many at once, clipped": EnvConfig(id="catch", clip_rewards=True, stack_states=2),
}


class Listener(Policy):
    """Acts by what it sees and remembers, and keeps all that it is told."""

    def __init__(self, context: PolicyContext) -> None:
        self._num_actions = context.env.num_actions
        self.told: list[Any] = []

    def initial_state(self, batch_size: int) -> State:
        return {"memory": np.zeros(batch_size), "steps": np.zeros(batch_size, np.int64)}

    def act(self, observation: Array, state: State, *, explore: bool) -> Decision:
        self.told.append(("sees", observation.tobytes(), observation.dtype, state["memory"][0], state["steps"][0]))
        chosen = (int(observation.astype(np.float64).sum() * 1e3) + int(state["steps"][0])) // 7 % self._num_actions
        return Decision(np.array([chosen]), {**state, "steps": state["steps"] + 1})

    def after_step(self, state: State, action: Array, reward: Array) -> State:
        self.told.append(("learns", action.tolist(), action.dtype, reward.tolist(), reward.dtype))
        return {**state, "memory": 0.5 * state["memory"] + reward + 0.1 * action}

    def set_weights(self, weights: Weights) -> None:
        raise AssertionError("it needs none")

    def weights(self) -> Mapping[str, Array]:
        return {}


LISTENING = dataclasses.replace(
    CHECKING, make_policy=Listener, cut=lambda config, env: Segments(length=20), make_learner=None
)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_game_tells_the_policy_the_same_in_training_and_in_evaluation(name: str, make_spec: MakeSpec) -> None:
    config = ENVIRONMENTS[name]
    spec = make_spec(runtime={"environments_per_worker": 1}, algorithm=LISTENING)
    spec = dataclasses.replace(spec, env=config, env_spec=env_spec(config))
    policy = Listener(PolicyContext(None, env_spec(config), 0))
    statistics = play_episodes(policy, config, 1, spec.seeds("environment", 0, 0, count=1)[0], traces=True)

    trained = Listener(PolicyContext(None, env_spec(config), 0))
    worker = RolloutWorker(spec, 0, policy=trained)
    segments = [segment for _ in statistics.traces[0].reward for segment in worker.step()]
    assert trained.told == policy.told
    assert len(policy.told) > 10

    (game, *_) = worker.report().games
    assert (game.episode_return, game.length_frames) == (statistics.returns[0], statistics.frames[0])
    (trace,) = statistics.traces
    for column in ("reward", "terminated", "truncated"):
        stored = np.concatenate([getattr(segment, column)[segment.first_item :] for segment in segments])
        assert np.array_equal(stored, getattr(trace, column)[: len(stored)]), column
    clipped = np.sign(trace.raw_reward) if config.clip_rewards else trace.raw_reward
    assert np.array_equal(trace.reward, clipped)


def test_an_evaluation_cannot_change_how_rewards_are_told() -> None:
    env = EnvConfig(id="catch", clip_rewards=True)
    assert changed_env(env, {"clip_rewards": True, "max_episode_steps": 3}, "run.x").clip_rewards
    with pytest.raises(ConfigError, match=r"run\.x: clip_rewards = False; evaluations count raw rewards, and tell a"):
        changed_env(env, {"clip_rewards": False}, "run.x")
