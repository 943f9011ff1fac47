"""Which parts an observation has, and which of them are pictures. Without torch."""

from rlsys.types import EnvSpec, Part

_MOST_CHANNELS = 4
"""Of a picture whose channels come last."""


def has_parts(env: EnvSpec) -> bool:
    """Tells whether an observation is more than one array of numbers: of named parts, or of integers."""
    return any(part.name or part.choices for part in env.parts)


def sees_image(env: EnvSpec, smallest: int) -> bool:
    """Tells whether a part of an observation is a picture of at least so many pixels on each side."""
    return any(picture_of(part, smallest) is not None for part in env.parts)


def sees_numbers(env: EnvSpec, smallest: int | None) -> bool:
    """Tells whether a part of an observation is neither a picture nor integers."""
    return any(not part.choices and picture_of(part, smallest) is None for part in env.parts)


def picture_of(part: Part, smallest: int | None) -> tuple[int, int, int] | None:
    """Returns channels, height and width of a part that is a picture, None of one that is not.

    A picture has at least `smallest` pixels on each side; None sees pictures as numbers, too. It is `[H, W]` or
    `[C, H, W]`; a named part may be one of few channels `[H, W, C]`, too.
    """
    shape = part.spec.shape
    if smallest is None or part.choices or len(shape) not in (2, 3):
        return None
    if min(shape[-2:]) >= smallest:
        return (1, *shape) if len(shape) == 2 else (shape[0], shape[1], shape[2])
    has_channels_last = bool(part.name) and len(shape) == 3 and shape[2] <= _MOST_CHANNELS
    return (shape[2], shape[0], shape[1]) if has_channels_last and min(shape[:2]) >= smallest else None
