"""What `rlsys eval` can be asked for, and what of it contradicts itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rlsys.errors import ConfigError
from rlsys.evaluation.agents.planning_policy import Planning
from rlsys.viewer import plots
from rlsys.viewer.window import has_screen

_LONGEST_SLEEP = 60.0


@dataclass(frozen=True)
class EvaluationOptions:
    """What `rlsys eval` was asked for.

    Attributes:
      run: a folder, `<experiment>/<run-id>`, the beginning of a run id, an experiment (its latest run), or an export:
        see `rlsys.exports.find`. Of random actions, an experiment without runs will do.
      others: more of them, to be compared with it: rows of each, of the same games.
      directory: of all runs.
      overrides: KEY=VALUE, settings of the environment and of the algorithm's section that differ; a key that is given
        several times, or has a list of values, makes rows: see `rlsys.evaluation.product`.
      episodes: whole games of each row: one for each seed, so that short games are not favoured.
      temperatures: of the choice of actions, a row for each; 0 is greedy, others need an algorithm with
        `Algorithm.temperature`. None takes the run's own.
      noops: decisions for which Atari games may begin with no-ops, a row for each; 0 is none. None takes the run's own.
      max_steps: decisions after which an episode is cut; None cuts none.
      agent: "policy", "planner" for one that looks ahead in the world model, or "random" for uniform actions.
      planning: of the planner; None takes `Planning`'s own numbers.
      seed: episode g of every row is played with seed + g; None takes the (first) run's own seed.
      checkpoints: each "latest", "best" or a learner step, with rows of its own; none is the latest.
      all_checkpoints: rows for every checkpoint that the run has kept.
      watch_row, watch_episode: which of them gif, video, save_mcts and, of every row, render show; both from 0.
      render: show it in a window.
      sleep: seconds for which each picture stays there at least.
      gif, video: films of it.
      films: so many episodes of each row are filmed below a header with their rewards.
      film_folder: where those films go; None is the run's media folder.
      video_frames, video_seconds: pictures, and seconds of drawing, after which a film ends; None takes the run's own.
      plot: figure of what was played above what was predicted.
      smooth: decisions over which its curves are averaged.
      policy, bounds: whether it shows distributions over actions, and the range between the quartiles.
      detailed_labels: whether its legend says all of each row, and not only how rows differ.
      save_mcts: folder for a picture of each search tree.
      save_mcts_after_step: decisions after which these begin.
      latents: .npz file of what the policy knows at each decision, beside the true state, of all episodes.
      record: folder to which all episodes are added as a data set, for `run.dataset`.
      parallel: processes among which the episodes are divided.
      trust: whether an export may have modules imported, of which its algorithm or its environment comes.
    """

    run: str
    others: tuple[str, ...] = ()
    directory: str = "runs"
    overrides: tuple[str, ...] = ()
    episodes: int = 10
    temperatures: tuple[float, ...] = ()
    noops: tuple[int, ...] = ()
    max_steps: int | None = None
    agent: Literal["policy", "planner", "random"] = "policy"
    planning: Planning | None = None
    seed: int | None = None
    checkpoints: tuple[str, ...] = ()
    all_checkpoints: bool = False
    watch_row: int = 0
    watch_episode: int = 0
    render: bool = False
    sleep: float = 0.0
    gif: Path | None = None
    video: Path | None = None
    films: int = 0
    film_folder: Path | None = None
    video_frames: int | None = None
    video_seconds: float | None = None
    plot: Path | None = None
    smooth: int = 1
    policy: bool = True
    bounds: bool = True
    detailed_labels: bool = False
    save_mcts: Path | None = None
    save_mcts_after_step: int = 0
    latents: Path | None = None
    record: Path | None = None
    parallel: int = 1
    trust: bool = False


def check(options: EvaluationOptions) -> None:
    """Refuses what contradicts itself.

    Raises:
      ConfigError: it says what.
    """
    _check_numbers(options)
    if options.all_checkpoints and options.checkpoints:
        raise ConfigError(f"checkpoint = {options.checkpoints[0]} with all_checkpoints; give one of the two.")
    _check_agent(options)
    _check_watched(options)
    endings = {
        "gif": (options.gif, [".gif"]),
        "video": (options.video, [".mp4"]),
        "plot": (options.plot, plots.ENDINGS),
        "latents": (options.latents, [".npz"]),
    }
    for name, (path, allowed) in endings.items():
        if path is not None and path.suffix not in allowed:
            raise ConfigError(f"{name} = {path}; its name must end in {' or '.join(allowed)}. Rename it.")


def _check_numbers(options: EvaluationOptions) -> None:
    if options.episodes < 1 or options.parallel < 1:
        raise ConfigError(
            f"episodes = {options.episodes}, parallel = {options.parallel}; both must be at least 1. Raise them."
        )
    if not all(temperature >= 0 for temperature in options.temperatures):
        raise ConfigError(f"temperatures = {list(options.temperatures)}; each must be 0 or more. 0 is greedy.")
    if not 0 <= options.watch_episode < options.episodes:
        raise ConfigError(
            f"watch_episode = {options.watch_episode} with episodes = {options.episodes}; it must be one of these, "
            "from 0. Lower it."
        )
    if options.smooth < 1 or options.save_mcts_after_step < 0 or not 0 <= options.sleep <= _LONGEST_SLEEP:
        raise ConfigError(
            f"smooth = {options.smooth}, save_mcts_after_step = {options.save_mcts_after_step}, "
            f"sleep = {options.sleep}; they must be at least 1, 0, and from 0 to {_LONGEST_SLEEP:g} seconds. "
            "Correct them."
        )


def _check_watched(options: EvaluationOptions) -> None:
    """Refuses what is said about pictures that nobody makes."""
    collected = options.latents or options.record
    if collected is not None and (options.parallel > 1 or options.all_checkpoints):
        name = "latents" if options.latents else "record"
        raise ConfigError(
            f"{name} with parallel or all_checkpoints; they are collected by one process, of one checkpoint. Leave one "
            "of them out."
        )
    has_film = options.gif or options.video or options.films
    if not has_film and (options.video_frames, options.video_seconds) != (None, None):
        raise ConfigError("video_frames or video_seconds without a film; they end one. Add gif, video or films.")
    if options.sleep and not options.render:
        raise ConfigError(f"sleep = {options.sleep:g} without render; it is for what is seen. Add render.")
    if options.save_mcts_after_step and options.save_mcts is None:
        raise ConfigError(
            f"save_mcts_after_step = {options.save_mcts_after_step} without save_mcts; it has no trees. Add that."
        )
    if options.render and not has_screen():
        raise ConfigError("render, but there is no screen. Film it with gif or video, or use 'rlsys play RUN --web'.")


def _check_agent(options: EvaluationOptions) -> None:
    """Refuses what means nothing to the agent."""
    if options.planning is not None and options.agent != "planner":
        raise ConfigError(
            f"planner, rollouts or horizon with agent = {options.agent}; only agent planner has them. Use that."
        )
    if options.latents is not None and options.agent != "policy":
        raise ConfigError(f"latents with agent = {options.agent}; only a run's own policy has any. Leave one out.")
    others = ["temperatures"] if options.temperatures else []
    others += ["all_checkpoints"] if options.all_checkpoints else []
    others += ["checkpoint"] if options.checkpoints else []
    if options.agent == "random" and others:
        raise ConfigError(f"agent = random with {', '.join(others)}; random actions have no such option. Leave it out.")
