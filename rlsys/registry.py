"""Which algorithms and families of environments there are.

Algorithms are the folders under rlsys/algorithms, and under rlsys/baselines those of other systems; one of a user's own
is named MODULE:NAME, where the module, anywhere that Python finds it, has a record of that name. Families are the rows
of the table in rlsys/envs/table.py, and what a module has that an id names. No decorator to remember.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from rlsys.api import Algorithm
from rlsys.baseline import Baseline
from rlsys.errors import ConfigError, did_you_mean
from rlsys.types import EnvSpec

_PACKAGE = Path(__file__).parent


class Family(Protocol):
    """What settings need to know of a family of environments; all of it is `rlsys.envs.family.Family`."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def config_type(self) -> type[Any]:
        """Its env section, a kind of `rlsys.config.EnvConfig`."""


def families() -> Sequence[Family]:
    """Imports all families of this system."""
    table: Sequence[Family] = importlib.import_module("rlsys.envs.table").FAMILIES
    return table


def family_of(env_id: str) -> Family | None:
    """Returns the family that makes an environment, None if none does.

    Raises:
      EnvError: the module that the id names cannot be imported.
    """
    family: Family | None = importlib.import_module("rlsys.envs.table").family_of(env_id)
    return family


def names() -> list[str]:
    """Returns the names of all algorithms of this system, sorted."""
    return _folders("algorithms")


def baseline_names() -> list[str]:
    """Returns the names of all baselines, sorted."""
    return _folders("baselines")


def get(name: str) -> Algorithm | Baseline:
    """Imports one algorithm or baseline, by the name of its folder or as MODULE:NAME.

    Raises:
      ConfigError: there is no such algorithm, or its module cannot be imported.
    """
    if ":" in name:
        return _of_module(name)
    if name in baseline_names():
        baseline: Baseline = importlib.import_module(f"rlsys.baselines.{name}").BASELINE
        return baseline
    if name not in names():
        known = [*names(), *baseline_names()]
        hint = did_you_mean(name, known) or f" Known: {', '.join(known)}. One of your own is named MODULE:NAME."
        raise ConfigError(f"no algorithm {name[:80]!r}.{hint}")
    algorithm: Algorithm = importlib.import_module(f"rlsys.algorithms.{name}").ALGORITHM
    return algorithm


def section_of(name: str) -> str:
    """Returns what an algorithm's section of an experiment is called: of MODULE:NAME the latter."""
    return name.rpartition(":")[2]


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


def _of_module(name: str) -> Algorithm | Baseline:
    """Imports what a module has that is called so."""
    module, _, own = name.partition(":")
    try:
        found = vars(importlib.import_module(module)).values()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
        raise ConfigError(
            f"algorithm = {name[:80]}: module '{module[:80]}' cannot be imported, {reason[:200]}. Add the folder that "
            "has it to PYTHONPATH, install what is missing, or correct the name."
        ) from error
    records = {record.name: record for record in found if isinstance(record, Algorithm | Baseline)}
    if own not in records:
        known = f"it has {', '.join(records)}" if records else "it has none"
        raise ConfigError(
            f"algorithm = {name[:80]}: module '{module}' has no algorithm of that name; {known}. Correct it."
        )
    return records[own]


def _folders(kind: str) -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules([str(_PACKAGE / kind)]) if module.ispkg)
