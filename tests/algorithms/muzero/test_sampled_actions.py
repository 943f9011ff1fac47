"""MuZero with actions that are drawn: numbers (Box), and some of many discrete ones."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from support.fake_replay import BOX, ENV, IMAGES, FakeReplay

from rlsys import config as experiments
from rlsys import registry
from rlsys.algorithms.muzero.actions import ActionCode, action_code
from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.fused.dispatch import _NetworkInference, make_inference
from rlsys.algorithms.muzero.fused.unroll import FusedUnroll
from rlsys.algorithms.muzero.learner import MuZeroLearner
from rlsys.algorithms.muzero.networks import FCNetwork, Network
from rlsys.algorithms.muzero.policy import MuZeroPolicy
from rlsys.algorithms.muzero.requirements import ROOT_VALUE, VISITS
from rlsys.algorithms.muzero.targets import make_targets
from rlsys.api import LearnerContext, PolicyContext
from rlsys.api.masks import ACTION_MASK
from rlsys.errors import ConfigError
from rlsys.types import Array, ArraySpec, EnvSpec, Part, Weights
from rlsys.viewer.search_tree import SearchTree

ALGORITHM = registry.get("muzero")
PICTURES = dataclasses.replace(IMAGES, action=BOX.action, num_actions=0, action_low=(-1.0,) * 2, action_high=(1.0,) * 2)
MANY = dataclasses.replace(ENV, num_actions=200)
SMALL: dict[str, Any] = {"batch_size": 16, "num_unroll_steps": 3, "td_steps": 4, "stored_before_train": 16}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads of small products would wait for each other far longer than they work."""
    torch.set_num_threads(1)


def make_config(**options: Any) -> MuZeroConfig:
    return MuZeroConfig.model_validate({"num_simulations": 12, "sampled_actions": 6, **options})


def build(env: EnvSpec, config: MuZeroConfig) -> Network:
    torch.manual_seed(3)
    network = make_network(config, env)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)  # opinions strong enough to be told apart
    return network


def make_policy(env: EnvSpec = BOX, **options: Any) -> MuZeroPolicy:
    config = make_config(**options)
    policy = MuZeroPolicy(PolicyContext(config, env, 7, 0, 5))
    arrays = {name: value.numpy() for name, value in build(env, config).state_dict().items()}
    policy.set_weights(Weights(0, 0, arrays))
    return policy


def observations(env: EnvSpec = BOX, count: int = 5) -> Array:
    raw = np.random.default_rng(0).normal(size=(count, *env.policy_observation.shape)) * 100
    return raw.astype(env.observation.dtype)


def code_of(policy: MuZeroPolicy) -> ActionCode:
    return policy._code


def logits_of(policy: MuZeroPolicy, observation: Array) -> Array:
    """Returns `[B, D, values]` log probabilities of the network, without search or fused layers."""
    network, code = policy._network, code_of(policy)
    with torch.inference_mode():
        logits = network.predict(network.represent(torch.from_numpy(observation))).policy
    return logits.reshape(-1, code.num_factors, code.num_values).log_softmax(2).numpy()


@pytest.mark.parametrize("options", [{}, {"search": "gumbel"}, {"only_value": True}, {"only_prior": True}])
@pytest.mark.parametrize("env", [BOX, PICTURES], ids=["FCNetwork", "TinyNetwork"])
def test_a_decision_is_of_values_and_tells_the_visits_of_each_number(env: EnvSpec, options: dict[str, Any]) -> None:
    policy = make_policy(env, architecture="FCNetwork" if env is BOX else "TinyNetwork", **options)
    for explore in (True, False):
        decision = policy.act(observations(env), {}, explore=explore)
        assert decision.action.shape == (5, 2) and decision.action.dtype == np.float32
        steps = (code_of(policy).inputs(decision.action) + 1.0) * 3.0
        np.testing.assert_allclose(steps, steps.round(), atol=1e-5)
        assert decision.extras[VISITS].shape == (5, 2, 7) and decision.extras[VISITS].dtype == np.float32
        np.testing.assert_allclose(decision.extras[VISITS].sum(axis=2), 1.0, rtol=1e-5)
        assert np.isfinite(decision.extras[ROOT_VALUE]).all()


