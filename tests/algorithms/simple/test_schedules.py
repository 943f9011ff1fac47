"""What grows while a world model learns, against tensor2tensor's formulas written out with plain numbers."""

import itertools

import pytest
import torch

from rlsys.algorithms.simple import schedules
from rlsys.algorithms.simple.config import WorldModelConfig

STEPS = (0, 1, 7, 249, 250, 599, 1_000, 5_000, 10_000, 20_000, 40_000, 10**6)


def inverse_lin_decay(max_step: float, step: int) -> float:
    return min(step / max_step, 1.0) * (1.0 - 0.01) + 0.01


def inverse_exp_decay(max_step: int, step: int) -> float:
    inv_base = 0.01 ** (1.0 / max_step) if max_step else 0.0
    return float(inv_base ** max(max_step - step, 0.0))


def at(step: int) -> torch.Tensor:
    return torch.tensor(float(step), dtype=torch.float64)


@pytest.mark.parametrize("decay_steps", [1, 3, 4, 5, 1_000, 10_000, 40_000])
@pytest.mark.parametrize("max_prob", [0.3, 1.0])
def test_scheduled_sampling_grows_as_upstreams(decay_steps: int, max_prob: float) -> None:
    for step in STEPS:
        late = inverse_exp_decay(decay_steps // 4, step) * inverse_lin_decay(decay_steps, step)
        expected = {
            "none": 0.0,
            "prediction_only": 1.0,
            "prob_inverse_lin": late * max_prob,
            "prob_inverse_exp": inverse_exp_decay(decay_steps, step) * max_prob,
        }
        for mode, share in expected.items():
            config = WorldModelConfig(
                scheduled_sampling=mode,  # type: ignore[arg-type]
                scheduled_sampling_decay_steps=decay_steps,
                scheduled_sampling_max_prob=max_prob,
            )
            assert float(schedules.predicted_frames(config, at(step))) == pytest.approx(share), (mode, step)


def test_scheduled_sampling_is_upstreams_at_its_numbers() -> None:
    shares = [float(schedules.predicted_frames(WorldModelConfig(), at(step))) for step in (0, 5_000, 10_000, 20_000)]
    assert shares == pytest.approx([1e-4, 0.0134, 0.2575, 0.505], rel=0.01)
    short = WorldModelConfig(scheduled_sampling_decay_steps=1_000)
    assert float(schedules.predicted_frames(short, at(1_000))) == 1.0


def test_each_share_of_bits_grows_by_its_own_option() -> None:
    for rounding, drawing, step in itertools.product((600, 40_000), (1, 600, 40_000), STEPS):
        config = WorldModelConfig(
            discretize_warmup_steps=rounding,
            latent_rnn_warmup_steps=drawing,
            latent_rnn_max_sampling=0.4,
            latent_use_max_probability=0.7,
        )
        ours = [share(config, at(step)) for share in (schedules.rounded_bits, schedules.predicted_bits)]
        assert float(ours[0]) == pytest.approx(inverse_lin_decay(rounding, step))
        assert float(ours[1]) == pytest.approx(0.4 * inverse_lin_decay(drawing, step))
        assert float(schedules.examples_with_bits(config, at(step))) == pytest.approx(
            0.7 * inverse_lin_decay(drawing / 2, step)
        )


@pytest.mark.parametrize("warmup", [1, 100, 8_000])
def test_the_learning_rate_is_upstreams_and_that_of_the_first_update_is_0(warmup: int) -> None:
    for step in STEPS:
        linear_warmup, rsqrt_decay = min(1.0, step / warmup), max(step, warmup) ** -0.5
        stays = WorldModelConfig(learning_rate=1.5, learning_rate_warmup_steps=warmup)
        falls = stays.model_copy(update={"optimizer_schedule": "warmup_rsqrt"})
        assert schedules.learning_rate(stays, step) == pytest.approx(1.5 * linear_warmup)
        assert schedules.learning_rate(falls, step) == pytest.approx(1.5 * linear_warmup * rsqrt_decay)
    assert schedules.learning_rate(stays, 0) == 0.0
