"""Commands for runs that train elsewhere: how they stand, and what is asked of them."""

from typing import Annotated

import typer

from rlsys.cli.arguments import RUNS, Directory, OptionalRun, Run
from rlsys.errors import ConfigError, did_you_mean

_BOARDS = ("grafana", "wandb")


def status(run: OptionalRun = None, *, directory: Directory = RUNS) -> None:
    """Show how runs stand: which train, which ended and why, which are lost."""
    from rlsys.commands.follow import show_run, show_runs

    if run is None:
        show_runs(directory)
    else:
        show_run(run, directory)


def top(
    run: Run,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print it once, as for scripts and pipes.")] = False,
    directory: Directory = RUNS,
) -> None:
    """Show a run's processes: what they cost, do and wait for, and what binds the run; Ctrl-C leaves it alone."""
    from rlsys.commands.top import show_top

    show_top(run, directory, once=once)


def attach(run: Run, *, directory: Directory = RUNS) -> None:
    """Follow a run that trains elsewhere, as on its own terminal; Ctrl-C leaves it alone."""
    from rlsys.commands.follow import attach_to

    typer.echo(attach_to(run, directory))


def stop(run: Run, *, directory: Directory = RUNS) -> None:
    """End a run with a checkpoint, and wait until it has."""
    from rlsys.commands.follow import stop_run

    typer.echo(stop_run(run, directory))


def scale(
    run: Run,
    workers: Annotated[str, typer.Argument(metavar="rollout_workers=N", help="How many it shall have.")],
    *,
    directory: Directory = RUNS,
) -> None:
    """Give a run that trains more or fewer rollout workers; samples per insert hold."""
    from rlsys.commands.follow import scale_run

    typer.echo(scale_run(run, directory, workers))


def dashboard(
    kind: Annotated[str, typer.Argument(metavar="grafana|wandb", help="For whom.")],
    *,
    entity: Annotated[str, typer.Option(help="W&B: the user or team.", show_default=False)] = "",
    project: Annotated[str, typer.Option(help="W&B: the runs' run.wandb_project.")] = "rlsys",
) -> None:
    """Print the dashboard for Grafana as JSON, or save it as a view of a Weights & Biases project."""
    from rlsys.metrics import dashboard as layout

    if kind == "grafana":
        typer.echo(layout.grafana_json())
    elif kind == "wandb" and entity:
        typer.echo(layout.save_to_wandb(entity, project))
    elif kind == "wandb":
        raise ConfigError("dashboard wandb without --entity; it must name the user or team that has the project.")
    else:
        raise ConfigError(f"dashboard {kind}; it can be made for grafana and for wandb.{did_you_mean(kind, _BOARDS)}")
