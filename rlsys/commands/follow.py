"""`rlsys status`, `attach`, `stop` and `scale`: runs as seen, and led, from another terminal."""

import time
from pathlib import Path

from rlsys.errors import ConfigError, did_you_mean
from rlsys.metrics.console import Console, describe
from rlsys.metrics.formatting import duration, number, rate
from rlsys.quoting import quoted, resume, run_name
from rlsys.runs import folder as run_folder
from rlsys.runs.control_server import ask
from rlsys.runs.heartbeat import Sighting, look, sightings
from rlsys.terminal import print_table

_LOOK_S = 1.0
_END_PATIENCE_S = 600.0
_SCALED = "rollout_workers"
"""The setting that can be changed while a run trains."""


def find_run(run: str, directory: Path) -> Sighting:
    """Returns how a run was last seen; `run` as in `folder.find`.

    Raises:
      CheckpointError: there is no such run, or several begin like that.
      ConfigError: nobody has trained it yet.
    """
    folder = run_folder.find(run, str(directory))
    sighting = look(folder)
    if sighting is None:
        raise ConfigError(
            f"{folder.parent.name}/{folder.name} has never said how it stands: nobody has trained it yet."
        )
    return sighting


def show_runs(directory: Path) -> None:
    """Prints one line per run below a directory, the last seen first."""
    rows = [_row(sighting) for sighting in sightings(directory)]
    if not rows:
        raise ConfigError(f"no runs below {directory}. Launch one, or say where they lie with --directory.")
    print_table(str(directory), ("run", "state", "step", "env steps", "", "return", "best", "seen", "why"), rows)


def show_run(run: str, directory: Path) -> None:
    """Prints how one run stands, as its own terminal shows it."""
    sighting = find_run(run, directory)
    rows = [("state", f"{sighting.state}, {_age(sighting)}"), ("led by", f"process {sighting.pid} on {sighting.host}")]
    rows += [("why", sighting.reason)] if sighting.reason else []
    if sighting.status is not None:
        rows += [(name, text.replace("\n", "; ")) for name, text in describe(sighting.status)]
    print_table(sighting.name, ("what", "how"), rows)


def attach_to(run: str, directory: Path) -> str:
    """Shows a run until it ends; returns how it did. Ctrl-C only stops looking."""
    sighting = find_run(run, directory)
    shown_s = -1.0
    with Console(run_folder.load(sighting.folder), sighting.folder) as console:
        try:
            while sighting.is_alive:
                status = sighting.status
                if status is not None and status.elapsed_s != shown_s:
                    shown_s = status.elapsed_s
                    console.update(status)
                time.sleep(_LOOK_S)
                sighting = look(sighting.folder) or sighting
        except KeyboardInterrupt:
            return f"{sighting.name} goes on; come back with {quoted('attach', run_name(sighting.folder))}."
    return f"{sighting.name} is {sighting.state}: {sighting.reason}"


def stop_run(run: str, directory: Path) -> str:
    """Ends a run; returns once its last checkpoint is written.

    Raises:
      ConfigError: nobody trains it.
    """
    sighting = find_run(run, directory)
    ask(sighting.folder, "stop")
    deadline = time.monotonic() + _END_PATIENCE_S
    while sighting.is_alive and time.monotonic() < deadline:
        time.sleep(_LOOK_S / 2)
        sighting = look(sighting.folder) or sighting
    if sighting.is_alive:
        return (
            f"{sighting.name} still writes its last checkpoint; {quoted('status', run_name(sighting.folder))} shows "
            "when it is done."
        )
    return f"{sighting.name} is {sighting.state}: {sighting.reason}. Go on with: {resume(sighting.folder)}"


def scale_run(run: str, directory: Path, workers: str) -> str:
    """Changes the number of workers of a run that trains.

    Raises:
      ConfigError: nobody trains it, it cannot work with so many, or the request is not of the form rollout_workers=N.
    """
    name, _, value = workers.partition("=")
    if name != _SCALED or not value.isdecimal():
        hint = "" if name == _SCALED else did_you_mean(name, (_SCALED,))
        raise ConfigError(f"'{workers}' says not how many workers there shall be; give {_SCALED}=N.{hint}")
    sighting = find_run(run, directory)
    return f"{sighting.name}: {ask(sighting.folder, 'scale', **{_SCALED: int(value)})}"


def _row(sighting: Sighting) -> tuple[str, ...]:
    status = sighting.status
    figures = ("", "", "", "", "")
    if status is not None:
        figures = (
            f"{status.learner_steps:,}",
            f"{status.env_steps:,}",
            rate(status.env_steps_per_s) if sighting.is_alive else "",
            number(status.mean_return),
            number(status.best_return),
        )
    return (sighting.name, sighting.state, *figures, _age(sighting), sighting.reason)


def _age(sighting: Sighting) -> str:
    return f"{duration(max(0.0, time.time() - sighting.seen))} ago"
