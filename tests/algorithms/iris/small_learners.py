"""A small IRIS learner on Catch, its settings, and real trainings of it."""

from typing import Any

from rlsys.algorithms.iris import ALGORITHM
from rlsys.algorithms.iris.config import IrisConfig
from rlsys.algorithms.iris.learner import IrisLearner
from rlsys.api import LearnerContext
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.testing.training import Training

CATCH = env_spec(EnvConfig(id="catch"))


def settings(**changes: Any) -> IrisConfig:
    """Those of `debug=true`; of a section in them, given ones are put into it."""
    tree: dict[str, Any] = dict(ALGORITHM.debug)
    for name, value in changes.items():
        tree[name] = {**tree[name], **value} if isinstance(value, dict) else value
    return IrisConfig(**tree)


def make_learner(config: IrisConfig | None = None, **context: Any) -> IrisLearner:
    return IrisLearner(LearnerContext(settings() if config is None else config, CATCH, seed=0, **context))


def collected(**changes: Any) -> Training:
    """A training after its first turn of collecting."""
    training = Training(ALGORITHM, settings(**changes))
    training.publish()
    training.update()
    return training
