"""Who acts: as its actor-critic says, at a temperature, and now and then at random."""

from typing import Any

import numpy as np
from algorithms.iris.small_learners import CATCH, make_learner, settings

from rlsys.algorithms.iris.policy import IrisPolicy
from rlsys.api import PolicyContext
from rlsys.types import Array, Weights

SIZE = 400


def make(bias: tuple[float, ...] = (0.0, 4.0, 0.0), **changes: Any) -> IrisPolicy:
    """One whose logits are almost these, whatever it sees."""
    config = settings(**changes)
    weights = dict(make_learner(config).weights())
    weights["actor_critic.policy.bias"] = np.array(bias, np.float32)
    policy = IrisPolicy(PolicyContext(config, CATCH, seed=1))
    policy.set_weights(Weights(1, 0, weights))
    return policy


def act(policy: IrisPolicy, *, explore: bool) -> Array:
    frames = np.random.default_rng(0).integers(0, 256, (SIZE, 20, 16), dtype=np.uint8)
    return policy.act(frames, policy.initial_state(SIZE), explore=explore).action


def test_some_actions_are_random_each_environments_by_itself() -> None:
    always = act(make((0.0, 99.0, 0.0), epsilon=0.0), explore=True)
    assert (always == 1).all()
    shares = np.bincount(act(make((0.0, 99.0, 0.0), epsilon=0.3), explore=True), minlength=3) / SIZE
    np.testing.assert_allclose(shares, [0.1, 0.8, 0.1], atol=0.05)
    assert (act(make((0.0, 99.0, 0.0), epsilon=1.0), explore=False) == 1).all(), "but not in evaluations"


def test_temperatures_are_those_of_the_settings() -> None:
    bias = (0.0, 2.0, 0.0)
    chance = np.exp(2.0) / (np.exp(2.0) + 2)
    settled = {"epsilon": 0.0, "temperature": 1.0, "eval_temperature": 0.25}
    assert abs((act(make(bias, **settled), explore=True) == 1).mean() - chance) < 0.09
    assert (act(make(bias, **settled), explore=False) == 1).mean() > 0.97
    assert (act(make(bias, eval_temperature=0.0), explore=False) == 1).mean() == 1.0


def test_its_state_is_what_the_lstm_remembers() -> None:
    policy = make()
    frames = np.zeros((2, 20, 16), np.uint8)
    first = policy.act(frames, policy.initial_state(2), explore=False)
    assert first.state.keys() == {"hidden", "cell"} and first.state["hidden"].any()
    second = policy.act(frames, first.state, explore=False)
    assert not np.allclose(first.extras["value"], second.extras["value"])


def test_one_that_sees_frames_as_they_are_needs_no_tokenizer() -> None:
    policy = make(actor_critic={"use_original_frames": True})
    assert all(name.startswith("actor_critic.") for name in policy.weights())
    assert (act(policy, explore=False) == 1).mean() > 0.9
