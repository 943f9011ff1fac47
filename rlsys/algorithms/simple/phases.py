"""What SimPLe does in which order, and how long. Kaiser et al. 2020, algorithm 1, https://arxiv.org/abs/1903.00374.

collect · for each epoch: train the model · train the policy in it · collect · compare the model with what happened
"""

import math
from typing import Literal

from rlsys.algorithms.simple.config import SimpleConfig
from rlsys.api import Phase

Kind = Literal["collect", "model", "policy", "compare"]

_LONG_MODEL_EPOCHS = (0, 1, 4, 9, 14)
_LONG_POLICY_EPOCHS_FROM_END = (3, 7)


def make_phases(config: SimpleConfig) -> tuple[Phase[Kind], ...]:
    """Returns all phases of a run: turns of collecting, updates of the model, iterations of PPO, and comparisons.

    The first collection is epoch -1's.
    """
    turns = turns_of_epoch(config)
    phases: list[Phase[Kind]] = [Phase("collect", -1, turns)]
    for epoch in range(config.epochs):
        is_last = epoch == config.epochs - 1
        phases += [
            Phase("model", epoch, config.model_train_steps * model_multiplier(config, epoch)),
            Phase("policy", epoch, config.ppo_epochs_num * policy_multiplier(config, epoch)),
            Phase("collect", epoch, 0 if is_last and config.stop_loop_early else turns),
            Phase("compare", epoch, int(config.eval_world_model)),
        ]
    return tuple(phase for phase in phases if phase.units)


def turns_of_epoch(config: SimpleConfig) -> int:
    """Returns how many turns of collecting an epoch has."""
    return math.ceil(math.ceil(config.num_real_env_frames / config.epochs) / rows_per_turn(config))


def unrolls_of_turn(config: SimpleConfig) -> tuple[int, int]:
    """Returns how many unrolls each environment makes in a turn, and how long they are: shorter where one is enough."""
    share = math.ceil(config.real_unrolls * config.real_unroll_length / config.real_batch_size)
    length = min(config.real_unroll_length, share)
    return math.ceil(share / length), length


def rows_per_turn(config: SimpleConfig) -> int:
    """Returns the decisions that all environments make in a turn."""
    return math.prod(unrolls_of_turn(config)) * config.real_batch_size


def model_multiplier(config: SimpleConfig, epoch: int) -> int:
    """Returns how many times the usual the model is trained in an epoch."""
    long = _LONG_MODEL_EPOCHS if config.version == "head" else (0,)
    return config.initial_epoch_train_steps_multiplier if epoch in long else 1


def policy_multiplier(config: SimpleConfig, epoch: int) -> int:
    """Returns how many times the usual the policy is trained in an epoch."""
    last = config.epochs - 1
    if epoch == last:
        return 3
    is_long = last - epoch in _LONG_POLICY_EPOCHS_FROM_END or (config.version == "head" and epoch == 1)
    return 2 if is_long else 1
