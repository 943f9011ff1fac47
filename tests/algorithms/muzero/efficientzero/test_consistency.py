"""Consistency: imagined states are drawn to what was seen then, and nothing else is drawn to them."""

import numpy as np
import pytest
import torch
from support.fake_replay import ENV, IMAGES, FakeReplay
from torch.nn import functional

from rlsys.algorithms.muzero import ALGORITHM
from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.efficientzero.consistency import Consistency
from rlsys.algorithms.muzero.learner import MuZeroLearner
from rlsys.api import LearnerContext
from rlsys.config import read_env
from rlsys.testing.contract import check_algorithm
from rlsys.types import EnvSpec

SMALL = {"batch_size": 16, "num_unroll_steps": 3, "td_steps": 4, "stored_before_train": 16, "consistency_weight": 2.0}
IMAGE = {"architecture": "TinyNetwork", "augmentation": ["shift", "intensity"]}


def make_learner(env: EnvSpec = ENV, **options: object) -> MuZeroLearner:
    return MuZeroLearner(LearnerContext(MuZeroConfig.model_validate({**SMALL, **options}), env, seed=0))


def test_only_what_is_imagined_is_drawn() -> None:
    torch.manual_seed(0)
    compare = Consistency(6)
    imagined, seen = (torch.randn(8, 2, 3, requires_grad=True) for _ in range(2))
    loss_N = compare.loss(imagined, seen)
    assert loss_N.shape == (8,) and (loss_N.abs() <= 1.0 + 1e-6).all()
    loss_N.sum().backward()
    assert imagined.grad is not None and imagined.grad.abs().sum() > 0
    assert seen.grad is None
    foretold = compare.predictor(compare.projector(imagined.flatten(1)))
    torch.testing.assert_close(loss_N, -functional.cosine_similarity(foretold, compare.projector(seen.flatten(1))))


def test_the_loss_is_that_of_real_observations_up_to_the_end_of_an_episode() -> None:
    learner, replay = make_learner(beta=0.0, beta_increment_per_sampling=0.0), FakeReplay(ENV)
    replay.windows.num_rows[:4] = [1, 2, 3, 4]
    network = make_network(learner._config, ENV)
    network.load_state_dict({name: torch.tensor(array) for name, array in learner.weights().items()})
    windows, is_there_BK = replay.windows, np.arange(1, 4) < replay.windows.num_rows[:16, None]
    random_BK = np.random.default_rng(learner._context.draw_seed).integers(0, 3, (16, 3))
    action_BK = np.where(np.arange(3) < windows.num_rows[:16, None], windows.action[:16, :3], random_BK)
    state, states = network.represent(torch.tensor(windows.observation[:16, 0])), []
    for k in range(3):
        state, _ = network.transition(state, torch.tensor(action_BK[:, k]))
        states.append(state)
    seen = torch.cat([network.represent(torch.tensor(windows.observation[:16, k])) for k in (1, 2, 3)])
    assert network.consistency is not None
    loss_KB = network.consistency.loss(torch.cat(states), seen).view(3, 16)
    assert is_there_BK[:4].tolist() == [[False] * 3, [True, False, False], [True, True, False], [True] * 3]
    due = float((loss_KB.detach().T * torch.tensor(is_there_BK)).sum() / 16)
    metrics = learner.step(replay)
    assert metrics["loss/consistency"] == pytest.approx(due, rel=1e-4)
    parts = metrics["loss/value"] + metrics["loss/reward"] + metrics["loss/policy"]
    assert metrics["loss/total"] == pytest.approx(parts + 2.0 * metrics["loss/consistency"], rel=1e-5)


@pytest.mark.parametrize(("env", "options"), [(ENV, {}), (IMAGES, IMAGE)])
def test_states_become_consistent(env: EnvSpec, options: dict[str, object]) -> None:
    learner, replay = make_learner(env, lr_init=1e-3, **options), FakeReplay(env, size=16)
    losses = [learner.step(replay)["loss/consistency"] for _ in range(30)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


def test_without_a_weight_nothing_is_compared_and_networks_are_as_they_were() -> None:
    learner = make_learner(consistency_weight=0.0)
    assert "loss/consistency" not in learner.step(FakeReplay(ENV))
    assert not any("consistency" in name for name in learner.weights())


def test_it_keeps_the_contract_with_pictures_that_are_changed() -> None:
    section = {**ALGORITHM.debug, "consistency_weight": 2.0, **IMAGE}
    check_algorithm(ALGORITHM, MuZeroConfig.model_validate(section), read_env({"id": "catch"}))


def test_what_older_runs_have_saved_of_their_draws_is_read() -> None:
    learner, replay = make_learner(IMAGES, **IMAGE), FakeReplay(IMAGES, size=16)
    learner.step(replay)
    saved = dict(learner.save())
    after = learner.step(replay)
    saved["augmentation"] = saved.pop("generator")
    learner.load(saved)
    assert learner.step(replay) == after
