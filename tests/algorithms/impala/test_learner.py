"""IMPALA's learner: with every network, frozen stems, and that it learns."""

from typing import Any

import numpy as np
import pytest
from algorithms.impala.small_environments import CARTPOLE, SMALL, make_env

from rlsys import registry
from rlsys.actor import Actor
from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.api import LearnerContext, PolicyContext
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import ConfigError
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.unrolls import UnrollWriter
from rlsys.testing.contract import check_algorithm
from rlsys.testing.replay import StoreReplay
from rlsys.types import Weights


@pytest.mark.parametrize(
    "options",
    [
        {"network": "lstm"},
        {"network": "elstm"},
        {"network": "elstm", "gradient": "rtrl"},
        {"network": "elstm", "gradient": "rtrl", "num_layers": 2},
        {"network": "rtu", "gradient": "rtrl", "num_layers": 2},
        {"network": "linear_rtu"},
        {"network": "elstm", "gradient": "rtrl", "freeze_conv": True, "freeze_fc": True},
        {"precision": "bf16", "acting_precision": "bf16", "reward_clipping": "none"},
    ],
)
def test_every_network_and_gradient_keeps_the_contract(options: dict[str, Any]) -> None:
    check_algorithm(registry.get("impala"), ImpalaConfig(**SMALL, **options), CARTPOLE)


def test_a_stem_is_taken_from_another_run_and_stays_when_frozen() -> None:
    env = make_env((4,), "float32", num_actions=2)
    make_learner = registry.get("impala").make_learner
    given = make_learner(LearnerContext(ImpalaConfig(**SMALL), env, seed=5)).weights()
    read: list[str] = []

    def read_weights(source: str) -> Any:
        read.append(source)
        return given

    options = {**SMALL, "load_conv_net_from": "a-run", "freeze_conv": True}
    learner = make_learner(LearnerContext(ImpalaConfig(**options), env, seed=6, read_weights=read_weights))
    weights = learner.weights()
    stem = {name for name in weights if name.startswith("stem.")}
    assert read == ["a-run"]
    assert all(np.array_equal(weights[name], given[name]) == (name in stem) for name in weights if "bias" not in name)
    resumed = LearnerContext(ImpalaConfig(**options), env, seed=6, read_weights=read_weights, is_resumed=True)
    make_learner(resumed)
    assert read == ["a-run"], "a resumed run keeps its own stem"
    without_fc = {**options, "not_load_fc": True}
    weights = make_learner(LearnerContext(ImpalaConfig(**without_fc), env, 6, read_weights=read_weights)).weights()
    assert not np.array_equal(weights["stem.fc.weight"], given["stem.fc.weight"])
    other = make_env((7,), "float32", num_actions=2)
    with pytest.raises(ConfigError, match=r"stem.features.1.weight is \(16, 7\) here and \(16, 4\) there"):
        make_learner(LearnerContext(ImpalaConfig(**options), other, seed=6, read_weights=read_weights))


def test_it_learns_cartpole_in_seconds() -> None:
    options = {"hidden_size": 32, "fc_size": 32, "unroll_length": 20, "batch_size": 16}
    config = ImpalaConfig(**options, reward_clipping="none", learning_rate=2e-3)
    algorithm, env = registry.get("impala"), BatchedEnv(CARTPOLE, range(16))
    segments = algorithm.cut(config, env.spec)
    queue = UnrollQueue(algorithm.store(config, env.spec), env.spec, segments)
    writer = UnrollWriter(segments, env.spec, 0, 0, 16)
    learner = algorithm.make_learner(LearnerContext(config, env.spec, seed=0))
    policy = algorithm.make_policy(PolicyContext(config, env.spec, seed=1))
    policy.set_weights(Weights(0, 0, learner.weights()))
    actor, returns = Actor(policy, 16), []
    for _ in range(4_000):
        observation = env.observation.copy()
        state = actor.state
        decision = actor.decide(observation, explore=True)
        result = env.step(decision.action)
        returns += [game.episode_return for game in result.games]
        blocks = writer.append_batch(
            observation=observation,
            action=result.action,
            reward=result.reward,
            terminated=result.terminated,
            truncated=result.truncated,
            extras=decision.extras,
            state=state,
            weights_version=0,
            next_observation=result.observation,
        )
        actor.observe(result.action, result.reward, result.first)
        for block in blocks:
            queue.insert(block)
        while queue.num_items >= 16:
            learner.step(StoreReplay(queue))
            policy.set_weights(Weights(0, 0, learner.weights()))
    assert np.mean(returns[:30]) < 40
    assert np.mean(returns[-30:]) > 60
