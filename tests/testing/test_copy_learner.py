"""That real-time recurrent learning learns what truncated backpropagation with the same span cannot."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from rlsys.errors import ConfigError
from rlsys.nets.elstm import ELSTMCore
from rlsys.nets.lstm import LSTMCore
from rlsys.testing.copy_learner import CopyAccuracy, CopyLearner, CopyLearnerConfig
from rlsys.testing.copy_task import NUM_TOKENS, copy_examples

LENGTH = 4


@pytest.fixture
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def gradients(**settings: object) -> dict[str, Tensor]:
    """Those of one batch of sequences of several lengths, before they are clipped."""
    torch.manual_seed(0)
    core = ELSTMCore(NUM_TOKENS, 6)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.mul_(3.0)  # memories long enough to be missed
    learner = CopyLearner(core, CopyLearnerConfig(update="sequence", **settings))
    learner._update = lambda: None
    learner.learn(copy_examples(5, 7, rng=0))
    return {name: parameter.grad for name, parameter in learner.named_parameters()}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("span", [1, 3, 14])
def test_summed_over_a_sequence_it_is_the_gradient_of_full_backpropagation(span: int) -> None:
    expected = gradients(gradient="backpropagation", span=None)
    found, truncated = gradients(gradient="rtrl", span=span), gradients(gradient="backpropagation", span=span)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-12)
    weight = "core.layers.0.weight"
    error = (truncated[weight] - expected[weight]).norm() / expected[weight].norm()
    assert error < 1e-12 if span == 14 else error > 0.05


def learned(gradient: str, num_batches: int) -> CopyAccuracy:
    torch.manual_seed(0)
    core = ELSTMCore(NUM_TOKENS, 32)
    learner = CopyLearner(core, CopyLearnerConfig(gradient=gradient, span=2, learning_rate=2e-2))
    rng = np.random.default_rng(0)
    for _ in range(num_batches):
        learner.learn(copy_examples(16, LENGTH, min_length=LENGTH, rng=rng))
    assert learner.num_updates == LENGTH // 2 * num_batches
    return learner.evaluate(copy_examples(200, LENGTH, min_length=LENGTH, rng=1))


def test_updates_after_every_chunk_learn_what_truncation_cannot() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        exact, truncated = learned("rtrl", 450), learned("backpropagation", 450)
    finally:
        torch.set_num_threads(threads)
    assert exact.bits > 0.95, exact
    assert truncated.bits < 0.85, truncated


def test_every_core_learns_by_backpropagation() -> None:
    torch.manual_seed(0)
    settings = CopyLearnerConfig(gradient="backpropagation", span=None, learning_rate=1e-2)
    for core in (ELSTMCore(NUM_TOKENS, 16), ELSTMCore(NUM_TOKENS, 16, num_layers=2), LSTMCore(NUM_TOKENS, 16)):
        learner = CopyLearner(core, settings)
        losses = [learner.learn(copy_examples(32, 2, rng=index)) for index in range(200)]
        assert losses[-1] < 0.5 * losses[0], type(core)


def test_what_cannot_work_is_named() -> None:
    with pytest.raises(ConfigError, match="LSTMCore has none"):
        CopyLearner(LSTMCore(NUM_TOKENS, 8), CopyLearnerConfig())
    with pytest.raises(ConfigError, match="span must be at least 1"):
        CopyLearner(ELSTMCore(NUM_TOKENS, 8), CopyLearnerConfig(span=0))
    with pytest.raises(ConfigError, match="4 inputs"):
        CopyLearner(ELSTMCore(3, 8), CopyLearnerConfig())
