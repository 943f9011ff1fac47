"""Who acts: random before it has learned, noisy while it collects, and the same plan each time unless it explores."""

from typing import Any

import numpy as np
import pytest

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.learner import PlanetLearner
from rlsys.algorithms.planet.policy import PlanetPolicy
from rlsys.api import LearnerContext, PolicyContext
from rlsys.types import ArraySpec, EnvSpec, Weights

SIZE = 64
SMALL: dict[str, Any] = {
    "model_size": 8,
    "state_size": 4,
    "head_layers": 1,
    "head_units": 6,
    "planner": {"candidates": 6, "elites": 2, "iterations": 2, "horizon": 3},
}
NUMBERS = EnvSpec(
    "task", ArraySpec((3,), "float32"), ArraySpec((2,), "float32"), 0, action_low=(-2.0, 0.0), action_high=(2.0, 4.0)
)
CHOICES = EnvSpec("task", ArraySpec((3,), "float32"), ArraySpec((), "int64"), 4)


def make(env: EnvSpec, learner_step: int = 1_000, **settings: Any) -> PlanetPolicy:
    config = PlanetConfig(**SMALL | settings)
    policy = PlanetPolicy(PolicyContext(config, env, seed=1))
    learner = PlanetLearner(LearnerContext(config, env, seed=0))
    policy.set_weights(Weights(1, learner_step, learner.weights()))
    return policy


def observed(size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(size, 3)).astype(np.float32)


def act(policy: PlanetPolicy, *, explore: bool, size: int = SIZE) -> np.ndarray:
    return policy.act(observed(size), policy.initial_state(size), explore=explore).action


@pytest.mark.parametrize("env", [NUMBERS, CHOICES])
def test_before_the_first_update_all_that_is_collected_is_random(env: EnvSpec) -> None:
    policy = make(env, learner_step=0, exploration_noise=0.0)
    drawn = np.concatenate([act(policy, explore=True) for _ in range(20)])
    if env.num_actions:
        assert np.bincount(drawn, minlength=4).min() > 0.2 * len(drawn)
    else:
        np.testing.assert_allclose(drawn.mean(axis=0), [0.0, 2.0], atol=0.2)
        np.testing.assert_allclose(drawn.std(axis=0), 4.0 / 12**0.5, atol=0.1)


@pytest.mark.parametrize("env", [NUMBERS, CHOICES])
def test_what_explores_is_the_plan_and_noise(env: EnvSpec) -> None:
    quiet, noisy = (make(env, exploration_noise=noise) for noise in (0.0, 0.3))
    plain, moved = act(quiet, explore=True), act(noisy, explore=True)
    if env.num_actions:
        assert 0.05 < np.mean(plain != moved) < 0.45  # 0.3 of them are random, a quarter of which changes nothing
    else:
        assert np.all((moved >= [-2.0, 0.0]) & (moved <= [2.0, 4.0]))
        inside = np.abs((moved - [0.0, 2.0]) / 2.0) < 1.0
        assert 0.4 < np.std((moved - plain)[inside]) < 0.7  # 0.3 of half a range of 4, less what the bounds cut off


def test_exploration_grows_with_the_updates() -> None:
    for step, share in ((10, 0.1), (50, 0.5), (1_000, 1.0)):
        policy = make(CHOICES, step, exploration_noise=1.0, exploration_ramp=100)
        plain = make(CHOICES, step, exploration_noise=0.0)
        changed = np.mean(act(policy, explore=True, size=2_000) != act(plain, explore=True, size=2_000))
        assert abs(changed - 0.75 * share) < 0.06


@pytest.mark.parametrize("kind", ["cem", "icem", "mppi", "tree"])
def test_every_planner_acts_and_without_exploring_always_alike(kind: str) -> None:
    policy = make(CHOICES, planner={**SMALL["planner"], "kind": kind, "warm_start": True, "simulations": 6})
    state = policy.initial_state(SIZE)
    first = policy.act(observed(), state, explore=False)
    again = policy.act(observed(), state, explore=False)
    assert np.array_equal(first.action, again.action)
    after = policy.after_step(first.state, first.action, np.zeros(SIZE, np.float32))
    later = policy.act(observed(), after, explore=False)
    assert {name: part.shape for name, part in later.state.items()} == {
        name: part.shape for name, part in state.items()
    }


def test_what_was_not_foretold_is_planned_less() -> None:
    settings = {"tap_cell": "rssm", "planner": {**SMALL["planner"], "candidates": 40}}
    sure, unsure = (make(NUMBERS, tap_scale=scale, **settings) for scale in (0.0, 100.0))
    begun = sure.initial_state(SIZE)
    assert "cell/later/mean" in begun
    values = [one.act(observed(), begun, explore=False).extras["plan_return"] for one in (sure, unsure)]
    assert not np.allclose(*values)


def test_a_plan_ends_with_its_episode() -> None:
    policy = make(NUMBERS, planner={**SMALL["planner"], "warm_start": True})
    first = policy.act(observed(), policy.initial_state(SIZE), explore=False)
    state = policy.after_step(first.state, first.action, np.zeros(SIZE, np.float32))
    assert state["plan/mean"].any() and state["done"].any() and state["cell/mean"].any()
    assert not any(part.any() for part in policy.initial_state(SIZE).values())


def test_what_was_done_is_remembered_as_it_was_executed() -> None:
    policy = make(NUMBERS)
    decision = policy.act(observed(1), policy.initial_state(1), explore=True)
    state = policy.after_step(decision.state, np.array([[1.0, 4.0]], np.float32), np.zeros(1, np.float32))
    np.testing.assert_allclose(state["done"], [[0.5, 1.0]])
    elsewhere = policy.after_step(decision.state, np.array([[-1.0, 4.0]], np.float32), np.zeros(1, np.float32))
    states = [policy.act(observed(1), known, explore=False).state["cell/belief"] for known in (state, elsewhere)]
    assert not np.array_equal(*states)


def test_random_numbers_go_on_from_where_they_were_saved() -> None:
    policy, other = make(NUMBERS), make(NUMBERS)
    act(policy, explore=True)
    other.load(policy.save())
    np.testing.assert_array_equal(act(policy, explore=True), act(other, explore=True))
