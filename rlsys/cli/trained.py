"""Commands for what was trained: a run's checkpoint, or an export."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rlsys.cli.arguments import RUNS, Checkpoint, Directory, PlayedOverrides, TrainedRun, Trust
from rlsys.errors import ConfigError


class Planner(StrEnum):
    """What an agent that looks ahead in a world model plans by."""

    rollouts = "rollouts"
    cem = "cem"
    icem = "icem"
    mppi = "mppi"
    tree = "tree"


class Form(StrEnum):
    """What an export is for."""

    checkpoint = "checkpoint"
    web = "web"


class Agent(StrEnum):
    """Who plays in an evaluation."""

    policy = "policy"
    planner = "planner"
    random = "random"


_Temperatures = Annotated[
    list[float] | None,
    typer.Option(min=0.0, help="0 is greedy; may be given several times.", show_default="the run's"),
]
_NoOps = Annotated[
    list[int] | None,
    typer.Option(
        min=0,
        help="Atari: begin with no-ops for 0 to N decisions; may be given several times.",
        show_default="the run's",
    ),
]
_Agent = Annotated[
    Agent,
    typer.Option(
        help="Random acts uniformly, as a baseline, and needs no more than an experiment; planner looks ahead in the "
        "world model."
    ),
]
_AllCheckpoints = Annotated[
    bool, typer.Option("--all-checkpoints", help="Every checkpoint that the run has kept, each in its own rows.")
]
_Films = Annotated[
    int, typer.Option(min=0, help="Film so many episodes of each row, below a header with their rewards.")
]
_VideoFrames = Annotated[
    int | None, typer.Option(min=1, help="Pictures after which a film ends.", show_default="the run's")
]
_VideoSeconds = Annotated[
    float | None, typer.Option(min=0.1, help="Seconds of drawing after which a film ends.", show_default="the run's")
]
_Trees = Annotated[
    Path | None, typer.Option(help="Folder for a picture of the search tree of each move.", show_default=False)
]
_Reconstruction = Annotated[
    bool,
    typer.Option(
        "--reconstruction", help="Playing: the game as it is drawn, as it is seen, and what the model makes of that."
    ),
]


def evaluate(
    run: TrainedRun,
    overrides: PlayedOverrides = None,
    *,
    directory: Directory = RUNS,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes per row, each on its own seed.")] = 10,
    temperature: _Temperatures = None,
    noops: _NoOps = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Decisions after which an episode is cut.", show_default="none")
    ] = None,
    agent: _Agent = Agent.policy,
    planner: Annotated[
        Planner | None,
        typer.Option(
            help="Planner: try first actions and let the policy go on (rollouts), or look for sequences of actions.",
            show_default="rollouts",
        ),
    ] = None,
    rollouts: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Planner: rollouts for each decision, candidates of each iteration, or simulations of a tree.",
            show_default="64",
        ),
    ] = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="Planner: steps of each.", show_default="16")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the first episode.", show_default="the run's")] = None,
    checkpoint: Checkpoint = "latest",
    all_checkpoints: _AllCheckpoints = False,
    gif: Annotated[Path | None, typer.Option(help="Write the first episode as a GIF.", show_default=False)] = None,
    video: Annotated[Path | None, typer.Option(help="Write the first episode as an MP4.", show_default=False)] = None,
    films: _Films = 0,
    film_folder: Annotated[Path | None, typer.Option(help="Where --films go.", show_default="<run>/media")] = None,
    video_frames: _VideoFrames = None,
    video_seconds: _VideoSeconds = None,
    plot: Annotated[
        Path | None, typer.Option(help="Plot returns, values and search depth over time.", show_default=False)
    ] = None,
    save_mcts: _Trees = None,
    latents: Annotated[
        Path | None,
        typer.Option(help="Write what the policy knows, beside the true state, as .npz.", show_default=False),
    ] = None,
    parallel: Annotated[int, typer.Option(min=1, help="Processes among which the episodes are divided.")] = 1,
    trust: Trust = False,
) -> None:
    """Play episodes with a trained policy, a row per choice: mean, median and bootstrap interval of the return."""
    from rlsys.evaluation.options import EvaluationOptions
    from rlsys.evaluation.planning_policy import planning_of
    from rlsys.evaluation.run import evaluate_run

    options = EvaluationOptions(
        run=run,
        directory=str(directory),
        overrides=tuple(overrides or ()),
        episodes=episodes,
        temperatures=tuple(temperature or ()),
        noops=tuple(noops or ()),
        max_steps=max_steps,
        agent=agent.value,
        planning=planning_of(None if planner is None else planner.value, rollouts, horizon),
        seed=seed,
        checkpoint=checkpoint,
        all_checkpoints=all_checkpoints,
        gif=gif,
        video=video,
        films=films,
        film_folder=film_folder,
        video_frames=video_frames,
        video_seconds=video_seconds,
        plot=plot,
        save_mcts=save_mcts,
        latents=latents,
        parallel=parallel,
        trust=trust,
    )
    raise typer.Exit(evaluate_run(options))


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
    video_frames: _VideoFrames = None,
    video_seconds: _VideoSeconds = None,
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
