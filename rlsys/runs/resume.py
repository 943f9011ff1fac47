"""Going on with a run: from which checkpoint, and what of it still fits settings that have changed since."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from rlsys.checkpoints.checkpoint import Checkpoints, Opened
from rlsys.config import Loaded
from rlsys.config.location import locations
from rlsys.errors import CheckpointError
from rlsys.runs.spec import Refill, RunSpec


def checkpoint_to_resume(checkpoints: Checkpoints, which: str) -> Opened:
    """Opens the checkpoint to go on from: "latest", "best" or a learner step.

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    if checkpoints.latest() is None:
        raise CheckpointError(f"{checkpoints.location} has no checkpoint to resume from. Launch the experiment again.")
    return checkpoints.open(which, parts=["progress"])


def check_begun(saved: Loaded, loaded: Loaded) -> None:
    """Refuses to name another beginning to a run that has begun.

    Raises:
      CheckpointError: the run goes on from weights of its own.
    """
    before = dict(locations(saved.experiment))
    for setting, now in locations(loaded.experiment):
        if str(now) != str(before.get(setting, "")):
            raise CheckpointError(
                f"{setting} = {now} with --resume; a run that has begun goes on from its own weights. Leave it out, or "
                "launch a new run."
            )


def with_replay(spec: RunSpec, form: Mapping[str, Any], step: int) -> RunSpec:
    """Returns a resumed run's spec, which says so where what a checkpoint holds of replay is not of its form.

    Args:
      spec: the run's, with its present settings.
      form: `RunSpec.replay_form` of the run that wrote the checkpoint.
      step: of the checkpoint.
    """
    if form == spec.replay_form:
        return spec
    return replace(spec, refill=Refill(step, begins_episodes=form.get("segments") != spec.replay_form["segments"]))


def begin(
    spec: RunSpec, saved: Loaded | None, step: int | None, checkpoints: Checkpoints, say: Callable[[str], None]
) -> None:
    """Gives up what a run goes back behind, and says what is unusual about its beginning.

    Args:
      spec: the run's.
      saved: of a run that is resumed, what it was before.
      step: of the checkpoint that it goes on from.
      checkpoints: the run's.
      say: shows a line.
    """
    if saved is None or step is None:
        if spec.run.init_from is not None:
            say(f"it begins with the networks of {spec.run.init_from}")
        return
    later = [one for one in checkpoints.list() if one > step]
    checkpoints.go_back(step)
    if later:
        given_up = ", ".join(f"{one:,}" for one in later)
        say(f"it goes on from checkpoint {step:,}; later ones are given up when it writes its next: {given_up}")
    if spec.refill is not None:
        say(_explain_refill(spec, saved))
    before, now = saved.experiment.runtime.environments_per_worker, spec.environments_per_worker
    if before not in ("auto", now):
        say(
            f"runtime.environments_per_worker = {now}, which was {before}: rollout workers begin new games, for the "
            "checkpoint holds other simulators"
        )


def _explain_refill(spec: RunSpec, saved: Loaded) -> str:
    """Returns a line that says which settings make replay begin anew."""
    before, runtime = saved.experiment.section, saved.experiment.runtime
    settings = [(f"{spec.algorithm.name}.{name}", value, getattr(before, name)) for name, value in spec.section]
    settings.append(("runtime.replay_bytes", spec.runtime.replay_bytes, runtime.replay_bytes))
    changes = [f"{setting} = {now}, which was {then}" for setting, now, then in settings if now != then]
    reason = f" ({'; '.join(changes)})" if changes else ""
    return (
        f"replay is filled anew, since the checkpoint holds one of another form{reason}; networks, optimizer and "
        "counters go on"
    )
