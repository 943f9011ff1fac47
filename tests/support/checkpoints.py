"""Small checkpoints to write and look at."""

import math
from pathlib import Path

import numpy as np

from rlsys.checkpoints.checkpoint import Checkpoints


def same(a: object, b: object) -> bool:
    """Equality of type, dtype, shape and bits, NaN equal to NaN."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b


def write(checkpoints: Checkpoints, step: int) -> Path:
    with checkpoints.begin(step) as draft:
        draft.write("learner", {"weight": np.full(100, step, np.float32), "step": step})
        draft.write("replay/0", {"row": np.arange(step, dtype=np.uint8)})
        draft.commit({"env_steps": 10 * step})
    return checkpoints.open(step).fetched.folder


def assert_whole(checkpoints: Checkpoints, step: int) -> None:
    opened = checkpoints.open(step)
    assert opened.learner_step == step
    assert opened.metrics == {"env_steps": 10 * step}
    assert opened.parts == ("learner", "replay/0")
    assert same(opened.read("learner"), {"weight": np.full(100, step, np.float32), "step": step})
    assert same(opened.read("replay/0"), {"row": np.arange(step, dtype=np.uint8)})
