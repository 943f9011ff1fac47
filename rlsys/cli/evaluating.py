"""`rlsys eval`: what it is asked for."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rlsys.cli.arguments import RUNS, Directory, TrainedRun, Trust, VideoFrames, VideoSeconds, is_setting


class Planner(StrEnum):
    """What an agent that looks ahead in a world model plans by."""

    rollouts = "rollouts"
    cem = "cem"
    icem = "icem"
    mppi = "mppi"
    tree = "tree"


class Agent(StrEnum):
    """Who plays in an evaluation."""

    policy = "policy"
    planner = "planner"
    random = "random"


_Temperatures = Annotated[
    list[float] | None,
    typer.Option(help="0 is greedy; may be given several times.", show_default="the run's"),
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
_Checkpoints = Annotated[
    list[str] | None,
    typer.Option(help="A learner step, best or latest; may be given several times.", show_default="latest"),
]
_MoreRuns = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN | KEY=VALUE]...",
        help="More runs to compare it with, and settings of the environment and of the algorithm that differ, such as "
        "muzero.num_simulations=50; one that is given several times, or as [10,50], makes rows.",
        show_default=False,
    ),
]
_Films = Annotated[
    int, typer.Option(min=0, help="Film so many episodes of each row, below a header with their rewards.")
]
_Trees = Annotated[
    Path | None, typer.Option(help="Folder for a picture of the search tree of each move.", show_default=False)
]
_TreesAfter = Annotated[int, typer.Option(help="Decisions after which the pictures of --save-mcts begin.")]
_WatchedRow = Annotated[
    int, typer.Option(help="The row, from 0, that --gif, --video, --save-mcts, --latents and --record are of.")
]
_WatchedEpisode = Annotated[int, typer.Option(help="The episode, from 0, that these and --render are of.")]
_Render = Annotated[bool, typer.Option("--render", help="Show an episode of each row in a window while it is played.")]
_Plot = Annotated[
    Path | None,
    typer.Option(
        "--plot", "--plot-summary", help="Plot returns, values and search depth over time.", show_default=False
    ),
]
_PlotPolicy = Annotated[bool, typer.Option("--include-policy/--no-policy", help="--plot: distributions over actions.")]
_PlotBounds = Annotated[
    bool, typer.Option("--include-bounds/--no-bounds", help="--plot: the range between the quartiles.")
]
_DetailedLabels = Annotated[
    bool, typer.Option("--detailed-label", help="--plot: name all of each row, not only how rows differ.")
]
_Episodes = Annotated[int, typer.Option(help="Episodes per row, each on its own seed.")]
_MaxSteps = Annotated[
    int | None, typer.Option(min=1, help="Decisions after which an episode is cut.", show_default="none")
]
_Planner = Annotated[
    Planner | None,
    typer.Option(
        help="Planner: try first actions and let the policy go on (rollouts), or look for sequences of actions.",
        show_default="rollouts",
    ),
]
_Rollouts = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Planner: rollouts for each decision, candidates of each iteration, or simulations of a tree.",
        show_default="64",
    ),
]
_Horizon = Annotated[int | None, typer.Option(min=1, help="Planner: steps of each.", show_default="16")]
_Seed = Annotated[int | None, typer.Option(help="Seed of the first episode.", show_default="the run's")]
_Sleep = Annotated[float, typer.Option(help="--render: seconds for which each picture stays at least.")]
_Gif = Annotated[Path | None, typer.Option(help="Write an episode as a GIF.", show_default=False)]
_Video = Annotated[Path | None, typer.Option(help="Write an episode as an MP4.", show_default=False)]
_FilmFolder = Annotated[Path | None, typer.Option(help="Where --films go.", show_default="<run>/media")]
_Smooth = Annotated[int, typer.Option(help="--plot: decisions over which curves are averaged.")]
_Latents = Annotated[
    Path | None,
    typer.Option(help="Write what the policy knows, beside the true state, as .npz.", show_default=False),
]
_Record = Annotated[
    Path | None,
    typer.Option(help="Add all episodes to a folder, a data set for run.dataset.", show_default=False),
]
_Parallel = Annotated[int, typer.Option(help="Processes among which the episodes are divided.")]


def evaluate(
    run: TrainedRun,
    more: _MoreRuns = None,
    *,
    directory: Directory = RUNS,
    episodes: _Episodes = 10,
    temperature: _Temperatures = None,
    noops: _NoOps = None,
    max_steps: _MaxSteps = None,
    agent: _Agent = Agent.policy,
    planner: _Planner = None,
    rollouts: _Rollouts = None,
    horizon: _Horizon = None,
    seed: _Seed = None,
    checkpoint: _Checkpoints = None,
    all_checkpoints: _AllCheckpoints = False,
    watch_row: _WatchedRow = 0,
    watch_episode: _WatchedEpisode = 0,
    render: _Render = False,
    sleep: _Sleep = 0.0,
    gif: _Gif = None,
    video: _Video = None,
    films: _Films = 0,
    film_folder: _FilmFolder = None,
    video_frames: VideoFrames = None,
    video_seconds: VideoSeconds = None,
    plot: _Plot = None,
    smooth: _Smooth = 1,
    policy: _PlotPolicy = True,
    bounds: _PlotBounds = True,
    detailed_labels: _DetailedLabels = False,
    save_mcts: _Trees = None,
    save_mcts_after_step: _TreesAfter = 0,
    latents: _Latents = None,
    record: _Record = None,
    parallel: _Parallel = 1,
    trust: Trust = False,
) -> None:
    """Play episodes with trained policies, a row per choice: mean, median and bootstrap interval of the return."""
    from rlsys.evaluation.agents.planning_policy import planning_of
    from rlsys.evaluation.options import EvaluationOptions
    from rlsys.evaluation.run import evaluate_run

    overrides = [word for word in more or () if is_setting(word)]
    options = EvaluationOptions(
        run=run,
        others=tuple(word for word in more or () if word not in overrides),
        directory=str(directory),
        overrides=tuple(overrides),
        episodes=episodes,
        temperatures=tuple(temperature or ()),
        noops=tuple(noops or ()),
        max_steps=max_steps,
        agent=agent.value,
        planning=planning_of(None if planner is None else planner.value, rollouts, horizon),
        seed=seed,
        checkpoints=tuple(checkpoint or ()),
        all_checkpoints=all_checkpoints,
        watch_row=watch_row,
        watch_episode=watch_episode,
        render=render,
        sleep=sleep,
        gif=gif,
        video=video,
        films=films,
        film_folder=film_folder,
        video_frames=video_frames,
        video_seconds=video_seconds,
        plot=plot,
        smooth=smooth,
        policy=policy,
        bounds=bounds,
        detailed_labels=detailed_labels,
        save_mcts=save_mcts,
        save_mcts_after_step=save_mcts_after_step,
        latents=latents,
        record=record,
        parallel=parallel,
        trust=trust,
    )
    raise typer.Exit(evaluate_run(options))
