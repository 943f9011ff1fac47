"""What data-parallel learners must agree on, with nothing but a function that averages over them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

_DIGIT_BITS = 8
_NUM_DIGITS = 4


def maximum(value: float, average: Callable[[list[Any]], None]) -> float:
    """Returns the largest of the ranks' values, exactly and on every rank.

    Floats above 0 are ordered as their bits are, so the answer is found digit by digit: each rank that may still hold
    it marks its next eight bits, and after averaging the marks the highest one is the answer's.

    Args:
      value: 0 or more; rounded to float32.
      average: averages a list of tensors over the ranks in place.
    """
    mine = int(np.float32(value).view(np.uint32))
    found = 0
    for digit in reversed(range(_NUM_DIGITS)):
        shift = digit * _DIGIT_BITS
        marks = torch.zeros(1 << _DIGIT_BITS)
        if mine >> (shift + _DIGIT_BITS) == found:
            marks[(mine >> shift) & ((1 << _DIGIT_BITS) - 1)] = 1.0
        average([marks])
        found = found << _DIGIT_BITS | int(marks.nonzero().max())
    return float(np.uint32(found).view(np.float32))
