"""Weights of another run, for learners that begin with a part of them."""

from collections.abc import Mapping
from pathlib import Path

from rlsys.runtime.checkpoints.checkpoint import Checkpoints
from rlsys.runtime.exports.find import find
from rlsys.types import Array

_PARTS = ("weights",)


def read_weights(source: str) -> Mapping[str, Array]:
    """Returns the weights that a run's policy acts with: name -> array.

    Args:
      source: a run or an export as `rlsys eval` takes it (of a run its newest checkpoint), or the folder of one
        checkpoint, wherever it lies.

    Raises:
      RlsysError: there is no such run or checkpoint, or it is damaged.
    """
    path = Path(source)
    if (path / "manifest.json").is_file():
        opened = Checkpoints(path.parent, keep=1).open(path.name, _PARTS)
    else:
        opened = find(source).open("latest", _PARTS)
    weights: Mapping[str, Array] = opened.read("weights")["arrays"]
    return weights
