"""Which algorithms there are: the folders under rlsys/algorithms, and under rlsys/baselines those of other systems.

No list to edit, no decorator to remember.
"""

import importlib
import pkgutil
from pathlib import Path

from rlsys.api import Algorithm
from rlsys.baseline import Baseline
from rlsys.errors import ConfigError, did_you_mean
from rlsys.types import EnvSpec

_PACKAGE = Path(__file__).parent


def names() -> list[str]:
    """Returns the names of all algorithms of this system, sorted."""
    return _folders("algorithms")


def baseline_names() -> list[str]:
    """Returns the names of all baselines, sorted."""
    return _folders("baselines")


def get(name: str) -> Algorithm | Baseline:
    """Imports one algorithm or baseline.

    Raises:
      ConfigError: there is no such algorithm.
    """
    if name in baseline_names():
        baseline: Baseline = importlib.import_module(f"rlsys.baselines.{name}").BASELINE
        return baseline
    if name not in names():
        known = [*names(), *baseline_names()]
        hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
        raise ConfigError(f"no algorithm {name[:80]!r}.{hint}")
    algorithm: Algorithm = importlib.import_module(f"rlsys.algorithms.{name}").ALGORITHM
    return algorithm


def get_algorithm(name: str, wanted: str) -> Algorithm:
    """Imports one algorithm of this system, for something that no baseline can do.

    Args:
      name: the algorithm's name.
      wanted: what it is needed for, such as "rlsys eval".

    Raises:
      ConfigError: there is no such algorithm, or it is a baseline.
    """
    found = get(name)
    if isinstance(found, Baseline):
        raise ConfigError(
            f"{wanted} with algorithm = {name}; baselines only train, and leave metrics and a report but no "
            f"checkpoint. Use one of this system's algorithms: {', '.join(names())}."
        )
    return found


def check_spaces(algorithm: Algorithm | Baseline, env: EnvSpec) -> None:
    """Refuses an environment that an algorithm cannot act in or read.

    Raises:
      ConfigError: it says which space that is, and which algorithms can.
    """
    refusal = algorithm.spaces.refusal(env)
    if refusal:
        able = [name for name in names() if not get(name).spaces.refusal(env)]
        advice = f"These can: {', '.join(able)}" if able else "No algorithm here can. Choose another environment"
        raise ConfigError(f"'{algorithm.name}' {refusal}. {advice}.")


def _folders(kind: str) -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules([str(_PACKAGE / kind)]) if module.ispkg)
