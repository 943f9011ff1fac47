"""What MuJoCo draws with where there is no screen: EGL, or OSMesa where that is missing."""

import ctypes.util
import os

VARIABLE = "MUJOCO_GL"
"""Read by MuJoCo when it is imported."""
_NOTHING = "disable"
_MEANING_NOTHING = frozenset({"disable", "disabled", "off", "false", "0"})


def choose() -> bool:
    """Sets the environment variable that MuJoCo reads, unless it is set; has to be called before that is imported.

    Returns:
      Whether anything can be drawn. The physics need nothing of it.
    """
    if not os.environ.get(VARIABLE):
        found = [name.lower() for name in ("EGL", "OSMesa") if ctypes.util.find_library(name)]
        os.environ[VARIABLE] = found[0] if found else _NOTHING
    return os.environ[VARIABLE].strip().lower() not in _MEANING_NOTHING


def chosen() -> str:
    """Returns what was chosen, as it would be given."""
    return f"{VARIABLE} = {os.environ[VARIABLE]}"
