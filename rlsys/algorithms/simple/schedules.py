"""What grows while a world model learns, as functions of its updates so far: nothing to save, nothing to resume.

Kaiser et al. 2020, appendix, https://arxiv.org/abs/1903.00374; scheduled sampling is that of Bengio et al. 2015,
https://arxiv.org/abs/1506.03099.

    lin(n) = 0.01 + 0.99 min(1, step / n)      exp(n) = 0.01 ^ (max(0, n - step) / n), 1 for n = 0

Steps are tensors without axes: a compiled model would otherwise be compiled anew for each of them.
"""

import torch
from torch import Tensor

from rlsys.algorithms.simple.config import WorldModelConfig

_LEAST = 0.01


def learning_rate(config: WorldModelConfig, step: int) -> float:
    """Returns the rate of the update after `step` others: the first one's is 0.

    It grows over `learning_rate_warmup_steps` updates, and stays, or is multiplied by 1 / √max(step, those).
    """
    warmup = config.learning_rate_warmup_steps
    rate = config.learning_rate * min(1.0, step / warmup)
    return rate * max(step, warmup) ** -0.5 if config.optimizer_schedule == "warmup_rsqrt" else rate


def predicted_frames(config: WorldModelConfig, step: Tensor) -> Tensor:
    """Returns the share of examples that go on from predicted frames: scheduled sampling."""
    over = config.scheduled_sampling_decay_steps
    match config.scheduled_sampling:
        case "none":
            return torch.zeros_like(step)
        case "prediction_only":
            return torch.ones_like(step)
        case "prob_inverse_lin":  # hardly any in the first quarter
            share = _exponential(over // 4, step) * _linear(over, step)
        case "prob_inverse_exp":
            share = _exponential(over, step)
    return share * config.scheduled_sampling_max_prob


def rounded_bits(config: WorldModelConfig, step: Tensor) -> Tensor:
    """Returns the share of bits that are rounded."""
    return _linear(config.discretize_warmup_steps, step)


def predicted_bits(config: WorldModelConfig, step: Tensor) -> Tensor:
    """Returns the share of bits that are predicted ones rather than those read off the true next frame."""
    return config.latent_rnn_max_sampling * _linear(config.latent_rnn_warmup_steps, step)


def examples_with_bits(config: WorldModelConfig, step: Tensor) -> Tensor:
    """Returns the share of examples that are given any bits; it grows in half the time of `predicted_bits`."""
    return config.latent_use_max_probability * _linear(config.latent_rnn_warmup_steps / 2, step)


def _linear(over: float, step: Tensor) -> Tensor:
    return _LEAST + (1.0 - _LEAST) * (step / over).clamp(max=1.0)


def _exponential(over: int, step: Tensor) -> Tensor:
    return _LEAST ** ((over - step).clamp_min(0.0) / over) if over else torch.ones_like(step)
