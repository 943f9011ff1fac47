"""Which part of an observation PlaNet sees, and which sizes of pictures it can take. Without torch."""

import itertools

from rlsys.nets.observations.kinds import picture_of
from rlsys.types import EnvSpec, Part

SMALLEST_IMAGE = 8
"""Pixels on a side that an encoder can see."""
_KERNELS = (5, 5, 6, 6)
"""Of the decoder for 64 pixels."""
_SMALLEST_KERNEL, _LARGEST_KERNEL = 2, 6
_DECODER_LAYERS = range(2, 6)


def picture_in(part: Part) -> tuple[int, int, int] | None:
    """Returns channels, height and width of a picture, however small one of bytes is; None of what is none."""
    return picture_of(part, 1 if part.spec.dtype == "uint8" else SMALLEST_IMAGE)


def seen_part(env: EnvSpec) -> Part | None:
    """Returns the part that the model sees, the only picture, or an array without a name; None where there is none."""
    if not env.parts[0].name:
        return None if env.parts[0].choices else env.parts[0]
    pictures = [part for part in env.parts if picture_in(part) is not None]
    return pictures[0] if len(pictures) == 1 else None


def told_parts(env: EnvSpec) -> tuple[Part, ...]:
    """Returns the other parts: numbers that heads foretell, for who wants to know what a state holds."""
    return tuple(part for part in env.parts if part.name and part is not seen_part(env))


def num_halvings(side: int) -> int:
    """Returns how many convolutions of 4 pixels and stride 2 a side can take."""
    count = 0
    while side >= 4:
        side, count = (side - 4) // 2 + 1, count + 1
    return count


def decoder_kernels(side: int, num_layers: int) -> tuple[int, ...] | None:
    """Returns the kernels by which transposed convolutions of stride 2 make `side` pixels of one, or None.

    Of all that do, those that differ least from upstream's.
    """
    wanted = _KERNELS[:num_layers] + _KERNELS[-1:] * (num_layers - len(_KERNELS))
    best: tuple[int, tuple[int, ...]] | None = None
    for kernels in itertools.product(range(_SMALLEST_KERNEL, _LARGEST_KERNEL + 1), repeat=num_layers):
        pixels = 1
        for kernel in kernels:
            pixels = (pixels - 1) * 2 + kernel
        if pixels == side:
            distance = sum((kernel - near) ** 2 for kernel, near in zip(kernels, wanted, strict=True))
            best = min(best or (distance, kernels), (distance, kernels))
    return best[1] if best else None


def decoder_layers(height: int, width: int) -> int | None:
    """Returns how many transposed convolutions make a picture of a size; None where none of the numbers tried can."""
    return next((n for n in _DECODER_LAYERS if decoder_kernels(height, n) and decoder_kernels(width, n)), None)
