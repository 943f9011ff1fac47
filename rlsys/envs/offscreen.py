"""What MuJoCo draws with where there is no screen, EGL, or OSMesa where that is missing; and how much of it.

    full     as the model says
    flat     without shadows and reflections
    coarse   flat, and each pixel once: edges are jagged, and what is thinner than a pixel can vanish

Without a GPU shadows are most of the work: their map is 32 times as high and wide as a frame of 64 pixels.
"""

import ctypes.util
import os
from typing import Any, Literal

from rlsys.errors import EnvError

Drawing = Literal["full", "flat", "coarse"]
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


def check(env_id: str, observation: str) -> None:
    """Refuses pictures as an observation where nothing can be drawn.

    Raises:
      EnvError: nothing can.
    """
    if not choose():
        raise EnvError(
            f"env.observation = '{observation}' with '{env_id}'; pictures need OpenGL without a screen, EGL or OSMesa, "
            f"and {chosen()}. Install libegl1 or libosmesa6, or set env.observation=state."
        )


def simplify(model: Any, drawing: Drawing) -> None:
    """Sets of a MuJoCo model what decides how it is drawn; has to be called before its OpenGL context begins."""
    if drawing == "coarse":
        model.vis.quality.offsamples = 0


def scene_flags(drawing: Drawing) -> dict[str, bool]:
    """Returns the flags in which a scene differs, by MuJoCo's names."""
    return {} if drawing == "full" else {"shadow": False, "reflection": False}
