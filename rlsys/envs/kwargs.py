"""Arguments that users give to an environment's constructor: `env.kwargs`."""

import inspect
from collections.abc import Callable, Collection
from typing import Any

from rlsys.config import EnvConfig
from rlsys.config.fields import shortened
from rlsys.errors import EnvError, did_you_mean


def check_kwargs(config: EnvConfig, constructor: Callable[..., Any], ours: Collection[str] = ()) -> None:
    """Refuses arguments that a constructor does not know, as far as its signature tells.

    Args:
      config: has them.
      constructor: of the environment, or what is called with them in its place.
      ours: arguments that are not the user's to give.

    Raises:
      EnvError: it names the first such argument, and those that there can be.
    """
    if not config.kwargs:
        return
    parameters = inspect.signature(constructor).parameters.values()
    named = [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    known = [name for name in named if name not in ("self", *ours)]
    takes_others = any(one.kind is one.VAR_KEYWORD for one in parameters)
    for name in config.kwargs:
        if name in ours or not (name in known or takes_others):
            raise EnvError(
                f"env.kwargs has {shortened(name)}, which cannot be given to '{config.id}'; its constructor takes "
                f"{', '.join(known) or 'no arguments'}.{did_you_mean(name, known) or ' Leave it out.'}"
            )


def refused(config: EnvConfig, error: Exception) -> EnvError:
    """Returns what to raise where a constructor has refused the arguments in its own words."""
    reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".:")
    return EnvError(
        f"env.kwargs = {shortened(config.kwargs)} with '{config.id}', whose constructor says {reason}. Correct them."
    )
