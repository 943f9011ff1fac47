"""IMPALA: its options, what it refuses, frozen stems, and that it learns."""

from typing import Any

import numpy as np
import pytest
import torch

from rlsys import registry
from rlsys.actor import Actor
from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.networks import make_network
from rlsys.algorithms.impala.policy import ImpalaPolicy
from rlsys.algorithms.impala.requirements import LAST_REWARD, check
from rlsys.api import LearnerContext, PolicyContext
from rlsys.config import EnvConfig
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import ConfigError
from rlsys.replay.queue import UnrollQueue
from rlsys.replay.unrolls import UnrollWriter
from rlsys.testing.contract import check_algorithm
from rlsys.testing.replay import TableReplay
from rlsys.types import ArraySpec, EnvSpec, Weights

SMALL = {"batch_size": 4, "unroll_length": 10, "hidden_size": 16, "fc_size": 16}
CARTPOLE = EnvConfig(id="CartPole-v1")


def make_env(shape: tuple[int, ...], dtype: str = "uint8", num_actions: int = 6, num_stack: int = 1) -> EnvSpec:
    return EnvSpec("x", ArraySpec(shape, dtype), ArraySpec((), "int64"), num_actions, num_stack)


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


@pytest.mark.parametrize(
    ("env", "options", "stem", "whole"),
    [
        (make_env((3, 72, 96), num_actions=9), {"network": "elstm", "hidden_size": 512}, 982_592, 1_647_178),
        (make_env((3, 64, 64), num_actions=15), {"network": "elstm"}, 622_144, 890_448),
        (make_env((84, 84), num_stack=4), {"network": "elstm"}, 1_089_232, 1_355_223),
    ],
    ids=["DMLab", "ProcGen", "Atari"],
)
def test_networks_have_as_many_parameters_as_upstream(
    env: EnvSpec, options: dict[str, Any], stem: int, whole: int
) -> None:
    network = make_network(ImpalaConfig(**options), env)
    assert sum(parameter.numel() for parameter in network.stem.parameters()) == stem
    assert sum(parameter.numel() for parameter in network.parameters()) == whole


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        (make_env((4,)), {"network": "lstm", "gradient": "rtrl"}, "elementwise recurrence .* impala.network=elstm"),
        (make_env((4,)), {"gradient": "rtrl"}, "impala.gradient = rtrl with impala.network = feedforward"),
        (make_env((4,)), {"num_layers": 2, "network": "lstm"}, "only elstm, rtu, linear_rtu have layers"),
        (make_env((4,)), {"stem": "deep"}, r"observations of shape \(4,\); it needs images"),
        (make_env((4,)), {"freeze_fc": True}, "impala.freeze_conv = False"),
        (make_env((4,), num_actions=0), {}, "continuous actions"),
        (make_env((4,)), {"batch_size": 5}, "cannot be divided among runtime.learners = 2"),
    ],
)
def test_what_cannot_work_is_refused(env: EnvSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(ImpalaConfig(**options), env, 8, 2)


def test_an_unroll_of_no_rows_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unroll_length"):
        ImpalaConfig(unroll_length=0)


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


def test_actions_are_drawn_from_the_policy_and_greedy_in_evaluation() -> None:
    env = make_env((4,), "float32", num_actions=3)
    config = ImpalaConfig(**SMALL)
    policy = ImpalaPolicy(PolicyContext(config, env, seed=0))
    network = make_network(config, env)
    with torch.no_grad():
        network.policy.bias.copy_(torch.tensor([2.0, 0.0, 1.0]))
        network.policy.weight.zero_()
    policy.set_weights(Weights(0, 0, {name: value.numpy() for name, value in network.state_dict().items()}))
    observation, state = np.zeros((4000, 4), np.float32), policy.initial_state(4000)
    drawn = np.bincount(policy.act(observation, state, explore=True).action, minlength=3) / 4000
    np.testing.assert_allclose(drawn, torch.softmax(torch.tensor([2.0, 0.0, 1.0]), dim=0).numpy(), atol=0.03)
    assert (policy.act(observation, state, explore=False).action == 0).all()
    after = policy.after_step(state, np.zeros(4000, np.int64), np.ones(4000, np.float32))
    assert (after[LAST_REWARD] == 1.0).all()


def test_memory_lives_in_the_state_alone() -> None:
    env = make_env((4,), "float32", num_actions=3)
    config = ImpalaConfig(**SMALL, network="elstm")
    policy = ImpalaPolicy(PolicyContext(config, env, seed=0))
    network = make_network(config, env)
    policy.set_weights(Weights(0, 0, {name: value.numpy() for name, value in network.state_dict().items()}))
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(5, 4)).astype(np.float32)
    once = policy.act(observation, policy.initial_state(5), explore=False)
    again = policy.act(observation, once.state, explore=False)
    assert not np.allclose(once.extras["behaviour_logits"], again.extras["behaviour_logits"])
    fresh = policy.act(observation, policy.initial_state(5), explore=False)
    np.testing.assert_array_equal(once.extras["behaviour_logits"], fresh.extras["behaviour_logits"])


def test_it_learns_cartpole_in_seconds() -> None:
    options = {"hidden_size": 32, "fc_size": 32, "unroll_length": 20, "batch_size": 16}
    config = ImpalaConfig(**options, reward_clipping="none", learning_rate=2e-3)
    algorithm, env = registry.get("impala"), BatchedEnv(CARTPOLE, range(16))
    segments = algorithm.segments(config, env.spec)
    queue = UnrollQueue(algorithm.table(config, env.spec), env.spec, segments)
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
            learner.step(TableReplay(queue))
            policy.set_weights(Weights(0, 0, learner.weights()))
    assert np.mean(returns[:30]) < 40
    assert np.mean(returns[-30:]) > 60
