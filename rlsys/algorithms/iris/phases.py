"""What IRIS does in which order, and how long. Micheli et al. 2023, algorithm 1, https://arxiv.org/abs/2209.00588.

for each epoch: collect · train the tokenizer · train the world model · train the actor-critic · compare with what
happened
"""

from typing import Literal

from rlsys.algorithms.iris.config import IrisConfig
from rlsys.api import Phase

Kind = Literal["collect", "tokenizer", "world_model", "actor_critic", "compare"]


def make_phases(config: IrisConfig) -> tuple[Phase[Kind], ...]:
    """Returns all phases of a run: turns of collecting, updates of a component, and comparisons; epochs begin at 1."""
    return tuple(phase for epoch in range(1, config.epochs + 1) for phase in _of_epoch(config, epoch) if phase.units)


def rows_of_environment(config: IrisConfig) -> int:
    """Returns the decisions that each environment makes in a turn."""
    return -(-config.rows_per_epoch // config.environments)


def _of_epoch(config: IrisConfig, epoch: int) -> tuple[Phase[Kind], ...]:
    """Returns an epoch's phases; some of them have no units."""
    tokenizer, world_model, actor_critic = (
        training.steps_per_epoch if epoch > training.start_after_epochs else 0
        for training in (config.tokenizer_training, config.world_model_training, config.actor_critic_training)
    )
    is_compared = config.compare_every > 0 and epoch % config.compare_every == 0
    return (
        Phase("collect", epoch, int(epoch <= config.collect_epochs)),
        Phase("tokenizer", epoch, tokenizer if config.tokenizer.train else 0),
        Phase("world_model", epoch, world_model),
        Phase("actor_critic", epoch, actor_critic),
        Phase("compare", epoch, int(is_compared and (tokenizer > 0 or world_model > 0))),
    )
