"""PlaNet: a latent world model of pictures, in which every decision is planned.

Hafner et al. 2019, "Learning latent dynamics for planning from pixels", https://arxiv.org/abs/1811.04551. Importing
this does not cost torch.
"""

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.requirements import check, cut, store, values
from rlsys.api import Algorithm, Learner, LearnerContext, Policy, PolicyContext, Spaces, World, WorldContext


def _make_policy(context: PolicyContext) -> Policy:
    from rlsys.algorithms.planet.policy import PlanetPolicy

    return PlanetPolicy(context)


def _make_learner(context: LearnerContext) -> Learner:
    from rlsys.algorithms.planet.learner import PlanetLearner

    return PlanetLearner(context)


def _make_world(context: WorldContext) -> World:
    from rlsys.algorithms.planet.world import make_world

    return make_world(context)


ALGORITHM = Algorithm(
    name="planet",
    config_type=PlanetConfig,
    make_policy=_make_policy,
    make_learner=_make_learner,
    cut=cut,
    store=store,
    check=check,
    values=values,
    example_env={"id": "catch"},
    spaces=Spaces(("discrete", "numbers"), ("array", "parts")),
    debug={
        "model_size": 10,
        "state_size": 5,
        "image_depth": 4,
        "head_layers": 1,
        "head_units": 10,
        "batch_size": 4,
        "length": 10,
        "window_size": 2_000,
        "stored_before_train": 100,
        "samples_per_insert": 20.0,
        "precision": "fp32",  # the same numbers on every machine
        "planner": {"candidates": 5, "elites": 2, "iterations": 2, "horizon": 4},
    },
    make_world=_make_world,
    kept=("image_bits", "cw_tau", "cw_action", "ma_alpha", "future_rnn", "mean_only", "min_stddev"),
)
"""PlaNet as the runtime sees it."""
