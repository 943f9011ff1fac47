"""The table of families of environments, and how an id finds its family.

A new family is one file with a `Family` and one row here; or a module of one's own, anywhere Python finds it, with
`env.id=MODULE:NAME`.
"""

import importlib
import importlib.util
from typing import Any

from rlsys.config import EnvConfig, read_env
from rlsys.envs.families import atari, boards, catch, classic, dm_control, dmlab, memory, procgen, tiles
from rlsys.envs.family import Family
from rlsys.errors import ConfigError, EnvError
from rlsys.likeness import likeness, nearest

FAMILIES: tuple[Family[Any], ...] = (
    atari.PIXELS,
    atari.RAM,
    procgen.PROCGEN,
    dmlab.DMLAB,
    memory.TMAZE,
    catch.CATCH,
    tiles.TILES,
    boards.BOARDS,
    classic.CLASSIC,
    dm_control.CONTROL,
)
"""All that come with the system; the first that knows an id makes it, and of ids that are as likely meant is told."""

_MOST_SUGGESTED = 3
_LIKELY = 0.7
"""More than names of settings need: there are hundreds of ids."""


def family_of(env_id: str) -> Family[Any] | None:
    """Returns the family of an id, None if there is none; MODULE:NAME imports the module, which may have one.

    Raises:
      EnvError: the module cannot be imported.
    """
    for family in FAMILIES:
        if family.knows(env_id):
            return family
    module, colon, name = env_id.partition(":")
    if not colon:
        return None
    found = vars(_imported(module, env_id)).values()
    own = (value for value in found if isinstance(value, Family) and value.knows(name))
    return next(own, classic.CLASSIC)  # which has gymnasium look for what the module has registered


def find(env_id: str) -> Family[Any]:
    """Returns the family of an id, ready to make what it names.

    Raises:
      EnvError: an unknown id, or a package that is missing.
    """
    family = family_of(env_id)
    if family is None:
        raise EnvError(f"no environment '{env_id}'. {_advice(env_id)}")
    if family.package is not None and importlib.util.find_spec(family.package) is None:
        raise EnvError(f"'{env_id}' needs {family.package}, which is not installed. {family.how_to_install}.")
    return family


def settled(config: EnvConfig, family: Family[Any]) -> Any:
    """Returns the configuration with the settings of its family, which have their defaults if it came without them.

    Raises:
      EnvError: it has settings that only other families have, or arguments for a constructor that gets none.
    """
    if config.kwargs and not family.takes_kwargs:
        takers = " and ".join(dict.fromkeys(other.name for other in FAMILIES if other.takes_kwargs))
        raise EnvError(f"env.kwargs = {config.kwargs} with '{config.id}'; only {takers} take any. Leave it out.")
    if type(config) is family.config_type:
        return config
    try:
        return read_env(config.model_dump())
    except ConfigError as error:
        raise EnvError(str(error)) from error


def _imported(module: str, env_id: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
        raise EnvError(
            f"'{env_id}' cannot be made: module '{module}' cannot be imported, {reason}. Install what is missing or "
            "correct env.id."
        ) from error


def _advice(name: str) -> str:
    """Says what could be meant by an id that nobody knows."""
    known = [
        candidate
        for number, family in enumerate(FAMILIES)
        for candidate in family.ids()
        if not any(other.knows(candidate) for other in FAMILIES[:number])
    ]
    namespace, slash, _ = name.rpartition("/")
    is_foreign = slash and not nearest(namespace, {candidate.rpartition("/")[0] for candidate in known} - {""})
    scores = {candidate: likeness(name, candidate) for candidate in known}
    best = max(known, key=lambda candidate: scores[candidate][0])
    if scores[best][0] >= _LIKELY and not is_foreign:
        stem, _, _ = best.rpartition("-v")
        versions = [candidate for candidate in known if stem and candidate.rpartition("-v")[0] == stem] or [best]
        versions.sort(key=lambda candidate: (scores[candidate][0], candidate), reverse=True)
        return f"Did you mean {' or '.join(repr(candidate) for candidate in versions[:_MOST_SUGGESTED])}?"
    if is_foreign:
        return (
            f"No package that is loaded has '{namespace}'; an environment of another package is named together with "
            f"the package that registers it: env.id={namespace}:{name}, if that is called {namespace}."
        )
    return (
        "gymnasium.pprint_registry() shows what is installed; one that another package registers is named "
        f"env.id=PACKAGE:{name}."
    )
