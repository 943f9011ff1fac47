"""Commands that read what runs have left: their scores, their histograms, and what their latents know."""

from pathlib import Path
from typing import Annotated

import typer

from rlsys.errors import ConfigError

_Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Of runs, at any depth, ours or with event files.")]
_Series = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=METRIC", help="A metric or tag to take as KEY; may be given several times."),
]


def scores(
    folder: _Folder,
    outs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="OUT...", help="Files: .json, .csv, or pictures.", show_default=False),
    ] = None,
    *,
    series: _Series = None,
    suite: Annotated[
        str | None,
        typer.Option(help="Compare runs on its games with published methods: atari100k.", show_default=False),
    ] = None,
) -> None:
    """Compile the scores and losses of all runs below a folder, also of TensorBoard files of others."""
    if suite is not None:
        from rlsys.commands.suites import compare

        if written := compare(suite, folder, outs or (), series or ()):
            typer.echo(written)
        return
    if not outs:
        raise ConfigError("no OUT; what is compiled has to go somewhere. Name a .json or .csv file, or a picture.")
    from rlsys.commands.compiling import write_scores

    typer.echo(write_scores(folder, outs, series or ()))


def histograms(
    folder: _Folder,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .json file.")],
    *,
    series: _Series = None,
) -> None:
    """Compile the histograms of returns of all runs below a folder, as lists of samples."""
    from rlsys.commands.compiling import write_histograms

    typer.echo(write_histograms(folder, out, series or ()))


def latents(
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="Latents (sample, belief) and parts of the state.")],
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The picture.", show_default="FILE.png")] = None,
) -> None:
    """Show what latents know of the true state: correlation of each, and R² of all, with each of its components."""
    from rlsys.commands.latents import show_latents

    typer.echo(show_latents(file, output))
