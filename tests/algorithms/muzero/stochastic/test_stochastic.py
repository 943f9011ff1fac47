"""MuZero with chance: against the definition, written step by step, and in a world where chance decides."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.fake_replay import BOX, ENV, IMAGES, FakeReplay
from torch.nn import functional

from rlsys.algorithms.muzero import ALGORITHM, check
from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.learner import MuZeroLearner
from rlsys.algorithms.muzero.networks import Network
from rlsys.algorithms.muzero.policy import MuZeroPolicy
from rlsys.algorithms.muzero.requirements import PREDICTED_REWARD, ROOT_VALUE, VISITS
from rlsys.algorithms.muzero.scalars import reward_code, value_code
from rlsys.algorithms.muzero.stochastic.network import Chance, unroll_with_chance
from rlsys.api import LearnerContext, PolicyContext
from rlsys.config import read_env
from rlsys.errors import ConfigError
from rlsys.testing.contract import check_algorithm
from rlsys.types import EnvSpec, Weights

SMALL = {
    "batch_size": 16,
    "num_unroll_steps": 3,
    "td_steps": 4,
    "stored_before_train": 16,
    "chance_codes": 5,
    "num_simulations": 30,
}
IMAGE = {"architecture": "TinyNetwork", "augmentation": ["shift"]}


def make_config(**options: Any) -> MuZeroConfig:
    return MuZeroConfig.model_validate({**SMALL, **options})


def make_learner(env: EnvSpec = ENV, **options: Any) -> MuZeroLearner:
    return MuZeroLearner(LearnerContext(make_config(**options), env, seed=0))


def make_policy(env: EnvSpec = ENV, **options: Any) -> tuple[MuZeroPolicy, Network, Chance]:
    config = make_config(**options)
    torch.manual_seed(3)
    network = make_network(config, env)
    assert network.chance is not None
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)  # opinions strong enough to be told apart
    policy = MuZeroPolicy(PolicyContext(config, env, 7, 0, 6))
    policy.set_weights(Weights(0, 0, {name: value.numpy() for name, value in network.state_dict().items()}))
    return policy, network.eval(), network.chance


def observations(env: EnvSpec = ENV, count: int = 6) -> np.ndarray:
    raw = np.random.default_rng(0).normal(size=(count, *env.policy_observation.shape)) * 100
    return raw.astype(env.observation.dtype)


@pytest.mark.parametrize(("env", "options"), [(ENV, {}), (IMAGES, {"architecture": "TinyNetwork"})])
def test_an_unroll_goes_from_states_over_afterstates_by_codes_that_are_drawn(
    env: EnvSpec, options: dict[str, Any]
) -> None:
    network = make_network(make_config(**options), env).eval()
    chance = network.chance
    assert chance is not None
    observation, seen = torch.tensor(observations(env, 4)), torch.tensor(observations(env, 12)[::-1].copy())
    action_BK = torch.tensor([[0, 1, 2], [2, 0, 1], [1, 1, 0], [0, 0, 0]])
    generator = torch.Generator().manual_seed(5)
    unrolled = unroll_with_chance(network, chance, observation, seen, action_BK, generator)

    probability = chance.encode(seen).detach()
    drawn = torch.multinomial(probability, 1, generator=torch.Generator().manual_seed(5)).view(3, 4)
    state = network.represent(observation)
    for k in range(3):
        torch.testing.assert_close(unrolled.unroll.value[:, k], network.predict(state).value)
        afterstate, _ = chance.afterstates.transition(state, action_BK[:, k])
        q, sigma = chance.afterstates.predict(afterstate)
        torch.testing.assert_close(unrolled.value[:, k], q)
        torch.testing.assert_close(unrolled.code_logits[:, k], sigma)
        torch.testing.assert_close(unrolled.code[:, k], probability.view(3, 4, 5)[k])
        state, features = network.transition(afterstate, functional.one_hot(drawn[k], 5).float())
        torch.testing.assert_close(unrolled.unroll.reward[:, k], network.predict_reward(features))
    torch.testing.assert_close(unrolled.unroll.policy[:, 3], network.predict(state).policy)


def test_what_is_foretold_teaches_the_encoder_through_the_drawn_code_and_chance_does_not() -> None:
    network = make_network(make_config(), ENV)
    chance = network.chance
    assert chance is not None
    observation, seen = torch.tensor(observations(ENV, 4)), torch.tensor(observations(ENV, 12)[::-1].copy())
    action_BK = torch.tensor([[0, 1, 2], [2, 0, 1], [1, 1, 0], [0, 0, 0]])
    weight = chance.encoder[0].weight
    for learns, loss in (
        (True, lambda unrolled: unrolled.unroll.reward.square().sum()),
        (False, lambda unrolled: unrolled.value.square()[:, 0].sum()),
    ):
        unrolled = unroll_with_chance(network, chance, observation, seen, action_BK, torch.Generator())
        network.zero_grad()
        loss(unrolled).backward()
        assert (weight.grad is not None and bool(weight.grad.abs().sum() > 0)) == learns


def test_losses_are_of_what_was_seen_up_to_the_end_of_an_episode() -> None:
    learner, replay = make_learner(beta=0.0, beta_increment_per_sampling=0.0, value_loss_weight=0.5), FakeReplay(ENV)
    replay.windows.num_rows[:4] = [1, 2, 3, 4]
    windows, config = replay.windows, learner._config
    network = make_network(config, ENV)
    network.load_state_dict({name: torch.tensor(array) for name, array in learner.weights().items()})
    assert network.chance is not None
    random_BK = np.random.default_rng(learner._context.draw_seed).integers(0, 3, (16, 3))
    is_real_BK = np.arange(3) < windows.num_rows[:16, None]
    action_BK = torch.tensor(np.where(is_real_BK, windows.action[:16, :3], random_BK))
    seen = torch.cat([torch.tensor(windows.observation[:16, k]) for k in (1, 2, 3)])
    generator = torch.Generator().manual_seed(learner._context.draw_seed)
    first = torch.tensor(windows.observation[:16, 0])
    unrolled = unroll_with_chance(network, network.chance, first, seen, action_BK, generator)
    is_there_BK = torch.tensor(np.arange(1, 4) < windows.num_rows[:16, None])
    entropy_BK = -(unrolled.code.detach() * unrolled.code_logits.log_softmax(dim=2)).sum(dim=2)
    metrics = learner.step(replay)
    assert metrics["loss/chance"] == pytest.approx(float((entropy_BK * is_there_BK).sum() / 16), rel=1e-4)
    mean = unrolled.code.detach().mean(dim=(0, 1))
    assert metrics["learner/codes_in_use"] == pytest.approx(float((-(mean * mean.log()).sum()).exp()), rel=1e-4)
    parts = metrics["loss/reward"] + metrics["loss/policy"] + metrics["loss/chance"]
    values = metrics["loss/value"] + metrics["loss/afterstate_value"]
    assert metrics["loss/total"] == pytest.approx(parts + 0.5 * values, rel=1e-5)


def test_what_an_action_is_worth_is_drawn_to_the_target_of_its_state() -> None:
    learner, replay = make_learner(lr_init=1e-3, td_steps=1, discount=1.0), FakeReplay(ENV)
    replay.windows.reward[:] = 0.0
    replay.windows.extras[ROOT_VALUE][:] = 4.0
    for _ in range(60):
        metrics = learner.step(replay)
    assert metrics["loss/afterstate_value"] < 1.0
    network = make_network(learner._config, ENV).eval()
    network.load_state_dict({name: torch.tensor(array) for name, array in learner.weights().items()})
    assert network.chance is not None
    state = network.represent(torch.tensor(replay.windows.observation[:16, 0]))
    after, _ = network.chance.afterstates.transition(state, torch.tensor(replay.windows.action[:16, 0]))
    value = value_code(learner._config).decode(network.chance.afterstates.predict(after).value)
    assert value.detach().numpy() == pytest.approx(np.full(16, 4.0), abs=0.5)


class CoinReplay(FakeReplay):
    """Windows in which each step's observation shows heads or tails, which is its reward, and nothing foretells it."""

    def __init__(self) -> None:
        super().__init__(ENV, size=256)
        heads = np.random.default_rng(1).random(self.windows.reward.shape) < 0.7
        self.windows.observation[:] = 0.0
        self.windows.observation[:, 1:, 0] = heads[:, :-1]
        self.windows.observation[..., 1] = 1.0
        self.windows.reward[:] = heads


