"""The learner: its gradient, what it hands on, and that it learns."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from support.fake_replay import ENV, IMAGES, FakeReplay
from torch import Tensor

from rlsys.algorithms.muzero import schedules
from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.learner import MuZeroLearner
from rlsys.algorithms.muzero.requirements import ROOT_VALUE, VISITS
from rlsys.algorithms.muzero.scalars import reward_code, value_code
from rlsys.api import LearnerContext
from rlsys.errors import WorkerError
from rlsys.ops.returns import n_step_returns
from rlsys.testing.processes import RankGroup
from rlsys.types import EnvSpec

SMALL: dict[str, Any] = {"batch_size": 16, "num_unroll_steps": 3, "td_steps": 4, "stored_before_train": 16}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Threads of small products would wait for each other far longer than they work."""
    torch.set_num_threads(1)


def make_learner(env: EnvSpec = ENV, **options: Any) -> MuZeroLearner:
    return MuZeroLearner(LearnerContext(MuZeroConfig.model_validate({**SMALL, **options}), env, seed=0))


def naive_loss(learner: MuZeroLearner, config: MuZeroConfig, replay: FakeReplay) -> tuple[Tensor, list[Tensor]]:
    """Recomputes the loss step by step; returns it and the parameters that it depends on."""
    torch.manual_seed(0)
    network = make_network(config, ENV)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(torch.tensor(learner.weights()[name]))
    windows, count, num_steps = replay.windows, config.batch_size, config.num_unroll_steps
    value_BK = n_step_returns(
        windows.reward[:count],
        windows.extras[ROOT_VALUE][:count],
        num_returns=num_steps + 1,
        num_steps=config.td_steps,
        discount=config.discount,
    )
    beta = min(1.0, config.beta + config.beta_increment_per_sampling)
    weight_B = (windows.num_items * windows.probability[:count]) ** -beta
    weight_B = torch.tensor(weight_B / weight_B.max(), dtype=torch.float32)

    def cross_entropy(logits: Tensor, target: np.ndarray) -> Tensor:
        return -(torch.tensor(target) * torch.log_softmax(logits, dim=1)).sum(dim=1)

    total_B = torch.zeros(count)
    state = network.represent(torch.tensor(windows.observation[:count, 0]))
    for k in range(num_steps + 1):
        value, policy = network.predict(state)
        value_target = torch.tensor(value_BK[:, k], dtype=torch.float32)
        total_B = total_B + config.value_loss_weight * value_code(config).loss(value, value_target)
        total_B = total_B + cross_entropy(policy, windows.extras[VISITS][:count, k])
        if k < num_steps:
            halved = 0.5 * state + 0.5 * state.detach()
            state, features = network.transition(halved, torch.tensor(windows.action[:count, k]))
            reward_target = torch.tensor(windows.reward[:count, k])
            total_B = total_B + reward_code(config).loss(network.predict_reward(features), reward_target)
    return (weight_B * total_B).mean(), list(network.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"no_support": True},
        {"no_support": True, "scalar_loss": "Huber"},
        {"no_target_transform": True},
        {"beta": 0.5, "value_loss_weight": 0.25, "num_unroll_steps": 1},
    ],
)
def test_the_gradient_equals_a_naive_step_by_step_computation(options: dict[str, Any]) -> None:
    config = MuZeroConfig.model_validate({**SMALL, **options})
    learner, replay = make_learner(**options), FakeReplay()
    loss, parameters = naive_loss(learner, config, replay)
    expected = torch.autograd.grad(loss / config.num_unroll_steps, parameters)
    metrics = learner.step(replay)
    found = learner._model._flat.gradients().values()
    assert metrics["loss/total"] == pytest.approx(loss.item(), rel=1e-5)
    for gradient, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-7)


