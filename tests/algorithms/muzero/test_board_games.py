"""Games with illegal moves and two players: acting, targets and a whole training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlsys import config as experiments
from rlsys import registry
from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.policy import MuZeroPolicy
from rlsys.algorithms.muzero.requirements import ROOT_VALUE, VISITS
from rlsys.algorithms.muzero.scalars import reward_code, value_code
from rlsys.api import PolicyContext
from rlsys.api.masks import split_mask, without_mask
from rlsys.envs.families.boards import BoardConfig
from rlsys.envs.make import env_spec
from rlsys.envs.vector import BatchedEnv
from rlsys.errors import ConfigError
from rlsys.metrics.rows import read_metrics
from rlsys.runtime.launch.launch import launch
from rlsys.testing.training import Training
from rlsys.types import Array, Weights

ALGORITHM = registry.get("muzero")
BOARD = BoardConfig(id="openspiel/tic_tac_toe")
SMALL = {
    "players": 2,
    "num_simulations": 12,
    "batch_size": 16,
    "num_unroll_steps": 3,
    "td_steps": 4,
    "stored_before_train": 64,
    "window_size": 500,
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads of small products would wait for each other far longer than they work."""
    torch.set_num_threads(1)


def make_policy(env: BatchedEnv, **options: Any) -> MuZeroPolicy:
    config = MuZeroConfig.model_validate({**SMALL, **options})
    policy = MuZeroPolicy(PolicyContext(config, env.spec, 7, 0, env.num_environments))
    torch.manual_seed(3)
    network = make_network(config, without_mask(env.spec))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3.0)  # opinions strong enough to prefer what is illegal
    policy.set_weights(Weights(0, 0, {name: value.numpy() for name, value in network.state_dict().items()}))
    return policy


@pytest.mark.parametrize(
    "options",
    [
        {"search": "puct"},
        {"search": "puct", "fixed_temperatures": [10.0], "eval_temperature": 10.0, "use_exploration_noise": True},
        {"search": "puct", "num_simulations": 1},
        {"search": "gumbel"},
        {"search": "gumbel", "max_num_considered_actions": 2, "c_scale": 1.0, "use_exploration_noise": True},
        {"only_prior": True, "eval_temperature": 5.0},
        {"only_value": True},
    ],
)
@pytest.mark.parametrize("explore", [True, False])
@pytest.mark.parametrize("num_stack", [1, 2])
def test_no_illegal_move_is_made_searched_or_learned(options: dict[str, Any], explore: bool, num_stack: int) -> None:
    env = BatchedEnv(BOARD.model_copy(update={"stack_states": num_stack}), range(5))
    policy, state = make_policy(env, **options), {}
    for _ in range(25):
        _, mask = split_mask(env.spec, env.observation)
        assert mask is not None
        decision = policy.act(env.observation, state, explore=explore)
        assert mask[np.arange(5), decision.action].all()
        assert not decision.extras[VISITS][~mask].any()
        np.testing.assert_allclose(decision.extras[VISITS].sum(axis=1), 1.0, rtol=1e-5)
        env.step(decision.action)  # which refuses what is illegal


def test_masks_change_nothing_where_every_move_is_legal() -> None:
    env = BatchedEnv(BOARD, range(4))
    policy = make_policy(env)
    masked = policy.act(env.observation, {}, explore=False)
    plain = MuZeroPolicy(PolicyContext(policy._config, without_mask(env.spec), 7, 0, 4))
    plain.set_weights(Weights(0, 0, policy.weights()))
    unmasked = plain.act(env.observation["observation"].copy(), {}, explore=False)
    for name, values in unmasked.extras.items():
        np.testing.assert_array_equal(masked.extras[name], values)


def one_step_ahead(policy: MuZeroPolicy, observation: Array, discount: float) -> Array:
    """Returns reward + discount · value of every action, by torch alone."""
    network, config = policy._network, policy._config
    with torch.inference_mode():
        state = network.represent(torch.tensor(observation))
        size, num_actions = len(state), network.sizes.num_actions
        after, features = network.transition(
            state.repeat_interleave(num_actions, 0), torch.arange(num_actions).repeat(size)
        )
        reward = reward_code(config).decode(network.predict_reward(features))
        value = value_code(config).decode(network.predict(after).value)
    found: Array = (reward + discount * value).reshape(size, num_actions).numpy()
    return found


@pytest.mark.parametrize("players", [1, 2])
def test_what_the_opponent_is_left_with_counts_against_a_move(players: int) -> None:
    env = BatchedEnv(BOARD, range(3))
    policy = make_policy(env, players=players, only_value=True, discount=0.9)
    decision = policy.act(env.observation, {}, explore=False)
    expected = one_step_ahead(policy, env.observation["observation"].copy(), 0.9 if players == 1 else -0.9)
    np.testing.assert_allclose(decision.extras[ROOT_VALUE], expected.max(axis=1), rtol=1e-4, atol=1e-5)


def test_the_search_turns_values_over() -> None:
    env = BatchedEnv(BOARD, range(3))
    policy = make_policy(env, num_simulations=1, discount=0.9)
    decision = policy.act(env.observation, {}, explore=False)
    ahead = one_step_ahead(policy, env.observation["observation"].copy(), -0.9)
    expected = ahead[np.arange(3), decision.action]
    np.testing.assert_allclose(decision.extras[ROOT_VALUE], expected, rtol=1e-4, atol=1e-5)


def test_a_plan_of_several_moves_is_refused() -> None:
    section = MuZeroConfig.model_validate({**SMALL, "apply_mcts_steps": 2})
    for opponent in ("self", "random"):
        spec = env_spec(BOARD.model_copy(update={"opponent": opponent}))
        with pytest.raises(ConfigError, match=r"muzero.apply_mcts_steps = 2 with 'openspiel/tic_tac_toe'.*Leave it"):
            MuZeroPolicy(PolicyContext(section, spec, 0))


@pytest.mark.parametrize("search", ["puct", "gumbel"])
def test_it_learns_from_what_it_has_played(search: str) -> None:
    section = MuZeroConfig.model_validate({**SMALL, "search": search})
    training = Training(ALGORITHM, section, BOARD)
    try:
        (rank,) = training.ranks
        training.publish()
        for _ in range(3):
            (metrics,) = training.update()
        assert np.isfinite(list(metrics.values())).all()
        batch = rank.replay.sample(64, 8)
        seen, mask = split_mask(rank.env.spec, batch.observation[:, 0])
        assert mask is not None and seen.shape == (64, 4, 3, 3)
        assert not batch.extras[VISITS][:, 0][~mask].any()
        assert mask[np.arange(64), batch.action[:, 0]].all()
        assert set(np.unique(batch.reward)) == {0.0, 1.0}
    finally:
        training.close()


def test_it_is_trained_against_itself_and_evaluated_against_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["debug=true", "run.directory=runs", "run.run_tag=one", "run.video=false", "run.tensorboard=false"]
    loaded = experiments.load("muzero-tictactoe", overrides=[*settings, "run.wandb=disabled"])
    assert launch(loaded, inline=True, resume=None, overrides=()) == 0
    rows = read_metrics(Path("runs/muzero-tictactoe/one"))
    scores = [row["evaluation/return"] for row in rows if "evaluation/return" in row]
    assert scores and all(-1.0 <= score <= 1.0 for score in scores)
