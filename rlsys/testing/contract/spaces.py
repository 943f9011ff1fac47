"""Every space that an algorithm claims: it acts in small environments that have it, and learns there."""

from typing import Any

from rlsys.api import Algorithm
from rlsys.api.spaces import action_kind, observation_kinds
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError
from rlsys.testing.contract.policy import check_greedy, check_new_policy, check_restored_policy
from rlsys.testing.contract.updates import watched_updates
from rlsys.testing.requirement import require
from rlsys.testing.training import Training

EXAMPLES = (
    "Pendulum-v1",
    "rlsys/Choices-v0",
    "rlsys/Nested-v0",
    "rlsys/Parts-v0",
    "rlsys/Start-v0",
    "rlsys/Tuple-v0",
)
"""Environments that have every kind of action and of observation between them."""


def check_spaces(algorithm: Algorithm, section: Any, env_config: EnvConfig) -> None:
    """Requires that an algorithm learns wherever it says that it can, and refuses in one line what suits no setting.

    Args:
      algorithm: the record.
      section: its settings.
      env_config: the environment on which all else is checked; the others differ from it in their id.
    """
    tried: set[str] = set()
    for name in dict.fromkeys((env_config.id, *EXAMPLES)):
        config = env_config.model_copy(update={"id": name})
        env = env_spec(config)
        if algorithm.spaces.refusal(env):
            continue
        needed = section.model_copy(update=algorithm.spaces.settings.get(action_kind(env), {}))
        if name == env_config.id or _learns(algorithm, needed, config):
            tried |= {action_kind(env), *observation_kinds(env)}
    claimed = {*algorithm.spaces.actions, *algorithm.spaces.observations}
    require(
        claimed <= tried,
        f"what `spaces` claims is there in an environment that it does not refuse; {sorted(claimed - tried)} is not",
    )


def _learns(algorithm: Algorithm, section: Any, config: EnvConfig) -> bool:
    """Tries an environment; returns whether the algorithm takes it."""
    try:
        training = Training(algorithm, section, config)
    except ConfigError as error:
        require("\n" not in str(error), f"a refusal is one line; that of '{config.id}' is {error}")
        return False
    try:
        check_new_policy(training)
        for _ in watched_updates(training, to_the_end=False):
            pass
        check_restored_policy(training)
        check_greedy(training)
    finally:
        training.close()
    return True
