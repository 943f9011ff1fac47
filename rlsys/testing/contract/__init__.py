"""The check that every algorithm must pass: what the runtime may rely on, tried in a few steps on its example.

    check_algorithm(ALGORITHM)      # raises ContractError: "<name> breaks its contract: <what it should keep to; …>"

It trains twice, until the weights have changed: one rank by itself, and two in lockstep; these to the end, through all
phases, where a learner says that it is near. Then, unless it was given an environment, it learns in every kind of space
that it claims.
"""

from typing import Any

from rlsys.api import Algorithm
from rlsys.config import EnvConfig
from rlsys.testing.contract.beginning import check_begun_learner, check_first_step
from rlsys.testing.contract.policy import (
    check_greedy,
    check_new_policy,
    check_refreshed,
    check_restored_policy,
    check_rows,
)
from rlsys.testing.contract.ranks import check_draws, check_ranks, check_restored_ranks
from rlsys.testing.contract.record import check_record
from rlsys.testing.contract.spaces import check_spaces
from rlsys.testing.contract.updates import watched_updates
from rlsys.testing.contract.world import check_world
from rlsys.testing.requirement import ContractError
from rlsys.testing.training import Training


def check_algorithm(algorithm: Algorithm, section: Any = None, env_config: EnvConfig | None = None) -> None:
    """Requires of an algorithm what `rlsys.api` says of it.

    Args:
      algorithm: the record.
      section: settings that make it quick; None for `Algorithm.debug`.
      env_config: an environment that suits it; None for `Algorithm.example_env`.

    Raises:
      ContractError: a sentence that names the algorithm, what it should have kept to, and what it did instead.
    """
    try:
        for num_ranks in (1, 2):
            training = Training(algorithm, section, env_config, num_ranks=num_ranks)
            try:
                _check_together(training) if num_ranks > 1 else _check_alone(training)
            finally:
                training.close()
        if env_config is None:
            check_spaces(algorithm, training.section, training.env_config)
    except ContractError as error:
        raise ContractError(f"{algorithm.name} breaks its contract: {error}") from error


def _check_alone(training: Training) -> None:
    """One rank, from the record to what it leaves behind."""
    check_record(training)
    check_new_policy(training)
    check_first_step(training)
    for update in watched_updates(training, to_the_end=False):
        last = update
    check_restored_ranks(training, last)
    check_begun_learner(training)
    check_restored_policy(training)
    check_greedy(training)
    check_rows(training)
    check_refreshed(training)
    check_world(training)


def _check_together(training: Training) -> None:
    """Two ranks, and, in each of the phases that metrics tell apart, both of them restored."""
    check_new_policy(training)
    check_ranks(training)
    check_draws(training)
    phases = set[frozenset[str]]()
    for update in watched_updates(training, to_the_end=True):
        check_ranks(training)
        phase = frozenset(update.metrics[0])
        if phase not in phases:
            check_restored_ranks(training, update)
        phases.add(phase)
