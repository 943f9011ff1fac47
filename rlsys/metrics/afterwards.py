"""Rows of metrics that come when a run is over, such as those of `rlsys eval`: they go where its own rows went."""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rlsys.config import Loaded
from rlsys.errors import CheckpointError
from rlsys.metrics.rows import METRICS_FILE, log_warning
from rlsys.metrics.tracking import Tracker
from rlsys.runs.heartbeat import look
from rlsys.runs.lease import Lease


@dataclass(frozen=True)
class LateRow:
    """What was found out about one checkpoint.

    Attributes:
      learner_step, env_steps: of the checkpoint.
      metrics: `group/name` -> value.
    """

    learner_step: int
    env_steps: int
    metrics: Mapping[str, float]


def append_rows(
    folder: Path, loaded: Loaded, rows: Iterable[LateRow], warn: Callable[[str], None] = log_warning
) -> bool:
    """Appends rows to a run's metrics.jsonl and to the TensorBoard and W&B files that it has.

    The run can be resumed afterwards: these rows are numbered on, and count for as long as it does not go back before
    their checkpoints. No time of the run passes meanwhile. Nothing is written while somebody trains the run, whose file
    it is.

    Returns:
      Whether they were written.

    Raises:
      RlsysError: metrics.jsonl cannot be written.
    """
    if not is_appendable(folder):
        return False
    try:
        lease = Lease.claim(folder, "append rows to", watch_s=0.0)
    except CheckpointError:  # somebody began to train it
        return False
    with lease:
        _append(folder, loaded, rows, warn)
    return True


def _append(folder: Path, loaded: Loaded, rows: Iterable[LateRow], warn: Callable[[str], None]) -> None:
    run = loaded.experiment.run
    had = {
        "tensorboard": run.tensorboard and (folder / "tensorboard").is_dir(),
        "wandb": ("auto" if run.wandb == "online" else run.wandb) if (folder / "wandb").is_dir() else "disabled",
    }
    experiment = loaded.experiment.model_copy(update={"run": run.model_copy(update=had)})
    tracker = Tracker(
        folder, replace(loaded, experiment=experiment), folder.name, resume=True, warn=warn, clock=lambda: 0.0
    )
    with contextlib.closing(tracker):
        for row in rows:
            tracker.log(row.metrics, learner_step=row.learner_step, env_steps=row.env_steps)


def is_appendable(folder: Path) -> bool:
    """Tells whether a run has metrics that nobody else is writing and that this user may add to."""
    path = folder / METRICS_FILE
    sighting = look(folder)
    is_trained = sighting is not None and sighting.is_alive
    return path.is_file() and os.access(path, os.W_OK) and os.access(folder, os.W_OK) and not is_trained
