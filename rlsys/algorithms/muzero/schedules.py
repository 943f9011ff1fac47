"""What changes in the course of training, as functions of the learner step: nothing to save, nothing to resume."""

import math

from rlsys.algorithms.muzero.config import MuZeroConfig


def learning_rate(config: MuZeroConfig, learner_step: int) -> float:
    """Returns the learning rate of an update.

        MuZeroLR       lr_init · lr_decay_rate^(step / lr_decay_steps)
        ExponentialLR  the same in stairs, one every lr_decay_steps
        WarmUpLR       lr_init · min(1, max(1, step) / lr_warmup_steps)

    Args:
      config: names the schedule.
      learner_step: updates done before this one.
    """
    progress = learner_step / config.lr_decay_steps
    match config.lr_scheduler:
        case "MuZeroLR":
            return config.lr_init * math.pow(config.lr_decay_rate, progress)
        case "ExponentialLR":
            return config.lr_init * math.pow(config.lr_decay_rate, math.floor(progress))
        case "WarmUpLR":
            return config.lr_init * min(1.0, max(1, learner_step) / config.lr_warmup_steps)
        case _:
            return config.lr_init


def beta(config: MuZeroConfig, learner_step: int) -> float:
    """Returns the exponent of the importance weights of an update; it grows linearly to 1, first before the first."""
    return min(1.0, config.beta + config.beta_increment_per_sampling * (learner_step + 1))


def visit_temperature(config: MuZeroConfig, learner_step: int) -> float:
    """Returns the temperature of the choice among visited actions, from the step that the acting weights come from."""
    for temperature, last_step in zip(config.visit_softmax_temperatures, config.visit_softmax_steps, strict=False):
        if learner_step <= last_step:
            return temperature
    return config.visit_softmax_temperatures[-1]