def test_visits_of_each_number_are_those_of_the_actions_that_have_it() -> None:
    policy = make_policy()
    decision = policy.act(observations(), {}, explore=True)
    result = policy._result
    assert result is not None
    drawn_BKD = policy._searched._model.drawn(result.embedding)[:5]
    expected = np.zeros((5, 2, 7))
    for b, k, d in np.ndindex(5, 6, 2):
        expected[b, d, drawn_BKD[b, k, d]] += result.visit_counts[b, k] / 12
    np.testing.assert_allclose(decision.extras[VISITS], expected, rtol=1e-6)


def test_evaluation_takes_the_most_visited_draw_always_alike_and_draws_nothing_from_its_generator() -> None:
    policy = make_policy()
    before = policy.save()
    first, second = (policy.act(observations(), {}, explore=False) for _ in range(2))
    np.testing.assert_array_equal(first.action, second.action)
    assert policy.save() == before
    result = policy._result
    assert result is not None
    best = policy._searched._model.drawn(result.embedding)[np.arange(5), result.visit_counts.argmax(axis=1)]
    np.testing.assert_array_equal(first.action, code_of(policy).executed(best))
    alone = [policy.act(observations()[row : row + 1], {}, explore=False).action[0] for row in range(5)]
    np.testing.assert_array_equal(first.action, alone)


def test_exploring_goes_on_after_a_load_as_it_would_have() -> None:
    original, resumed = make_policy(), make_policy()
    first = original.act(observations(), {}, explore=True)
    resumed.load(original.save())
    for _ in range(3):
        expected, found = (policy.act(observations(), {}, explore=True) for policy in (original, resumed))
        np.testing.assert_array_equal(expected.action, found.action)
        np.testing.assert_array_equal(expected.extras[VISITS], found.extras[VISITS])
    assert not np.array_equal(first.extras[VISITS], found.extras[VISITS])


def test_acting_by_the_prior_takes_the_likeliest_value_of_each_number() -> None:
    policy = make_policy(only_prior=True)
    decision = policy.act(observations(), {}, explore=False)
    log_policy_BDN = logits_of(policy, observations())
    np.testing.assert_array_equal(decision.action, code_of(policy).executed(log_policy_BDN.argmax(axis=2)))
    np.testing.assert_allclose(decision.extras[VISITS], np.exp(log_policy_BDN), rtol=1e-4, atol=1e-6)


def test_acting_by_the_value_takes_the_best_draw() -> None:
    policy = make_policy(only_value=True)
    decision = policy.act(observations(), {}, explore=False)
    root = policy._searched.root(policy._root(observations()), None)
    drawn_BKD = policy._searched._model.drawn(root.embedding)
    for row in range(5):
        found = []
        for drawn_D in drawn_BKD[row]:
            told = torch.from_numpy(code_of(policy).values[drawn_D])[None]
            after = policy._model.recurrent(policy._root(observations()[row : row + 1]).embedding, told)
            found.append(float(after.reward + 0.997 * after.value))
        assert decision.extras[ROOT_VALUE][row] == pytest.approx(max(found), rel=1e-4)
        expected = code_of(policy).executed(drawn_BKD[row, [int(np.argmax(found))]])
        np.testing.assert_array_equal(decision.action[row], expected[0])


def test_several_actions_are_taken_from_one_search() -> None:
    policy = make_policy(apply_mcts_steps=3, num_simulations=60, sampled_actions=3)
    decision = policy.act(observations(), policy.initial_state(5), explore=False)
    result = policy._result
    assert result is not None
    drawn_RKD, tree, node = policy._searched._model.drawn(result.embedding), result.tree, 0
    for _ in range(3):
        k = int(tree.visit_count[0, node].argmax())
        expected = code_of(policy).executed(drawn_RKD[[node * 5], k])
        np.testing.assert_array_equal(decision.action[0], expected[0])
        node = tree.child[0, node, k]
        decision = policy.act(observations() + 1000.0, decision.state, explore=False)  # not looked at


def test_a_search_tree_says_what_its_branches_are() -> None:
    policy = make_policy()
    decision = policy.act(observations(), {}, explore=False)
    tree = SearchTree.from_arrays(policy.search_tree(3))
    assert tree.name is not None and tree.name.shape == tree.prior.shape == (13, 6)
    found = tree.name[0, tree.visit_count[0].argmax()]
    assert found == ", ".join(f"{number:.3g}" for number in decision.action[3])
    every = MuZeroPolicy(PolicyContext(MuZeroConfig(num_simulations=4), ENV, 7, 0, 5))
    every.set_weights(
        Weights(0, 0, {name: value.numpy() for name, value in build(ENV, MuZeroConfig()).state_dict().items()})
    )
    every.act(observations(ENV), {}, explore=False)
    assert SearchTree.from_arrays(every.search_tree(3)).name is None


