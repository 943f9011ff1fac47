"""Commands for what was trained, a run's checkpoint or an export: to play with it, and to write it elsewhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rlsys.cli.arguments import (
    RUNS,
    Checkpoint,
    Directory,
    PlayedOverrides,
    TrainedRun,
    Trust,
    VideoFrames,
    VideoSeconds,
)
from rlsys.errors import ConfigError


class Form(StrEnum):
    """What an export is for."""

    checkpoint = "checkpoint"
    web = "web"


_Reconstruction = Annotated[
    bool,
    typer.Option(
        "--reconstruction", help="Playing: the game as it is drawn, as it is seen, and what the model makes of that."
    ),
]


def play(
    run: TrainedRun,
    overrides: PlayedOverrides = None,
    *,
    directory: Directory = RUNS,
    checkpoint: Checkpoint = "latest",
    seed: Annotated[int | None, typer.Option(help="Seed of the episodes.", show_default="the run's")] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Watch one episode of the policy, also where there is a world model."),
    ] = False,
    web: Annotated[
        bool, typer.Option("--web", help="In this machine's browser; elsewhere: ssh -L PORT:127.0.0.1:PORT.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="--web: its port; 0 for a free one.")] = 0,
    fps: Annotated[
        float | None, typer.Option(min=0.1, help="Pictures per second.", show_default="20, watching 30")
    ] = None,
    film: Annotated[
        Path | None,
        typer.Option(help="Watching: where to write it (.mp4 or .gif).", show_default="<run>/media/play.mp4"),
    ] = None,
    video_frames: VideoFrames = None,
    video_seconds: VideoSeconds = None,
    record: Annotated[
        Path | None, typer.Option(help="Playing: folder for films and arrays.", show_default="<run>/media")
    ] = None,
    no_real: Annotated[
        bool, typer.Option("--no-real", help="Playing: in the model alone, without the real game.")
    ] = False,
    no_model: Annotated[
        bool, typer.Option("--no-model", help="Playing: the real game alone, also of runs without a world model.")
    ] = False,
    agent: Annotated[bool, typer.Option("--agent", help="Playing: the policy begins; P takes turns.")] = False,
    reconstruction: _Reconstruction = False,
    header: Annotated[
        bool, typer.Option("--header", help="Playing: action, reward, end, step and return above the picture.")
    ] = False,
    ask: Annotated[bool, typer.Option("--ask", help="Playing: at each episode's end, whether to keep it.")] = False,
    episodes: Annotated[bool, typer.Option("--episodes", help="Look through the episodes that the run kept.")] = False,
    zoom: Annotated[
        float | None, typer.Option(min=1.0, max=50.0, help="Playing: enlarges frames.", show_default="4")
    ] = None,
    episode_steps: Annotated[
        int | None, typer.Option(min=1, help="Playing: most steps of an episode.", show_default=False)
    ] = None,
    trust: Trust = False,
) -> None:
    """Play in a run's world model, beside the real game; of runs without one, film an episode of the policy."""
    from rlsys.commands.play import PlayOptions, play_run

    options = PlayOptions(
        run=run,
        directory=str(directory),
        overrides=tuple(overrides or ()),
        checkpoint=checkpoint,
        seed=seed,
        watch=watch,
        web=web,
        port=port,
        fps=fps,
        film=film,
        video_frames=video_frames,
        video_seconds=video_seconds,
        record=record,
        no_real=no_real,
        no_model=no_model,
        agent=agent,
        reconstruction=reconstruction,
        header=header,
        ask=ask,
        episodes=episodes,
        zoom=zoom,
        episode_steps=episode_steps,
        trust=trust,
    )
    typer.echo(play_run(options))


def export(
    run: TrainedRun,
    *,
    directory: Directory = RUNS,
    to: Annotated[Path, typer.Option(help="A folder, or (but of a page) a .zip file, that does not exist yet.")],
    form: Annotated[
        Form, typer.Option("--format", help="What play and eval read, or a page that dreams in the browser.")
    ] = Form.checkpoint,
    checkpoint: Checkpoint = "latest",
    half: Annotated[bool, typer.Option("--half", help="Store weights in 16 bits, rounded.")] = False,
    trust: Trust = False,
) -> None:
    """Write what play and eval need of a run, or its world model as a page; without optimizer and replay."""
    if form is Form.web:
        if half:
            raise ConfigError("--half with --format web; a page's weights always have 16 bits. Leave it out.")
        from rlsys.exports.web.export import export_page

        typer.echo(export_page(run, to, directory=str(directory), checkpoint=checkpoint, trust=trust))
        return
    from rlsys.exports.export import export_run

    typer.echo(export_run(run, to, directory=str(directory), checkpoint=checkpoint, half=half, trust=trust))