def test_codes_come_to_stand_for_what_chance_does_and_are_as_likely() -> None:
    learner, replay = make_learner(lr_init=2e-3, batch_size=256, chance_codes=2, discount=0.5), CoinReplay()
    for _ in range(150):
        metrics = learner.step(replay)
    assert metrics["loss/reward"] / 3 < 0.2, "with its code each step's reward is known; without, 0.61 is the least"
    network = make_network(learner._config, ENV).eval()
    network.load_state_dict({name: torch.tensor(array) for name, array in learner.weights().items()})
    chance, config = network.chance, learner._config
    assert chance is not None
    state = network.represent(torch.tensor(replay.windows.observation[:1, 0]))
    after, _ = chance.afterstates.transition(state, torch.tensor([0]))
    probability = chance.afterstates.predict(after).policy.softmax(dim=1)[0].detach().numpy()
    rewards = [network.predict_reward(network.transition(after, code[None])[1]) for code in torch.eye(2)]
    reward = reward_code(config).decode(torch.cat(rewards)).detach().numpy()
    assert sorted(reward) == pytest.approx([0.0, 1.0], abs=0.3)
    assert float(probability @ reward) == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize("search", ["puct", "gumbel"])
@pytest.mark.parametrize("explore", [True, False])
def test_a_decision_is_of_actions_alone(search: str, explore: bool) -> None:
    policy, _, _ = make_policy(search=search)
    decision = policy.act(observations(), {}, explore=explore)
    assert (decision.action < 3).all()
    assert decision.extras[VISITS].shape == (6, 3)
    np.testing.assert_allclose(decision.extras[VISITS].sum(axis=1), 1.0, rtol=1e-6)


