"""Weights of another run, for learners that begin with a part of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlsys.api import Saved
from rlsys.runtime.checkpoints.checkpoint import Checkpoints
from rlsys.runtime.exports.find import find
from rlsys.types import Array


def read_weights(source: str) -> Mapping[str, Array]:
    """Returns the weights that a run's policy acts with: name -> array.

    Args:
      source: a run or an export as `rlsys eval` takes it (of a run its newest checkpoint), or the folder of one
        checkpoint, wherever it lies.

    Raises:
      RlsysError: there is no such run or checkpoint, or it is damaged.
    """
    weights: Mapping[str, Array] = _read(source, "weights")["arrays"]
    return weights


def read_world(source: str) -> Saved:
    """Returns what the learner of a run saved of its world model.

    Args:
      source: as for `read_weights`.

    Raises:
      RlsysError: there is no such run or checkpoint, it has no world model, or it is damaged.
    """
    return _read(source, "world")


def _read(source: str, part: str) -> dict[str, Any]:
    path, parts = Path(source), (part,)
    if (path / "manifest.json").is_file():
        opened = Checkpoints(path.parent, keep=1).open(path.name, parts)
    else:
        opened = find(source).open("latest", parts)
    return opened.read(part)
