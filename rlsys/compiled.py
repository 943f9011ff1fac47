"""numba's compiler, for all functions that are compiled."""

import importlib
import os
import warnings
from pathlib import Path
from typing import Any

from rlsys.compiled_cache import VARIABLE, choose_cache


def _compiler() -> Any:
    asked, found = os.environ.get(VARIABLE), choose_cache()
    if found is None or (asked and found != Path(asked)):
        text = f"{VARIABLE} = {asked} cannot be written" if asked else "compiled functions cannot be kept"
        warnings.warn(f"{text}: {found or 'each process compiles them again'}", stacklevel=2)
    numba: Any = importlib.import_module("numba")  # which reads the variable now
    numba.config.CACHE_DIR = os.environ.get(VARIABLE, "")  # it may have been imported before
    if found is not None:
        return numba.njit

    def without_cache(*arguments: Any, cache: bool = False, **options: Any) -> Any:
        return numba.njit(*arguments, **options)

    return without_cache


njit = _compiler()
"""`numba.njit`; `cache=True` is honoured where anything can be written."""