def test_the_foretold_reward_is_the_mean_over_what_may_happen() -> None:
    policy, network, chance = make_policy(num_simulations=400, no_target_transform=True)
    decision = policy.act(observations(), {}, explore=False)
    with torch.inference_mode():
        state = network.represent(torch.tensor(observations()))
        after, _ = chance.afterstates.transition(state, torch.tensor(decision.action))
        probability_BC = chance.afterstates.predict(after).policy.softmax(dim=1)
        rewards = [
            reward_code(policy._config).decode(network.predict_reward(network.transition(after, code)[1]))
            for code in torch.eye(5)[:, None].expand(-1, 6, -1)
        ]
        expected = (probability_BC * torch.stack(rewards, dim=1)).sum(dim=1).numpy()
    np.testing.assert_allclose(decision.extras[PREDICTED_REWARD], expected, rtol=0.1, atol=0.1)


def test_by_value_takes_what_is_worth_most_before_anything_happens_and_by_prior_what_is_likeliest() -> None:
    policy, network, chance = make_policy(only_value=True)
    with torch.inference_mode():
        state = network.represent(torch.tensor(observations()))
        worth_BA = torch.stack(
            [
                value_code(policy._config).decode(
                    chance.afterstates.predict(chance.afterstates.transition(state, torch.full((6,), a))[0]).value
                )
                for a in range(3)
            ],
            dim=1,
        ).numpy()
        likeliest = network.predict(state).policy.argmax(dim=1).numpy()
    decision = policy.act(observations(), {}, explore=False)
    assert decision.action.tolist() == worth_BA.argmax(axis=1).tolist()
    np.testing.assert_allclose(decision.extras[ROOT_VALUE], worth_BA.max(axis=1), rtol=1e-3, atol=1e-3)
    by_prior = make_policy(only_prior=True)[0].act(observations(), {}, explore=False)
    assert by_prior.action.tolist() == likeliest.tolist()
    assert np.isfinite(by_prior.extras[PREDICTED_REWARD]).all()


def test_branches_of_a_tree_are_named_by_what_they_are() -> None:
    policy, _, _ = make_policy()
    policy.act(observations(), {}, explore=False)
    tree = policy.search_tree(2)
    assert tree["name"][0].tolist() == ["0", "1", "2", "", ""]
    first = tree["child"][0].max()
    assert tree["name"][first].tolist() == [f"code {code}" for code in range(5)]
    assert not tree["visit_count"][tree["name"] == ""].any()


@pytest.mark.parametrize("env", ["CartPole-v1", {"id": "2048", "kwargs": {"size": 3}}])
@pytest.mark.parametrize("options", [{}, {"search": "gumbel", "consistency_weight": 2.0, "reanalyse_fraction": 0.5}])
def test_it_keeps_the_contract(env: Any, options: dict[str, Any]) -> None:
    section = {**ALGORITHM.debug, "chance_codes": 6, **options}
    env = {"id": env} if isinstance(env, str) else env
    check_algorithm(ALGORITHM, MuZeroConfig.model_validate(section), read_env(env))


def test_it_keeps_the_contract_with_pictures() -> None:
    section = {**ALGORITHM.debug, "chance_codes": 3, **IMAGE}
    check_algorithm(ALGORITHM, MuZeroConfig.model_validate(section), read_env({"id": "catch"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"players": 2}, "players = 2 with chance_codes = 5"),
        ({"sampled_actions": 3}, "sampled_actions = 3 with chance_codes = 5"),
        ({"value_prefix": 3}, "value_prefix = 3 with chance_codes = 5"),
        ({"apply_mcts_steps": 2}, "apply_mcts_steps = 2 with chance_codes = 5"),
        ({"chance_codes": 1}, "greater than or equal to 2"),
    ],
)
def test_what_chance_does_not_go_with_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_config(**options)


def test_chance_needs_discrete_actions() -> None:
    with pytest.raises(ConfigError, match=r"muzero\.chance_codes = 5 with 'fake numbers', which acts with"):
        check(make_config(), BOX, 4, 1)
