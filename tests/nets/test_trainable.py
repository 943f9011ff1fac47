"""A part that learns, against the same written with torch alone."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlsys.api import LearnerContext
from rlsys.errors import CheckpointError, WorkerError
from rlsys.nets.optimizers import SGD, Adam, RMSprop
from rlsys.nets.trainable import Trainable
from rlsys.types import ArraySpec, EnvSpec

ENV = EnvSpec("x", ArraySpec((3,), "float32"), ArraySpec((), "int64"), num_actions=2)
RATE = 0.05


def build() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def make_part(*, seed: int = 0, average: Any = None, **options: Any) -> Trainable[nn.Sequential]:
    given = {} if average is None else {"average": average}
    context = LearnerContext(None, ENV, seed=seed, **given)
    return Trainable(context, build, Adam, **{"remedy": "a lower x.learning_rate", **options})


def batch(seed: int) -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))


def loss(part: Trainable[nn.Sequential], seed: int) -> Tensor:
    value: Tensor = part.network(batch(seed)).square().mean()
    return value


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_weights_come_from_the_seed_alone_and_leave_no_trace() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one = make_part(seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert equal(one.weights(), make_part(seed=1).weights())
    assert not equal(one.weights(), make_part(seed=2).weights())


def test_gradients_of_several_batches_add_up() -> None:
    def gradients(*seeds: int, adds: bool) -> dict[str, Any]:
        part = make_part()
        part.network.eval()
        for seed in seeds:
            part.backward(loss(part, seed), adds=adds)
        return {name: array for name, array in part.histograms().items() if name.startswith("gradients/")}

    one, other, both = gradients(1, adds=False), gradients(2, adds=False), gradients(1, 2, adds=True)
    assert all(np.allclose(both[name], one[name] + other[name], atol=1e-7) for name in both)
    assert equal(gradients(1, 2, adds=False), other)


def test_a_step_is_torchs_on_the_clipped_gradient() -> None:
    part = make_part(max_norm=0.1)
    module = copy.deepcopy(part.network)
    optimizer = torch.optim.Adam(module.parameters())
    for seed in range(4):
        rate = RATE / (seed + 1)
        value = module(batch(seed)).square().mean()
        optimizer.zero_grad()
        value.backward()
        norm = nn.utils.clip_grad_norm_(module.parameters(), 0.1)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        mine = loss(part, seed)
        metrics = part.step(mine, rate, {"loss/total": mine})
        assert metrics == pytest.approx(
            {"loss/total": value.item(), "learner/gradient_norm": norm.item(), "learner/learning_rate": rate}, rel=1e-5
        )
    for name, array in part.weights().items():
        np.testing.assert_allclose(array, module.state_dict()[name].numpy(), rtol=1e-4, atol=1e-6)


def test_ranks_average_gradients_and_running_statistics_before_they_clip() -> None:
    given: list[list[int]] = []

    def average(tensors: list[Tensor]) -> None:
        given.append([tensor.numel() for tensor in tensors])
        for tensor in tensors:
            tensor.mul_(0.5)

    alone, together = make_part(), make_part(average=average, max_norm=1e-3)
    for part in (alone, together):
        part.backward(loss(part, 0))
    norm, half = alone.average_and_clip(), together.average_and_clip()
    assert half.item() == pytest.approx(norm.item() / 2)
    assert given[0][1:] == [8, 8], "mean and variance, but not the count of batches"
    statistics = [part.weights()["1.running_var"] for part in (alone, together)]
    np.testing.assert_allclose(statistics[1], statistics[0] / 2)


def test_each_backward_begins_with_no_gradient() -> None:
    part = make_part()
    norms = []
    for _ in range(2):
        part.backward(loss(part, 0))
        norms.append(part.average_and_clip().item())
    assert norms[0] == norms[1] > 0


@pytest.mark.parametrize(
    ("spoil", "given", "named"),
    [
        (lambda part: part.network[3].bias.data.fill_(np.nan), {}, r"loss/total = nan at learner step 3;"),
        (lambda part: None, {"reward from replay": np.array([0.0, np.inf])}, r"reward from replay holds nan or inf "),
        (
            lambda part: part.network[0].weight.register_hook(lambda x: x * np.inf),
            {},
            r"gradient of 0.weight ",
        ),
    ],
    ids=["loss", "given", "gradient"],
)
def test_the_first_number_that_is_not_finite_is_named_and_changes_nothing(spoil: Any, given: Any, named: str) -> None:
    part = make_part()
    spoil(part)
    parameters = {name: value.detach().clone() for name, value in part.network.named_parameters()}
    mine = loss(part, 0) * (np.inf if given else 1.0)
    metrics = part.step(mine, RATE, {"loss/total": mine})
    assert "learner/learning_rate" not in metrics
    with pytest.raises(WorkerError, match=named) as error:
        part.check_finite(metrics, given, 3)
    assert str(error.value).endswith("go back to the last checkpoint with a lower x.learning_rate.")
    for name, value in part.network.named_parameters():
        torch.testing.assert_close(value.detach(), parameters[name], rtol=0, atol=0, equal_nan=True)


def test_finite_numbers_pass() -> None:
    make_part().check_finite({"loss/total": 1.0}, {"reward": np.array([np.nan])}, 0)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda flat: SGD(flat, momentum=0.9),
        RMSprop,
        lambda flat: Adam(flat, weight_decay=0.01, decoupled=True),
    ],
)
def test_the_step_after_a_load_is_the_same(optimizer: Any) -> None:
    def make(seed: int) -> Trainable[nn.Sequential]:
        context = LearnerContext(None, ENV, seed=seed)
        return Trainable(context, build, optimizer, remedy="x")

    part, twin = make(0), make(1)
    for seed in range(2):
        part.step(loss(part, seed), RATE, {})
    twin.load(copy.deepcopy(part.save()))
    for seed in range(2, 4):
        assert part.step(loss(part, seed), RATE, {}) == twin.step(loss(twin, seed), RATE, {})
    assert equal(part.weights(), twin.weights())


def test_a_part_that_begins_with_others_weights_has_a_new_optimizer() -> None:
    trained, new = make_part(), make_part(seed=1)
    trained.step(loss(trained, 0), RATE, {})
    new.load_weights(trained.weights())
    assert equal(new.weights(), trained.weights())
    assert trained.save()["optimizer"]
    assert not new.save()["optimizer"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"3.bias": np.zeros(1)}, r"the network's '3.bias' is \(1,\), here it has to be \(2,\): "),
        ({"4.bias": np.zeros(2)}, r"the network's '4.bias' is \(2,\), here it has to be missing: "),
        ({"3.bias": None}, r"the network's '3.bias' is missing, here it has to be \(2,\): "),
    ],
)
def test_another_networks_weights_are_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    part = make_part()
    weights = {name: array for name, array in {**part.weights(), **changes}.items() if array is not None}
    before = part.weights()
    with pytest.raises(CheckpointError, match=message) as error:
        part.load_weights(weights)
    assert "\n" not in str(error.value)
    assert equal(part.weights(), before)


def test_a_network_without_running_statistics_saves_none() -> None:
    part = Trainable(LearnerContext(None, ENV, seed=0), lambda: nn.Linear(3, 2), Adam, remedy="x")
    assert part.save().keys() == {"parameters", "optimizer"}
    assert part.weights().keys() == part.save()["parameters"].keys() == {"weight", "bias"}


def test_products_are_rounded_where_that_is_asked_for_and_the_processor_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        part = make_part(precision=precision)
        with part.precision:
            assert part.forward(batch(0)).dtype == dtype


@pytest.mark.parametrize(("compiles", "is_plain"), [("no", True), ("auto", True), ("yes", False)])
def test_only_gpus_compile_unless_told_to(compiles: str, is_plain: bool) -> None:
    part = make_part(compiles=compiles)
    assert (part.forward is part.network) == is_plain


def test_several_parts_name_their_metrics_apart() -> None:
    part = make_part(name="world")
    assert part.step(loss(part, 0), RATE, {}).keys() == {"world/gradient_norm", "world/learning_rate"}
