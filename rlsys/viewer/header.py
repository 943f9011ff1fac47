"""A header above a picture: two lines of text, as on the films by which agents are debugged."""

import cv2
import numpy as np

from rlsys.types import Array

HEADER_HEIGHT = 27
"""Rows of pixels."""

_RED = (255, 0, 0)
_BASELINES = (11, 23)
_SIZE = 0.75


def with_header(picture: Array, *lines: str) -> Array:
    """Returns a picture, `[H, W, 3]` uint8, below a black header with up to two lines of red text.

    Text that is wider than the picture is cut off.
    """
    header = np.zeros((HEADER_HEIGHT, picture.shape[1], 3), np.uint8)
    for line, baseline in zip(lines, _BASELINES, strict=False):
        cv2.putText(header, line, (1, baseline), cv2.FONT_HERSHEY_PLAIN, _SIZE, _RED)
    return np.concatenate([header, picture])
