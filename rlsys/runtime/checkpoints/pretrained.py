"""Weights of another run, for learners that begin with a part of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlsys.api import Saved
from rlsys.runtime import folder as run_folder
from rlsys.runtime.checkpoints.checkpoint import Checkpoints
from rlsys.types import Array


def read_weights(source: str) -> Mapping[str, Array]:
    """Returns the weights that a run's policy acts with: name -> array.

    Args:
      source: a run as `rlsys eval` takes it (then its newest checkpoint), or the folder of one checkpoint.

    Raises:
      CheckpointError: there is no such run or checkpoint, or it is damaged.
    """
    weights: Mapping[str, Array] = _read(source, "weights")["arrays"]
    return weights


def read_world(source: str) -> Saved:
    """Returns what the learner of a run saved of its world model.

    Args:
      source: as for `read_weights`.

    Raises:
      CheckpointError: there is no such run or checkpoint, it has no world model, or it is damaged.
    """
    return _read(source, "world")


def _read(source: str, part: str) -> dict[str, Any]:
    path = Path(source)
    if (path / "manifest.json").is_file():
        checkpoints, which = Checkpoints(path.parent, keep=1), path.name
    else:
        checkpoints, which = run_folder.checkpoints(run_folder.find(source)), "latest"
    return checkpoints.open(which, parts=[part]).read(part)
