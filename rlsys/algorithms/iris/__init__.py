"""IRIS: a policy that is learned in the imagination of a world model over discrete tokens.

Micheli et al. 2023, "Transformers are sample-efficient world models", https://arxiv.org/abs/2209.00588, with the
options of a thesis's fork of it. Importing this does not cost torch.
"""

from rlsys.algorithms.iris.config import IrisConfig
from rlsys.algorithms.iris.requirements import check, cut, store, turns, values
from rlsys.api import Algorithm, Learner, LearnerContext, Policy, PolicyContext, World, WorldContext


def _make_policy(context: PolicyContext) -> Policy:
    from rlsys.algorithms.iris.policy import IrisPolicy

    return IrisPolicy(context)


def _make_learner(context: LearnerContext) -> Learner:
    from rlsys.algorithms.iris.learner import IrisLearner

    return IrisLearner(context)


def _make_world(context: WorldContext) -> World:
    from rlsys.algorithms.iris.world import make_world

    return make_world(context)


_TRAINING = {"steps_per_epoch": 2, "batch_size": 4}

ALGORITHM = Algorithm(
    name="iris",
    config_type=IrisConfig,
    make_policy=_make_policy,
    make_learner=_make_learner,
    cut=cut,
    store=store,
    turns=turns,
    check=check,
    values=values,
    temperature="eval_temperature",
    example_env={"id": "catch", "max_episode_steps": 25},
    debug={
        "epochs": 3,
        "collect_epochs": 2,
        "rows_per_epoch": 120,
        "environments": 2,
        "held_out_every": 2,
        "compare_every": 1,
        "context": 2,
        "precision": "fp32",  # the same numbers on every machine
        "tokenizer": {
            "vocabulary_size": 8,
            "embedding_size": 8,
            "z_channels": 8,
            "channels": 8,
            "channel_multipliers": [1, 1, 1],
            "residual_blocks": 1,
            "attention_resolutions": [],
        },
        "tokenizer_training": {**_TRAINING, "start_after_epochs": 0},
        "world_model": {"layers": 1, "width": 8, "heads": 2, "max_blocks": 5, "precision": "fp32"},
        "world_model_training": {**_TRAINING, "start_after_epochs": 1, "length": 5},
        "actor_critic": {"channels": [4, 4, 8, 8], "units": 16, "horizon": 4, "burn_in": 3},
        "actor_critic_training": {**_TRAINING, "start_after_epochs": 1},
    },
    make_world=_make_world,
    environments="environments",
    kept=(
        "world_model.heads",
        "world_model.attention",
        "world_model.gelu",
        "world_model.ncp_cell",
        "world_model.ncp_seed",
    ),
)
"""IRIS as the runtime sees it."""
