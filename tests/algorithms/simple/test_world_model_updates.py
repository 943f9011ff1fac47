"""How the world model learns, against slower ways to the same."""

import math

import numpy as np
import pytest
import torch
from support.worlds import (
    CATCH,
    SMALL,
    SMALL_DETERMINISTIC,
    clips,
)

from rlsys.algorithms.simple.config import WorldModelConfig
from rlsys.algorithms.simple.world_model_updates import WorldModelUpdates, _clipped
from rlsys.api import LearnerContext


def test_what_is_good_enough_has_no_gradient() -> None:
    loss = torch.tensor([0.029, 0.01, 0.5], requires_grad=True)
    _clipped(loss, 0.03).backward()
    assert loss.grad is not None
    assert loss.grad.tolist() == pytest.approx([0.0, 0.0, 1 / 3])


@pytest.mark.parametrize("config", [SMALL, SMALL_DETERMINISTIC])
def test_a_model_learns_a_clip(config: WorldModelConfig) -> None:
    changes = {"learning_rate": 0.02, "learning_rate_warmup_steps": 5, "dropout": 0.0, "residual_dropout": 0.0}
    updates = WorldModelUpdates(config.model_copy(update=changes), LearnerContext(None, CATCH, seed=0))
    frames, actions, rewards = clips(2, 4 + config.target_frames)
    frames = frames // 128 * 255
    torch.manual_seed(0)
    losses = [updates.step(frames, actions, rewards) for _ in range(60)]
    assert losses[-1]["world/loss_pixels"] < 0.5 * losses[0]["world/loss_pixels"]
    assert losses[-1]["world/loss_reward"] < losses[0]["world/loss_reward"]
    expected = {"world/loss", "world/loss_pixels", "world/loss_reward", "world/gradient_norm", "world/learning_rate"}
    if config is SMALL:
        expected |= {"world/loss_bits", "world/loss_given"}
    assert set(losses[0]) == expected


@pytest.mark.parametrize("config", [SMALL, SMALL_DETERMINISTIC.model_copy(update={"scheduled_sampling": "none"})])
def test_frames_that_are_predicted_from_all_at_once_are_predicted_alike(config: WorldModelConfig) -> None:
    changes = {"dropout": 0.0, "residual_dropout": 0.0, "latent_use_max_probability": 0.0, "scheduled_sampling": "none"}
    config = config.model_copy(update=changes)
    updates = WorldModelUpdates(config, LearnerContext(None, CATCH, seed=0))
    frames, actions, rewards = clips(2, 4 + config.target_frames)
    is_recurrent = config is not SMALL_DETERMINISTIC and config.generative_model == "stochastic_discrete"
    updates.num_updates = 100_000
    losses = updates._losses(frames, actions, rewards)
    network, step = updates.model.network, torch.tensor(100_000.0)
    memory = network.no_memory(2) if is_recurrent else frames[:, :3]
    pixels, values = [], []
    for index in range(0 if is_recurrent else 3, frames.shape[1] - 1):
        after = frames[:, index + 1]
        prediction = network(frames[:, index], actions[:, index], memory, after if is_recurrent else None, step)
        memory = prediction.memory
        expected = torch.nn.functional.cross_entropy(
            prediction.pixel_logits.movedim(-1, 1), after.movedim(1, -1).long(), reduction="none"
        )
        pixels.append(_clipped(expected, config.loss_cutoff))
        classes = (rewards[:, index] + 1).long()
        chosen = torch.nn.functional.cross_entropy(prediction.reward_logits, classes, reduction="none")
        values.append(_clipped(chosen, config.loss_cutoff))
    targets = config.target_frames
    torch.testing.assert_close(losses["world/loss_pixels"], torch.stack(pixels[-targets:]).mean())
    torch.testing.assert_close(losses["world/loss_reward"], torch.stack(values[-targets:]).mean())
    if is_recurrent:
        torch.testing.assert_close(losses["world/loss_given"], torch.stack(pixels[:-targets]).mean())


def test_noise_replaces_pixels_of_the_given_frames_by_the_median() -> None:
    config = SMALL_DETERMINISTIC.model_copy(update={"input_noise": 0.3})
    updates = WorldModelUpdates(config, LearnerContext(None, CATCH, seed=0))
    frames, _, _ = clips(3, 6)
    noisy = updates._with_noise(frames)
    assert torch.equal(noisy[:, 4:], frames[:, 4:])
    changed = noisy[:, :4] != frames[:, :4]
    assert 0.2 < changed.float().mean() < 0.35
    assert noisy[:, :4][changed].unique().tolist() == [int(frames[:, :4].float().median())]


def test_an_update_that_is_not_finite_changes_nothing() -> None:
    updates = WorldModelUpdates(SMALL, LearnerContext(None, CATCH, seed=0))
    before = updates.save()[0]["parameters"]
    frames, actions, rewards = clips(2, 7)
    updates.model.network.pixels.bias.data.fill_(math.nan)
    metrics = updates.step(frames, actions, rewards)
    assert math.isnan(metrics["world/loss"])
    after = updates.save()[0]["parameters"]
    assert all(np.array_equal(before[name], after[name]) for name in before if name != "pixels.bias")


def test_the_first_update_of_a_model_moves_nothing() -> None:
    updates = WorldModelUpdates(SMALL, LearnerContext(None, CATCH, seed=0))
    before = updates.save()[0]["parameters"]
    assert updates.step(*clips(2, 7))["world/learning_rate"] == 0.0
    after = updates.save()[0]["parameters"]
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert updates.step(*clips(2, 7))["world/learning_rate"] == 0.002 / 2_000
