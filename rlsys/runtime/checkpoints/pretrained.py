"""Weights and world models as they lie in checkpoints: of the run itself, and of others that learners begin with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from rlsys.api import Saved
from rlsys.json_tree import check_tree
from rlsys.runtime.checkpoints.checkpoint import Checkpoints, Opened
from rlsys.runtime.exports.find import find
from rlsys.types import Array, Weights


class _Stored(BaseModel):
    """What the part "weights" holds."""

    version: int
    learner_step: int
    arrays: dict[str, Any]


def weights_in(opened: Opened) -> Weights:
    """Returns the weights in a checkpoint.

    Raises:
      CheckpointError: it has none, or what is there are no weights.
    """
    with opened.loading("weights") as saved:
        stored = check_tree(saved, _Stored)
        strange = [name for name, array in stored.arrays.items() if not isinstance(array, np.ndarray)]
        if strange:
            raise TypeError(f"'{strange[0]}' is no array")
    return Weights(stored.version, stored.learner_step, stored.arrays)


def read_weights(source: str) -> Mapping[str, Array]:
    """Returns the weights that a run's policy acts with: name -> array.

    Args:
      source: a run or an export as `rlsys eval` takes it (of a run its newest checkpoint), or the folder of one
        checkpoint, wherever it lies.

    Raises:
      RlsysError: there is no such run or checkpoint, or it is damaged.
    """
    return weights_in(_open(source, "weights")).arrays


def read_world(source: str) -> Saved:
    """Returns what the learner of a run saved of its world model.

    Args:
      source: as for `read_weights`.

    Raises:
      RlsysError: there is no such run or checkpoint, it has no world model, or it is damaged.
    """
    return _open(source, "world").read("world")


def _open(source: str, part: str) -> Opened:
    path, parts = Path(source), (part,)
    if (path / "manifest.json").is_file():
        return Checkpoints(path.parent, keep=1).open(path.name, parts)
    return find(source, trust=True).open("latest", parts)  # its environment is not made
