"""`rlsys elo`: what it is asked for."""

from pathlib import Path
from typing import Annotated

import typer

from rlsys.cli.arguments import RUNS, Directory, TrainedRun, Trust, is_setting

_More = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN | KEY=VALUE]...",
        help="More runs of the same game, and settings that differ for all, such as muzero.num_simulations=50.",
        show_default=False,
    ),
]


def elo(
    run: TrainedRun,
    more: _More = None,
    *,
    directory: Directory = RUNS,
    games: Annotated[int, typer.Option(help="Games of each pair; an even number.")] = 40,
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="An opponent of the environment's, a value of env.opponent, or none; may be given several times.",
            show_default="random",
        ),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="A learner step, best or latest; may be given several times.", show_default="all"),
    ] = None,
    most: Annotated[int, typer.Option(help="Checkpoints of each run at most, evenly spread.")] = 8,
    opening_moves: Annotated[
        int, typer.Option(help="Moves by chance at the beginning of games of two policies, which are greedy.")
    ] = 2,
    seed: Annotated[int | None, typer.Option(help="Of all games.", show_default="the run's")] = None,
    plot: Annotated[Path | None, typer.Option(help="The picture.", show_default="<run>/elo.png")] = None,
    trust: Trust = False,
) -> None:
    """Let checkpoints of a board game play against each other, and rate them: Elo, with intervals."""
    from rlsys.evaluation.matches.tournament import EloOptions, rate_runs

    overrides = [word for word in more or () if is_setting(word)]
    options = EloOptions(
        runs=(run, *(word for word in more or () if word not in overrides)),
        directory=str(directory),
        overrides=tuple(overrides),
        checkpoints=tuple(checkpoint or ()),
        most=most,
        against=tuple(name for name in against or ("random",) if name != "none"),
        games=games,
        opening_moves=opening_moves,
        seed=seed,
        plot=plot,
        trust=trust,
    )
    typer.echo(rate_runs(options))
