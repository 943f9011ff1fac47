"""What several commands are given: an experiment, a run, what was trained, settings; spelled and explained alike."""

from pathlib import Path
from typing import Annotated

import typer

_RUN = "A run: its folder, <experiment>/<run-id>, the beginning of its id, or an experiment for its latest run"

Name = Annotated[str, typer.Argument(help="An experiment: a name from 'rlsys list', or a YAML file.")]
OptionalName = Annotated[
    str | None, typer.Argument(help="An experiment: a name from 'rlsys list', or a YAML file.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Settings on top, such as run.seed=1 or debug=true.", show_default=False
    ),
]
PlayedOverrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings of the environment and of the algorithm that differ, such as muzero.num_simulations=50.",
        show_default=False,
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        help="How many workers: a file in launch/, over the experiment; without it laptop is beneath.",
        show_default=False,
    ),
]

Run = Annotated[str, typer.Argument(metavar="RUN", help=f"{_RUN}.")]
OptionalRun = Annotated[
    str | None, typer.Argument(metavar="[RUN]", help=f"{_RUN}; all runs if not given.", show_default=False)
]
ResumedRun = Annotated[
    str | None,
    typer.Option(metavar="RUN", help=f"Go on with it; NAME is not needed then. {_RUN}.", show_default=False),
]
TrainedRun = Annotated[
    str, typer.Argument(metavar="RUN", help=f"{_RUN}; or an export: folder, .zip, URI or shipped name.")
]
Directory = Annotated[Path, typer.Option(help="Where runs lie: their run.directory.")]
RUNS = Path("runs")
"""Where they lie unless something else is said."""

Checkpoint = Annotated[str, typer.Option(help="A learner step, best or latest.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Let an export import the modules that its algorithm and its environment come from."),
]
VideoFrames = Annotated[
    int | None, typer.Option(min=1, help="Pictures after which a film ends.", show_default="the run's")
]
VideoSeconds = Annotated[
    float | None, typer.Option(min=0.1, help="Seconds of drawing after which a film ends.", show_default="the run's")
]


def is_setting(word: str) -> bool:
    """Tells KEY=VALUE from a run, whose path may have a "=" in it, too."""
    key, equals, _ = word.partition("=")
    return bool(equals) and "/" not in key
