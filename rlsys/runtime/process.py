"""What every process that computes sets up before it begins."""

import os
from pathlib import Path

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # idle torch threads sleep rather than spin
    "GOMP_SPINCOUNT": "0",
    "SDL_AUDIODRIVER": "dummy",  # environments that are drawn with pygame look for a sound card otherwise
}
"""Variables that torch and pygame read when they are imported."""


def prepare(*, exact: bool = False) -> None:
    """Sets the variables in this process, where the user has not.

    Args:
      exact: also make matrix products independent of where in memory their operands lie, so that equal runs are equal
        to the last bit; MKL's fastest products are not.
    """
    variables = dict(ENVIRONMENT)
    if exact:
        variables["MKL_CBWR"] = "AVX512,STRICT" if _has_avx512() else "AVX2,STRICT"
    for name, value in variables.items():
        os.environ.setdefault(name, value)


def use_threads(count: int) -> None:
    """Lets torch compute with `count` threads in this process."""
    import torch

    torch.set_num_threads(count)


def _has_avx512() -> bool:
    try:
        return "avx512f" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
