"""MuZero: planning with a learned model. Schrittwieser et al. 2020, https://arxiv.org/abs/1911.08265.

Importing this costs neither torch nor numba; they come with the first policy or learner.
"""

from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.requirements import check, cut, store, values
from rlsys.api import Algorithm, Learner, LearnerContext, Policy, PolicyContext, Spaces


def _make_policy(context: PolicyContext) -> Policy:
    from rlsys.algorithms.muzero.policy import MuZeroPolicy

    return MuZeroPolicy(context)


def _make_learner(context: LearnerContext) -> Learner:
    from rlsys.algorithms.muzero.learner import MuZeroLearner

    return MuZeroLearner(context)


ALGORITHM = Algorithm(
    name="muzero",
    config_type=MuZeroConfig,
    make_policy=_make_policy,
    make_learner=_make_learner,
    cut=cut,
    store=store,
    check=check,
    values=values,
    spaces=Spaces(("discrete", "numbers"), masks=True, two_players=True, settings={"numbers": {"sampled_actions": 3}}),
    temperature="eval_temperature",
    refreshes="reanalyse_fraction",
    example_env={"id": "CartPole-v1"},
    debug={
        "num_simulations": 4,
        "fixed_temperatures": [],
        "max_history_length": 32,
        "window_size": 2_000,
        "window_step": None,
        "stored_before_train": 128,
        "batch_size": 16,
        "td_steps": 5,
    },
    kept=("value_support", "reward_support", "no_target_transform", "optimizer", "players"),
)
"""MuZero as the runtime sees it."""
