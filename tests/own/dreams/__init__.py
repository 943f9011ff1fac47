"""A recurrent world model, and a policy for actions that are numbers, which learns in it: an algorithm of one's own.

The model is a GRU that foretells the next observation and reward; the policy learns by policy gradients from what the
model says would come of its actions, as in Ha and Schmidhuber 2018, https://arxiv.org/abs/1809.01999, and Hafner et al.
2020, https://arxiv.org/abs/1912.01603. It is as simple as can be. Importing this does not cost torch.
"""

from dreams.config import DreamerConfig
from dreams.requirements import check, cut, store, values
from rlsys.api import Algorithm, Learner, LearnerContext, Policy, PolicyContext, Spaces, World, WorldContext


def _make_policy(context: PolicyContext) -> Policy:
    from dreams.policy import DreamerPolicy

    return DreamerPolicy(context)


def _make_learner(context: LearnerContext) -> Learner:
    from dreams.learner import DreamerLearner

    return DreamerLearner(context)


def _make_world(context: WorldContext) -> World:
    from dreams.world import make_world

    return make_world(context)


DREAMER = Algorithm(
    name="dreamer",
    config_type=DreamerConfig,
    make_policy=_make_policy,
    make_learner=_make_learner,
    cut=cut,
    store=store,
    check=check,
    values=values,
    temperature="eval_temperature",
    example_env={"id": "Pendulum-v1"},
    spaces=Spaces(("numbers",), ("array",)),
    debug={"units": 16, "batch_size": 8, "length": 6, "horizon": 3, "window_size": 2_000, "stored_before_train": 100},
    make_world=_make_world,
)
"""The record; `algorithm: dreams:dreamer` finds it by its name."""
