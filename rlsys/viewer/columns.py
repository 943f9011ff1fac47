"""Pictures of columns: frames side by side, enlarged, each below a header of text."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from rlsys.types import Array, ArraySpec, EnvSpec, Part
from rlsys.viewer.picture import fitted

_TOLERANCE = 10
_SMALLEST_WIDTH = 220
_GAP = 6
_LINE = 19
_MARGIN = 7
_CHARACTER = 8.5
_BAR = 3
_BARS = 96
"""Height and width of a picture of numbers."""
_HIGHEST_BAR, _LOWEST_BAR = 12, 2
_FIELD, _FILLED = 30, 220
_BACKGROUND = (22, 24, 29)
_TITLE, _TEXT = (150, 158, 172), (235, 238, 243)


@dataclass(frozen=True)
class Column:
    """A frame with what is written above it.

    Attributes:
      title: what it shows.
      lines: below the title; all columns of a picture have equally many.
      frame: `[H, W]` or `[C, H, W]` uint8, with one or three planes; one that is larger than the smallest of a picture
        is fitted into the same room.
    """

    title: str
    lines: Sequence[str]
    frame: Array


def is_picture(spec: ArraySpec) -> bool:
    """Returns whether observations can be shown: grey or colour planes of bytes."""
    planes = spec.shape[0] if len(spec.shape) == 3 else 1
    return spec.dtype == "uint8" and len(spec.shape) in (2, 3) and planes in (1, 3)


def picture_part(env: EnvSpec) -> Part | None:
    """Returns the first part of an environment's observations that can be shown; None where none can."""
    return next((part for part in env.parts if is_picture(part.spec)), None)


def picture_of(env: EnvSpec, frame: Array) -> Array:
    """Returns what is shown of a frame: the first of its parts that is a picture, or else its numbers as bars.

    A bar leads from the middle to where a number lies between the left edge and the right: an integer among its
    choices, a byte among bytes, any other number x at x / (1 + |x|). There is room for 48 numbers.
    """
    part = picture_part(env)
    if part is not None:
        return part.of(frame)
    places = np.nan_to_num(np.concatenate([_places(part, part.of(frame)) for part in env.parts]))
    height = min(_HIGHEST_BAR, max(_LOWEST_BAR, _BARS // len(places)))
    field = np.full((_BARS, _BARS), _FIELD, np.uint8)
    middle = _BARS // 2
    for row, place in enumerate(places[: _BARS // height]):
        left, right = sorted((middle, middle + round(float(place) * (middle - 1))))
        field[row * height : (row + 1) * height - 1, left : right + 1] = _FILLED
    return field


def to_rgb(frame: Array) -> Array:
    """Returns a frame, `[H, W]` or `[C, H, W]` uint8, as `[H, W, 3]`."""
    planes = frame[None] if frame.ndim == 2 else frame
    rgb: Array = np.broadcast_to(planes, (3, *planes.shape[1:])).transpose(1, 2, 0)
    return np.ascontiguousarray(rgb)


def difference(model: Array, real: Array) -> Array:
    """Returns by how much frames differ beyond what nobody sees: max(|model - real| - 10, 0)."""
    distance: Array = np.abs(model.astype(np.int16) - real.astype(np.int16))
    return np.maximum(distance - _TOLERANCE, 0).astype(np.uint8)


def compose(columns: Sequence[Column], zoom: float, bar: tuple[int, int, int]) -> Array:
    """Draws columns from left to right.

    Args:
      columns: at least one.
      zoom: frames are enlarged by it without smoothing; small ones by more, so that their headers have room.
      bar: colour of the topmost rows of pixels.

    Returns:
      `[H, W, 3]` uint8.
    """
    height, width = min((column.frame.shape[-2:] for column in columns), key=lambda size: size[0])
    zoom = max(zoom, _SMALLEST_WIDTH / width)
    drawn = [_draw(column, round(height * zoom), round(width * zoom)) for column in columns]
    gap = np.full((drawn[0].shape[0], _GAP, 3), _BACKGROUND, np.uint8)
    picture: Array = np.concatenate([part for column in drawn for part in (gap, column)][1:], axis=1)
    picture[:_BAR] = bar
    return picture


def with_footer(picture: Array, lines: Sequence[str]) -> Array:
    """Returns a picture with lines of text below; they are cut off where it ends."""
    footer = _text_field(lines, picture.shape[1], _TITLE)
    return np.concatenate([picture, footer])


def characters_in(width: int) -> int:
    """Returns about how many characters of text fit into so many pixels."""
    return max(1, int((width - 2 * _MARGIN) / _CHARACTER))


def _places(part: Part, numbers: Array) -> Array:
    """Returns where numbers lie between -1 and 1."""
    flat: Array = np.ravel(numbers).astype(np.float64)
    if part.choices or part.spec.dtype == "uint8":
        last = np.maximum(np.array(part.choices) - 1, 1) if part.choices else 255
        flat = flat * 2.0 / last - 1.0
    else:
        flat = flat / (1.0 + np.abs(flat))
    return flat


def _draw(column: Column, height: int, width: int) -> Array:
    enlarged = fitted(to_rgb(column.frame), height, width)
    return np.concatenate([_text_field([column.title, *column.lines], width, _TITLE, _TEXT), enlarged])


def _text_field(lines: Sequence[str], width: int, first: tuple[int, int, int], others: tuple[int, ...] = ()) -> Array:
    field = np.full((len(lines) * _LINE + 2 * _MARGIN, width, 3), _BACKGROUND, np.uint8)
    for row, line in enumerate(lines):
        place = (_MARGIN, _MARGIN + (row + 1) * _LINE - 6)
        colour = first if row == 0 or not others else others
        cv2.putText(field, line, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    return field
