"""PPO: clipped policy gradients from what the newest policy did; model-free by itself, and SimPLe's policy learner.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347, as in Kaiser et al. 2020, https://arxiv.org/abs/1903.00374.
Importing this does not cost torch; it comes with the first policy or learner.
"""

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.ppo.requirements import check, cut, store, turns, values
from rlsys.api import Algorithm, Learner, LearnerContext, Policy, PolicyContext, Spaces


def _make_policy(context: PolicyContext) -> Policy:
    from rlsys.algorithms.ppo.policy import PPOPolicy

    return PPOPolicy(context)


def _make_learner(context: LearnerContext) -> Learner:
    from rlsys.algorithms.ppo.learner import PPOLearner

    return PPOLearner(context)


ALGORITHM = Algorithm(
    name="ppo",
    config_type=PPOConfig,
    make_policy=_make_policy,
    make_learner=_make_learner,
    cut=cut,
    store=store,
    turns=turns,
    check=check,
    values=values,
    temperature="eval_temperature",
    example_env={"id": "CartPole-v1"},
    spaces=Spaces(("discrete", "choices", "numbers"), ("array", "integers", "parts")),
    debug={"num_environments": 4, "epoch_length": 10, "optimization_batch_size": 5, "hidden_size": 16},
    environments="num_environments",
)
"""PPO as the runtime sees it."""