def test_of_many_discrete_actions_a_search_tries_some() -> None:
    policy = make_policy(MANY, sampled_actions=9, num_simulations=30)
    likeliest_B = logits_of(policy, observations(MANY))[:, 0].argmax(axis=1)
    for explore in (True, False):
        decision = policy.act(observations(MANY), {}, explore=explore)
        assert decision.action.shape == (5,) and decision.action.dtype == np.int64
        visits = decision.extras[VISITS]
        assert visits.shape == (5, 200)
        assert ((visits > 0).sum(axis=1) <= 9).all()
        np.testing.assert_allclose(visits.sum(axis=1), 1.0, rtol=1e-5)
    by_prior = make_policy(MANY, only_prior=True).act(observations(MANY), {}, explore=False)
    np.testing.assert_array_equal(by_prior.action, likeliest_B)


@pytest.mark.parametrize("search", ["puct", "gumbel"])
def test_of_legal_actions_no_other_is_drawn_at_the_root(search: str) -> None:
    record = np.dtype([("observation", "float32", (6,)), (ACTION_MASK, "int8", (200,))])
    parts = (Part("observation", ENV.observation), Part(ACTION_MASK, ArraySpec((200,), "int8")))
    env = dataclasses.replace(MANY, observation=ArraySpec((), record), parts=parts)
    seen = np.zeros(5, record)
    seen["observation"] = observations(MANY)
    seen[ACTION_MASK][:, 60:80] = 1
    config = make_config(search=search)
    policy = MuZeroPolicy(PolicyContext(config, env, 7, 0, 5))
    policy.set_weights(Weights(0, 0, {name: value.numpy() for name, value in build(MANY, config).state_dict().items()}))
    for explore in (True, False):
        decision = policy.act(seen, {}, explore=explore)
        assert ((decision.action >= 60) & (decision.action < 80)).all()
        assert decision.extras[VISITS][:, 60:80].sum() == pytest.approx(5.0)


def make_learner(env: EnvSpec, **options: Any) -> MuZeroLearner:
    return MuZeroLearner(LearnerContext(make_config(**SMALL, **options), env, seed=0))


@pytest.mark.parametrize("env", [BOX, PICTURES], ids=["FCNetwork", "TinyNetwork"])
def test_the_policy_loss_is_the_cross_entropy_of_visits_with_the_probabilities_of_whole_actions(env: EnvSpec) -> None:
    rng, size, num_draws = np.random.default_rng(0), 16, 6
    replay = FakeReplay(env)
    drawn = rng.integers(0, 7, (*replay.windows.reward.shape, num_draws, 2))
    share = rng.dirichlet(np.ones(num_draws), replay.windows.reward.shape)
    target = np.zeros((*replay.windows.reward.shape, 2, 7), np.float32)
    for index in np.ndindex(*drawn.shape):
        *where, k, d = index
        target[(*where, d, drawn[index])] += share[(*where, k)]
    replay.windows.extras[VISITS] = target
    learner = make_learner(env, architecture="FCNetwork" if env is BOX else "TinyNetwork")
    code, windows = learner._code, replay.windows
    action = torch.from_numpy(code.inputs(windows.action[:size, :3]))
    unroll = learner._model.network.unroll(torch.from_numpy(windows.observation[:size, 0]), action)
    log_policy = unroll.policy.reshape(size, 4, 2, 7).log_softmax(3)
    weight_B = torch.from_numpy((windows.num_items * windows.probability[:size]) ** -1.0).float()
    total = torch.tensor(0.0)
    for b, t in np.ndindex(size, 4):
        for k in range(num_draws):
            log_probability = sum(log_policy[b, t, d, drawn[b, t, k, d]] for d in range(2))
            total = total - weight_B[b] / weight_B.max() * share[b, t, k] * log_probability / size
    assert learner.step(replay)["loss/policy"] == pytest.approx(total.item(), rel=1e-4)


