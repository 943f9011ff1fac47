"""Where numba keeps what it has compiled: settled before it is imported, by whoever imports or starts what does.

By itself it refuses to compile where neither the package nor a home can be written, and where NUMBA_CACHE_DIR names a
folder that cannot.
"""

import os
from pathlib import Path

from rlsys.files.places import cache_folder, is_writable

VARIABLE = "NUMBA_CACHE_DIR"
_PACKAGE = Path(__file__).parent
_HOLDERS = [_PACKAGE / name for name in ("planning", "nets", "replay", "algorithms/muzero")]
"""Folders with functions that are compiled."""


def choose_cache() -> Path | None:
    """Returns where compiled functions are kept, and has numba keep them there; None: nowhere, each process compiles.

    That is where the user says, else beside the source, else in the user's cache.
    """
    asked = os.environ.get(VARIABLE)
    if asked and is_writable(Path(asked)):
        return Path(asked)
    if not asked and all(map(_has_writable_cache, _HOLDERS)):
        return _PACKAGE
    try:
        found = cache_folder("numba")
    except OSError:
        os.environ.pop(VARIABLE, None)
        return None
    os.environ[VARIABLE] = str(found)
    return found


def _has_writable_cache(folder: Path) -> bool:
    beside = folder / "__pycache__"
    return is_writable(beside if beside.exists() else folder)
