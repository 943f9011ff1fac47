"""IMPALA in every kind of space: what it remembers, how it learns, and what normalises what it sees."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from algorithms.impala.small_environments import SMALL
from support.decided_batches import EVERY, NUMBERS, PARTS, PLAIN, SEVERAL, context_of, decided_batch
from support.ppo_batches import OneBatch

from rlsys.algorithms.impala import ALGORITHM, ImpalaConfig
from rlsys.algorithms.impala.learner import ImpalaLearner
from rlsys.config import EnvConfig
from rlsys.errors import ConfigError
from rlsys.testing.contract import check_algorithm
from rlsys.types import Batch, EnvSpec

SIZE, LENGTH = 4, 10


def make_learner(env: EnvSpec, **options: Any) -> ImpalaLearner:
    config = ImpalaConfig(**SMALL | options)
    ALGORITHM.check(config, env, SIZE, 1)
    return ImpalaLearner(context_of(config, env, SIZE))


def batch_of(learner: ImpalaLearner, seed: int = 0) -> Batch:
    context = learner._context
    return decided_batch(ALGORITHM, context.config, context.env, dict(learner.weights()), SIZE, LENGTH, seed)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"distribution_type": "tanh_normal", "network": "lstm"},
        {"state_dependent_std": True, "network": "elstm", "gradient": "rtrl"},
        {"normalize_returns": True, "reward_clipping": "none"},
    ],
)
@pytest.mark.parametrize("env", EVERY, ids=lambda env: env.id)
def test_the_learner_of_the_same_weights_finds_a_ratio_of_one_and_learns(env: EnvSpec, options: dict[str, Any]) -> None:
    learner = make_learner(env, **options)
    before = learner.weights()
    metrics = learner.step(OneBatch(batch_of(learner)))
    assert metrics["policy/importance_ratio"] == pytest.approx(1.0, abs=1e-3)
    assert all(np.isfinite(list(metrics.values())))
    moved = {name for name, array in learner.weights().items() if not np.array_equal(array, before[name])}
    assert {"policy.weight", "baseline.weight"} <= moved


def test_replay_holds_what_the_policy_said_by_a_name_that_tells_what_it_is() -> None:
    for env, name, size in ((PLAIN, "behaviour_logits", 3), (SEVERAL, "behaviour_logits", 5), (NUMBERS, None, 4)):
        extras = ALGORITHM.cut(ImpalaConfig(), env).extras
        assert extras[name or "behaviour_parameters"].shape == (size,)
        assert ("drawn_action" in extras) == (env is NUMBERS)


def test_normalised_numbers_are_those_of_the_rows_that_were_learned_from() -> None:
    for env in (NUMBERS, PARTS):
        learner = make_learner(env, normalize_observations=True)
        batches = [batch_of(learner, seed) for seed in range(3)]
        for batch in batches:
            learner.step(OneBatch(batch))
        seen = np.concatenate([env.parts[0].of(batch.observation[:, :-1]).reshape(-1, 3) for batch in batches])
        (mean,) = (array for name, array in learner.weights().items() if name.endswith("mean"))
        np.testing.assert_allclose(mean, seen.mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["Pendulum-v1", "rlsys/Nested-v0"])
def test_two_ranks_that_normalise_agree_and_go_on_from_what_they_saved(name: str) -> None:
    options = {"normalize_observations": True, "normalize_returns": True, "reward_clipping": "none"}
    options |= {"distribution_type": "tanh_normal", "network": "elstm", "gradient": "rtrl"}
    check_algorithm(ALGORITHM, ImpalaConfig(**SMALL | options), EnvConfig(id=name))


def test_gradients_do_not_depend_on_the_unit_of_rewards_where_returns_are_normalised() -> None:
    norms = []
    for unit in (1.0, 1000.0):
        learner = make_learner(PLAIN, normalize_returns=True, reward_clipping="none", entropy_cost=0.0)
        with torch.no_grad():
            for parameter in learner._model.network.baseline.parameters():
                parameter.zero_()
        batch = batch_of(learner)
        batch.reward *= unit
        batch.state["last_reward"][:] = 0.0
        norms.append(learner.step(OneBatch(batch))["loss/value"])
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        (replace(NUMBERS, action_low=(-np.inf, 0.0)), {"distribution_type": "tanh_normal"}, "action 0 .* -inf and 2"),
        (PARTS, {"stem": "none"}, "whose observations have parts .* impala.stem=auto"),
        (PLAIN, {"normalize_observations": True, "freeze_conv": True, "freeze_fc": True}, "impala.freeze_fc = True"),
    ],
)
def test_what_cannot_work_in_a_space_is_refused(env: EnvSpec, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ALGORITHM.check(ImpalaConfig(**options), env, 16, 1)
