"""Which algorithms there are: the folders under rlsys/algorithms. No list to edit, no decorator to remember."""

import importlib
import pkgutil
from pathlib import Path

from rlsys.api import Algorithm
from rlsys.errors import ConfigError, did_you_mean

_FOLDER = Path(__file__).parent / "algorithms"


def names() -> list[str]:
    """Returns the names of all algorithms, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules([str(_FOLDER)]) if module.ispkg)


def get(name: str) -> Algorithm:
    """Imports one algorithm.

    Raises:
      ConfigError: there is no such algorithm.
    """
    known = names()
    if name not in known:
        hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
        raise ConfigError(f"no algorithm '{name}'.{hint}")
    algorithm: Algorithm = importlib.import_module(f"rlsys.algorithms.{name}").ALGORITHM
    return algorithm
