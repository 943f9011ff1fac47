"""Pictures, `[H, W, 3]` uint8, from whatever environments draw or write."""

import io
import re
from typing import Any

import cv2
import numpy as np

from rlsys.errors import EnvError
from rlsys.types import Array

_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")
"""What terminals take for a colour."""
_CHARACTER, _LINE, _MARGIN = 11, 20, 8
_INK = (235, 238, 243)
_PLANES = (1, 2, 3, 4)  # grey, grey with alpha, colour, colour with alpha


def to_picture(drawn: Any) -> Array:
    """Returns as a picture what `render` returned.

    Grey becomes colour, alpha is left out, planes may come first or last; of several pictures the last is taken.
    Numbers with a fraction count from 0 to 1, or to 255 where one is above 1; all others count to 255. Of text, every
    character has a place of its own size, as on a terminal; colours are left out.

    Args:
      drawn: an array, or a list of arrays: `[H, W]`, `[H, W, C]` or `[C, H, W]` with up to four planes C; or text.

    Raises:
      EnvError: it is no picture.
    """
    if isinstance(drawn, str | io.StringIO):
        return _written(drawn if isinstance(drawn, str) else drawn.getvalue())
    if isinstance(drawn, (list, tuple)) and len(drawn) and not np.isscalar(drawn[0]) and np.ndim(drawn[-1]) > 1:
        drawn = drawn[-1]
    array = np.asarray(drawn) if drawn is not None else np.zeros(0)
    while array.ndim > 3 and len(array):
        array = array[-1]
    if array.ndim == 3 and array.shape[2] not in _PLANES and array.shape[0] in _PLANES:
        array = array.transpose(1, 2, 0)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in _PLANES or not array.size or array.dtype.kind not in "buif":
        what = f"{array.dtype} {array.shape}" if isinstance(drawn, np.ndarray) else type(drawn).__name__
        raise EnvError(f"render returned {what}; a picture is an array [H, W] or [H, W, 3]. Correct the environment.")
    planes = array[:, :, :3] if array.shape[2] > 2 else array[:, :, :1].repeat(3, axis=2)
    return np.ascontiguousarray(_to_bytes(planes))


def fitted(picture: Array, height: int, width: int) -> Array:
    """Returns a picture, `[H, W, 3]`, in another size: as large as it can be with its proportions, amid black."""
    if picture.shape[:2] == (height, width):
        return picture
    zoom = min(height / picture.shape[0], width / picture.shape[1])
    inner = max(1, round(picture.shape[0] * zoom)), max(1, round(picture.shape[1] * zoom))
    resized = cv2.resize(picture, inner[::-1], interpolation=cv2.INTER_NEAREST if zoom >= 1 else cv2.INTER_AREA)
    framed = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    framed[top : top + inner[0], left : left + inner[1]] = resized
    return framed


def _written(text: str) -> Array:
    lines = _ESCAPE.sub("", text).expandtabs().rstrip().split("\n")
    height, width = len(lines) * _LINE + 2 * _MARGIN, max(1, *map(len, lines)) * _CHARACTER + 2 * _MARGIN
    picture = np.zeros((height, width, 3), np.uint8)
    for row, line in enumerate(lines):
        for column, character in enumerate(line):
            place = (_MARGIN + column * _CHARACTER, _MARGIN + (row + 1) * _LINE - 5)
            cv2.putText(picture, character, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
    return picture


def _to_bytes(array: Array) -> Array:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "b":
        return array * np.uint8(255)
    if array.dtype.kind == "f":
        array = np.nan_to_num(array.astype(np.float64), nan=0.0, posinf=255.0, neginf=0.0)
        array = np.rint(array * 255.0 if array.max() <= 1.0 else array)
    return np.clip(array, 0, 255).astype(np.uint8)
