"""Weights of another run, for learners that begin with a part of them."""

from collections.abc import Mapping
from pathlib import Path

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
    path = Path(source)
    if (path / "manifest.json").is_file():
        checkpoints, which = Checkpoints(path.parent, keep=1), path.name
    else:
        checkpoints, which = run_folder.checkpoints(run_folder.find(source)), "latest"
    weights: Mapping[str, Array] = checkpoints.open(which, parts=["weights"]).read("weights")["arrays"]
    return weights
