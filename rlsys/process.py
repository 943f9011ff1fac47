"""What every process that computes sets up before it begins."""

import os
import sys
from pathlib import Path

from rlsys.compiled_cache import choose_cache

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # idle torch threads sleep rather than spin
    "GOMP_SPINCOUNT": "0",
    "SDL_AUDIODRIVER": "dummy",  # environments that are drawn with pygame look for a sound card otherwise
}
"""Variables that torch and pygame read when they are imported."""


def prepare(*, exact: bool = False) -> None:
    """Sets the variables in this process, where the user has not; Ray's own must be there before it is imported.

    Files that it and its children make from here on are private to the user.

    Args:
      exact: also make matrix products independent of where in memory their operands lie, so that equal runs are equal
        to the last bit; MKL's fastest products are not.
    """
    os.umask(0o077)
    choose_cache()  # numba's, which reads it when it is imported, here and in children
    variables = dict(ENVIRONMENT)
    if exact:
        variables["MKL_CBWR"] = "AVX512,STRICT" if _has_avx512() else "AVX2,STRICT"
    if _has_token() and "ray" not in sys.modules:  # Ray reads it once, when it is imported
        variables["RAY_AUTH_MODE"] = "token"  # a cluster given as host:port is not asked otherwise
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def use_threads(count: int) -> None:
    """Lets torch compute with `count` threads in this process; a torch that comes later reads the variable."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def fastest_device() -> str:
    """Returns the torch name of a GPU, where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _has_token() -> bool:
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    return "RAY_AUTH_TOKEN" in os.environ or file.is_file()


def _has_avx512() -> bool:
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