def test_priorities_are_of_raw_errors_before_the_update() -> None:
    learner, replay = make_learner(alpha=0.6, epsilon=0.02), FakeReplay()
    network, windows = learner._model.network, replay.windows
    with torch.no_grad():
        value = network.predict(network.represent(torch.tensor(windows.observation[:16, 0]))).value
    predicted = value_code(learner._config).decode(value).numpy()
    returns = n_step_returns(windows.reward, windows.extras[ROOT_VALUE], num_returns=1, num_steps=4, discount=0.997)
    learner.step(replay)
    [(keys, priorities)] = replay.updates
    assert np.array_equal(keys, windows.key[:16])
    assert priorities.dtype == np.float64
    np.testing.assert_allclose(priorities, (np.abs(predicted - returns[:16, 0]) + 0.02) ** 0.6, rtol=1e-4)


def test_masked_steps_and_absorbing_policies_do_not_pull() -> None:
    replay = FakeReplay()
    windows = replay.windows
    ends = 2
    windows.num_rows[:] = ends
    windows.reward[:, ends:] = 0.0
    windows.truncated[:, ends - 1] = True
    for name in (VISITS, ROOT_VALUE):
        windows.extras[name][:, ends + 1 :] = 0.0
    one_step_more = make_learner(num_unroll_steps=3)
    exactly_to_the_end = make_learner(num_unroll_steps=2, td_steps=5)
    found, expected = one_step_more.step(replay), exactly_to_the_end.step(replay)
    for name in ("loss/value", "loss/reward", "loss/policy"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)


@pytest.mark.parametrize("optimizer", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_the_step_after_a_load_is_the_same(optimizer: str) -> None:
    options = {"optimizer": optimizer, "lr_scheduler": "MuZeroLR", "beta": 0.4, "lr_decay_steps": 10}
    replay = FakeReplay()
    replay.windows.num_rows[:] = 2  # the actions after the end are drawn at random
    replay.windows.terminated[:, 1] = True
    original, resumed = make_learner(**options), make_learner(**options)
    for _ in range(3):
        original.step(replay)
    resumed.load(original.save())
    for _ in range(2):
        assert resumed.step(replay) == original.step(replay)
    assert_same_weights(original, resumed)


def test_running_statistics_are_published_and_saved() -> None:
    config = {"architecture": "MuZeroNetwork", "batch_size": 2, "num_unroll_steps": 1}
    learner, replay = make_learner(IMAGES, **config), FakeReplay(IMAGES, size=2)
    before = learner.weights()
    learner.step(replay)
    name = "dynamics.1.running_mean"
    assert not np.array_equal(before[name], learner.weights()[name])
    resumed = make_learner(IMAGES, **config)
    resumed.load(learner.save())
    assert_same_weights(learner, resumed)


def test_weights_do_not_change_with_later_steps() -> None:
    learner, replay = make_learner(), FakeReplay()
    weights = learner.weights()
    copies = {name: array.copy() for name, array in weights.items()}
    learner.step(replay)
    assert all(np.array_equal(weights[name], copies[name]) for name in weights)
    assert not np.array_equal(learner.weights()["value.out.bias"], weights["value.out.bias"])


def test_histograms_are_of_weights_and_gradients() -> None:
    learner = make_learner()
    learner.step(FakeReplay())
    histograms = learner.histograms()
    for name, array in learner.weights().items():
        assert np.array_equal(histograms[f"weights/{name}"], array)
        assert histograms[f"gradients/{name}"].shape == array.shape
        assert histograms[f"gradients/{name}"].any()


def test_two_ranks_with_half_the_batch_equal_one_with_the_whole() -> None:
    alone = make_learner()
    group = RankGroup(2, seed=0)
    learners = [
        MuZeroLearner(
            LearnerContext(
                MuZeroConfig(**SMALL), ENV, seed=0, num_ranks=2, average=functools.partial(group.average, rank)
            )
        )
        for rank in range(2)
    ]
    replays = [FakeReplay(first=rank, step=2) for rank in range(2)]

    def work(rank: int) -> None:
        for _ in range(3):
            learners[rank].step(replays[rank])

    group.run(work)
    for _ in range(3):
        alone.step(FakeReplay())
    assert_same_weights(learners[0], learners[1])
    for name, array in alone.weights().items():
        np.testing.assert_allclose(learners[0].weights()[name], array, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda windows: windows.reward.__setitem__((0, 0), np.nan), "value target"),
        (lambda windows: windows.observation.__setitem__((0, 0, 0), np.inf), "observation"),
        (lambda windows: windows.extras[VISITS].__setitem__((0, 0, 0), np.nan), "policy target"),
        (lambda windows: windows.extras[ROOT_VALUE].__setitem__((0, 4), np.inf), "value target"),
    ],
)
def test_numbers_that_are_not_finite_stop_training_before_the_weights_change(spoil: Any, named: str) -> None:
    learner, replay = make_learner(), FakeReplay()
    learner.step(replay)
    before = learner.weights()
    spoil(replay.windows)
    with pytest.raises(WorkerError, match=f"{named} .*learner step 1"):
        learner.step(replay)
    assert len(replay.updates) == 1
    assert all(np.array_equal(before[name], array) for name, array in learner.weights().items())


