"""The command that trains: a new run, or one that goes on, here or as a job."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlsys.cli.arguments import RUNS, Directory, OptionalName, Overrides, Profile, ResumedRun
from rlsys.errors import ConfigError

if TYPE_CHECKING:
    from rlsys.config import Loaded

_NumRuns = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=99_999,
        help="So many runs, 00001 and on, one after the other, beside other terminals and machines: run.num_runs=N.",
        show_default=False,
    ),
]
_ResumeRuns = Annotated[
    bool | None,
    typer.Option(
        "--resume-runs/--no-resume-runs",
        help="Of several runs: go on with those that ended before they were complete.",
        show_default="go on",
    ),
]


def launch(
    name: OptionalName = None,
    overrides: Overrides = None,
    *,
    profile: Profile = None,
    inline: Annotated[bool, typer.Option("--inline", help="Run in one process: deterministic, no Ray.")] = False,
    resume: ResumedRun = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="With --resume: a learner step, best or latest; later checkpoints are given up.",
            show_default="latest",
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many minutes.", show_default=False)] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to join: 'auto' or host:port. None starts one here.", show_default=False),
    ] = None,
    directory: Directory = RUNS,
    submit: Annotated[
        bool, typer.Option("--submit", help="Hand it to the cluster as a job, which goes on without this terminal.")
    ] = False,
    num_runs: _NumRuns = None,
    resume_runs: _ResumeRuns = None,
) -> None:
    """Train an experiment, in all runs that it says, or go on with a run."""
    from rlsys import config

    name, given = _split_name(name, overrides)
    _check(name, resume, profile=profile, checkpoint=checkpoint, submit=submit, inline=inline)
    given += [f"run.num_runs={num_runs}"] if num_runs is not None else []
    given += [f"run.minutes={minutes}"] if minutes is not None else []
    given += [f"runtime.address={address}"] if address is not None else []
    if resume is not None:
        resume = _found(resume, directory)
    elif directory != RUNS:
        given.append(f"run.directory={directory}")
    loaded = config.load(name, profile, given) if name is not None else None
    _check_several(loaded, resume_runs, given, resume=resume)
    if submit:
        from rlsys.runtime.cluster.submit import Order
        from rlsys.runtime.cluster.submit import submit as hand_over

        typer.echo(hand_over(Order(name, profile, resume, given, resume_runs is not False), loaded))
        raise typer.Exit

    if loaded is not None and loaded.experiment.run.are_several:
        from rlsys.commands.several import launch_several

        raise typer.Exit(launch_several(loaded, inline=inline, resumes=resume_runs is not False))

    from rlsys.runtime.launch.launch import launch as run

    raise typer.Exit(run(loaded, inline=inline, resume=resume, checkpoint=checkpoint or "latest", overrides=given))


def _check(
    name: str | None, resume: str | None, *, profile: str | None, checkpoint: str | None, submit: bool, inline: bool
) -> None:
    """Refuses what does not belong together."""
    if resume is not None and profile is not None:
        raise ConfigError(
            f"--profile {profile} with --resume {resume}; a resumed run keeps its workers. "
            "Leave --profile out, or set single values such as runtime.rollout_workers=8."
        )
    if checkpoint is not None and resume is None:
        raise ConfigError(
            f"--checkpoint {checkpoint} without --resume; a new run begins with none. Name the run with --resume RUN, "
            f"or begin from its weights with run.init_from=RUN#{checkpoint}."
        )
    if name is None and resume is None:
        raise ConfigError("no experiment; name one, or a run with --resume RUN. 'rlsys list' shows all experiments.")
    if submit and checkpoint is not None:
        raise ConfigError(
            f"--submit with --checkpoint {checkpoint}; a job goes on from the newest. Resume on the head itself."
        )
    if submit and inline:
        raise ConfigError("--submit with --inline; a job trains on a cluster. Leave one of them out.")


def _check_several(
    loaded: "Loaded | None", resume_runs: bool | None, given: Sequence[str], *, resume: str | None
) -> None:
    """Refuses what does not belong to several runs, or to one."""
    if resume is not None and (several := [word for word in given if word.startswith(("run.num_runs=", "run.games="))]):
        raise ConfigError(
            f"{several[0]} with --resume {resume}; one goes on with a run, the other with all that an experiment has. "
            "Leave one of them out."
        )
    if resume_runs is not None and not (loaded is not None and loaded.experiment.run.are_several):
        option = "--resume-runs" if resume_runs else "--no-resume-runs"
        raise ConfigError(f"{option} without --num-runs; it says what becomes of several runs. Add --num-runs N.")


def _split_name(name: str | None, overrides: list[str] | None) -> tuple[str | None, list[str]]:
    """Takes NAME for an override where it has the form of one: NAME may be left out with --resume."""
    given = list(overrides or ())
    return (None, [name, *given]) if name is not None and "=" in name else (name, given)


def _found(run: str, directory: Path) -> str:
    """Names a run so that it is found from here where it lies below another directory than that of runs."""
    if directory == RUNS or "://" in run or Path(run).exists():
        return run
    from rlsys.runs.folder import find

    return str(find(run, str(directory)))
