"""What every process that computes sets up before it begins."""

import os

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # idle torch threads sleep rather than spin
    "GOMP_SPINCOUNT": "0",
    "SDL_AUDIODRIVER": "dummy",  # environments that are drawn with pygame look for a sound card otherwise
}
"""Variables that torch and pygame read when they are imported."""


def prepare() -> None:
    """Sets the variables in this process, where the user has not."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def use_threads(count: int) -> None:
    """Lets torch compute with `count` threads in this process."""
    import torch

    torch.set_num_threads(count)