def test_fused_products_are_those_of_the_network() -> None:
    config = make_config()
    network = build(BOX, config)
    assert isinstance(network, FCNetwork)
    generator = torch.Generator().manual_seed(0)
    observation = torch.randn(9, 6, generator=generator)
    action_BKD = torch.rand(9, 3, 2, generator=generator) * 2.0 - 1.0
    for expected, found in zip(
        network.unroll(observation, action_BKD),
        FusedUnroll(network, torch.float32)(observation, action_BKD),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    fused, plain = make_inference(network, config), _NetworkInference(network, config)
    state = plain.initial(observation).embedding
    for expected, found in zip(
        plain.recurrent(state, action_BKD[:, 0]), fused.recurrent(state.clone(), action_BKD[:, 0]), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_of_the_fused_unroll_are_those_of_autograd(precision: str) -> None:
    network = build(BOX, make_config())
    assert isinstance(network, FCNetwork)
    generator = torch.Generator().manual_seed(0)
    observation, action_BKD = torch.randn(9, 6, generator=generator), torch.rand(9, 3, 2, generator=generator)
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    flat = []
    for unroll in (network.unroll, FusedUnroll(network, dtype)):
        total = sum(output.square().sum() for output in unroll(observation, action_BKD))
        flat.append(torch.cat([g.flatten() for g in torch.autograd.grad(total, list(network.parameters()))]))
    assert torch.cosine_similarity(*flat, dim=0) > (1.0 - 1e-6 if precision == "fp32" else 0.98)


def test_unknown_steps_are_unrolled_with_random_numbers() -> None:
    batch = FakeReplay(BOX).sample(16, 9, {"reward": 8, "truncated": 8, "action": 3})
    batch.num_rows[:] = 2
    batch.terminated[:, 1] = True
    code = action_code(make_config(), BOX)
    targets = make_targets(batch, code, num_unroll_steps=3, td_steps=5, discount=0.9, rng=np.random.default_rng(0))
    assert targets.action.shape == (16, 3, 2) and targets.action.dtype == np.float32
    np.testing.assert_allclose(targets.action[:, :2], code.inputs(batch.action[:, :2]))
    assert not np.allclose(targets.action[:, 2], code.inputs(batch.action[:, 2]))
    assert set(np.unique(targets.action[:, 2])) <= set(code.values)


def test_it_learns_which_number_pays() -> None:
    learner, replay = make_learner(BOX, lr_init=3e-3), FakeReplay(BOX)
    replay.windows.extras[VISITS][:] = np.eye(7, dtype=np.float32)[[1, 5]]
    first = learner.step(replay)
    for _ in range(100):
        last = learner.step(replay)
    assert last["loss/policy"] < 0.05 * first["loss/policy"]


def check(env: EnvSpec, **options: Any) -> None:
    section = experiments.build({"algorithm": "muzero", "muzero": options}, "a test").section
    ALGORITHM.check(section, env, 8, 1)


UNBOUNDED = dataclasses.replace(BOX, action_high=(2.0, float("inf")))
MASKED = dataclasses.replace(
    BOX,
    observation=ArraySpec((), np.dtype([("observation", "float32", (6,)), (ACTION_MASK, "int8", (2,))])),
    parts=(Part("observation", BOX.observation), Part(ACTION_MASK, ArraySpec((2,), "int8"))),
)


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        (BOX, {}, r"sampled_actions = null with 'fake numbers', which acts with Box\(-2, 2, \(2,\)\)"),
        (BOX, {"sampled_actions": 0}, "sampled_actions"),
        (BOX, {"sampled_actions": 4, "action_bins": 1}, "action_bins"),
        (BOX, {"sampled_actions": 4, "players": 2}, "muzero.players = 2 with 'fake numbers'"),
        (UNBOUNDED, {"sampled_actions": 4}, "action 1 of 'fake numbers' is between 0 and inf; muzero chooses"),
        (MASKED, {"sampled_actions": 4}, "muzero masks discrete actions only"),
    ],
)
def test_what_does_not_fit_numbers_is_refused_in_one_line(env: EnvSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        check(env, **options)
    assert "\n" not in str(refused.value)


def test_what_fits_is_accepted_and_promises_the_visits_of_each_number() -> None:
    check(BOX, sampled_actions=20)
    check(MANY, sampled_actions=20)
    check(PICTURES, sampled_actions=1, architecture="TinyNetwork")
    spec = ALGORITHM.cut(make_config(action_bins=5), BOX)
    assert spec.extras[VISITS] == ArraySpec((2, 5), "float32")