def test_weights_that_are_not_finite_are_named_by_their_loss() -> None:
    learner = make_learner()
    with torch.no_grad():
        learner._model.network.get_parameter("reward.out.bias").fill_(float("nan"))
    with pytest.raises(WorkerError, match="loss/reward = nan"):
        learner.step(FakeReplay())


def test_a_clipped_gradient_has_the_allowed_norm_and_the_same_direction() -> None:
    free, clipped = make_learner(), make_learner(clip_grad=0.01)
    norm = free.step(FakeReplay())["learner/gradient_norm"]
    assert clipped.step(FakeReplay())["learner/gradient_norm"] == pytest.approx(norm)
    assert norm > 0.01
    torch.testing.assert_close(clipped._model._flat.gradient, free._model._flat.gradient * (0.01 / norm))


def test_bf16_is_close_to_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    exact, rounded = make_learner(), make_learner(learning_precision="bf16")
    replay = FakeReplay()
    for _ in range(20):
        expected, found = exact.step(replay), rounded.step(replay)
    assert found["loss/total"] != expected["loss/total"]
    assert found["loss/total"] == pytest.approx(expected["loss/total"], rel=0.02)
    assert rounded.weights()["value.out.weight"].dtype == np.float32


def test_bf16_is_fp32_where_it_would_be_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    exact, rounded = make_learner(), make_learner(learning_precision="bf16")
    assert exact.step(FakeReplay()) == rounded.step(FakeReplay())


def test_read_only_arrays_are_accepted() -> None:
    replay = FakeReplay()
    for array in (replay.windows.observation, replay.windows.reward, *replay.windows.extras.values()):
        array.flags.writeable = False
    make_learner().step(replay)


def test_the_learning_rate_follows_its_schedule() -> None:
    learner = make_learner(lr_scheduler="WarmUpLR", lr_warmup_steps=4)
    rates = [learner.step(FakeReplay())["learner/learning_rate"] for _ in range(6)]
    assert rates == pytest.approx([2e-4, 2e-4, 4e-4, 6e-4, 8e-4, 8e-4])
    assert rates == [schedules.learning_rate(learner._config, step) for step in range(6)]


def test_it_learns_to_predict_its_targets() -> None:
    learner, replay = make_learner(lr_init=3e-3, clip_grad=10.0), FakeReplay()
    windows = replay.windows
    visits = np.eye(3, dtype=np.float32)[(windows.observation[:, :1, 0] % 3).astype(int) + 0 * windows.action]
    windows.extras[VISITS][:] = visits
    first = learner.step(replay)
    for _ in range(250):
        last = learner.step(replay)
    assert last["loss/policy"] < 0.05 * first["loss/policy"]
    keys, priorities = replay.updates[-1]
    assert len(keys) == 16
    assert np.median(priorities) < 0.2 * np.median(replay.updates[0][1])


def assert_same_weights(one: MuZeroLearner, other: MuZeroLearner) -> None:
    found, expected = one.weights(), other.weights()
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name
