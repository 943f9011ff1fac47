"""IMPALA and R2AC: V-trace actor-critics, with memories that are trained by real-time recurrent learning.

Espeholt et al. 2018, https://arxiv.org/abs/1802.01561; Irie, Gopalakrishnan and Schmidhuber 2024,
https://arxiv.org/abs/2305.19044. Importing this does not cost torch; it comes with the first policy or learner.
"""

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.requirements import check, cut, store, values
from rlsys.api import Algorithm, Learner, LearnerContext, Policy, PolicyContext, Spaces


def _make_policy(context: PolicyContext) -> Policy:
    from rlsys.algorithms.impala.policy import ImpalaPolicy

    return ImpalaPolicy(context)


def _make_learner(context: LearnerContext) -> Learner:
    from rlsys.algorithms.impala.learner import ImpalaLearner

    return ImpalaLearner(context)


ALGORITHM = Algorithm(
    name="impala",
    config_type=ImpalaConfig,
    make_policy=_make_policy,
    make_learner=_make_learner,
    cut=cut,
    store=store,
    check=check,
    values=values,
    temperature="eval_temperature",
    example_env={"id": "CartPole-v1"},
    spaces=Spaces(("discrete", "choices", "numbers"), ("array", "integers", "parts")),
    debug={"batch_size": 4, "unroll_length": 10, "hidden_size": 16, "fc_size": 16},
    is_reactive=True,
)
"""IMPALA as the runtime sees it."""
