"""Evaluation of a run's checkpoints: what `rlsys eval` does."""

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from rlsys import registry
from rlsys.api import Policy, PolicyContext
from rlsys.config import EnvConfig, Experiment, build
from rlsys.envs.make import spec
from rlsys.errors import ConfigError
from rlsys.runtime import folder as run_folder
from rlsys.runtime.episodes import (
    MOST_ENVIRONMENTS,
    EpisodeStatistics,
    OnDecision,
    OnFrame,
    bootstrap_interval,
    play_episodes,
)
from rlsys.runtime.metrics import report
from rlsys.runtime.process import prepare, use_threads
from rlsys.types import Array, Weights
from rlsys.viewer import plots
from rlsys.viewer.film import Film
from rlsys.viewer.search_tree import SearchTree, draw_search_tree
from rlsys.viewer.trace import mean_of_extras

__all__ = [
    "EpisodeStatistics",
    "EvaluationOptions",
    "Searching",
    "bootstrap_interval",
    "evaluate_run",
    "play_episodes",
]


@dataclass(frozen=True)
class EvaluationOptions:
    """What `rlsys eval` was asked for.

    Attributes:
      run: a folder, `<experiment>/<run-id>`, the beginning of a run id, or an experiment (its latest run).
      episodes: whole games per temperature.
      temperatures: of the choice of actions; 0 is greedy, others need an algorithm with `eval_temperature`.
      seed: episode g is played with seed + g; None takes the run's own seed.
      checkpoint: "latest", "best" or a learner step.
      num_simulations: searches with so many instead of the run's.
      only_prior, only_value: choose by the network's policy, or by a look one step ahead, instead of by search.
      noise: exploration noise at the root.
      apply_mcts_steps: actions taken from one search before the next.
      gif, video: films of the first episode.
      plot: figure of what was played above what was predicted.
      save_mcts: folder for a picture of each search tree of the first episode.
      parallel: processes among which the episodes are divided.
    """

    run: str
    episodes: int = 10
    temperatures: tuple[float, ...] = (0.0,)
    seed: int | None = None
    checkpoint: str = "latest"
    num_simulations: int | None = None
    only_prior: bool = False
    only_value: bool = False
    noise: bool = False
    apply_mcts_steps: int = 1
    gif: Path | None = None
    video: Path | None = None
    plot: Path | None = None
    save_mcts: Path | None = None
    parallel: int = 1


@runtime_checkable
class Searching(Protocol):
    """A policy that can show the search behind its last decision."""

    def search_tree(self, row: int) -> Mapping[str, Array]:
        """Returns the tree of one row of the last batch: arrays named as in `rlsys.viewer.search_tree.SearchTree`."""


def evaluate_run(options: EvaluationOptions) -> int:
    """Evaluates a run's checkpoint, prints a table, and writes eval.json and report.html into the run's folder.

    Returns:
      The exit status, 0.

    Raises:
      RlsysError: no such run or checkpoint, a damaged one, or options that the algorithm does not have.
    """
    prepare()
    use_threads(1)  # small batches gain nothing from more
    _check(options)
    folder = run_folder.find(options.run)
    experiment = run_folder.load(folder).experiment
    registry.get_algorithm(experiment.algorithm, "rlsys eval")
    opened = run_folder.checkpoints(folder).open(options.checkpoint, parts=["weights"])
    weights = Weights(**opened.read("weights"))
    seed = experiment.run.seed if options.seed is None else options.seed
    jobs = {
        _label(options, temperature): _job(_with_options(experiment, options, temperature), weights, options, seed)
        for temperature in options.temperatures
    }
    played: dict[str, EpisodeStatistics] = {}
    for label, job in jobs.items():
        played[label] = _play_divided(job, options.parallel, None if played else options)
    results = {
        "environment": experiment.env.id,
        "checkpoint": opened.learner_step,
        "seed": seed,
        "results": [result_row(label, statistics) for label, statistics in played.items()],
    }
    report.write_evaluation(folder, results)
    if options.plot is not None:
        traces = {label: statistics.traces for label, statistics in played.items()}
        plots.save(plots.plot_episodes(traces, discount=getattr(experiment.section, "discount", None)), options.plot)
    report.write_report(folder)
    return 0


@dataclass(frozen=True)
class _Job:
    """Episodes to be played by one process, and what their policy is built from."""

    make_policy: Callable[[PolicyContext], Policy]
    context: PolicyContext
    env: EnvConfig
    weights: Weights
    episodes: int
    seed: int

    def divided(self, parts: int) -> list["_Job"]:
        """Returns up to `parts` jobs with about as many episodes each, which together play the same seeds."""
        bounds = np.linspace(0, self.episodes, min(parts, self.episodes) + 1).astype(int).tolist()
        return [
            dataclasses.replace(self, episodes=end - start, seed=self.seed + start)
            for start, end in itertools.pairwise(bounds)
        ]


def _job(experiment: Experiment, weights: Weights, options: EvaluationOptions, seed: int) -> _Job:
    batch = min(options.episodes, MOST_ENVIRONMENTS)
    context = PolicyContext(experiment.section, spec(experiment.env), seed, num_environments=batch)
    make_policy = registry.get_algorithm(experiment.algorithm, "rlsys eval").make_policy
    return _Job(make_policy, context, experiment.env, weights, options.episodes, seed)


def _play_divided(job: _Job, parallel: int, watched: EvaluationOptions | None) -> EpisodeStatistics:
    """Plays the first part here, where it can be watched, and each other part in a process of its own."""
    first, *others = job.divided(parallel)
    if not others:
        return _play(first, watched)
    threads = max(1, (os.cpu_count() or 1) // (1 + len(others)))
    spawn = get_context("spawn")
    with ProcessPoolExecutor(len(others), spawn, initializer=_use_threads, initargs=(threads,)) as pool:
        playing = [pool.submit(_play, other, None) for other in others]
        statistics = _play(first, watched)
        for part in playing:
            statistics = statistics.then(part.result())
    return statistics


def _use_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _play(job: _Job, watched: EvaluationOptions | None) -> EpisodeStatistics:
    """Plays a job's episodes; films and pictures of the first are made as `watched` asks for."""
    policy = job.make_policy(job.context)
    policy.set_weights(job.weights)
    films = [path for path in (watched.gif, watched.video) if path is not None] if watched else []
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(Film(path)) for path in films]
        return play_episodes(
            policy,
            job.env,
            job.episodes,
            job.seed,
            traces=True,
            on_frame=_show(writers) if writers else None,
            on_decision=_draw_trees(policy, watched.save_mcts, job.context) if watched and watched.save_mcts else None,
        )


def _show(films: Sequence[Film]) -> OnFrame:
    def show(picture: Array) -> None:
        for film in films:
            film.append(picture)

    return show


def _draw_trees(policy: Policy, folder: Path, context: PolicyContext) -> OnDecision:
    if not isinstance(policy, Searching):
        raise ConfigError(
            f"save_mcts = {folder}, but {type(policy).__name__} does not search; only a search has trees. Leave it out."
        )

    def draw(decision: int, row: int) -> None:
        tree = SearchTree.from_arrays(policy.search_tree(row))
        draw_search_tree(tree, folder / f"{decision:06d}.png", actions=context.env.action_meanings)

    return draw


def _check(options: EvaluationOptions) -> None:
    if options.episodes < 1 or options.parallel < 1:
        raise ConfigError(
            f"episodes = {options.episodes}, parallel = {options.parallel}; both must be at least 1. Raise them."
        )
    if not options.temperatures or min(options.temperatures) < 0:
        raise ConfigError(
            f"temperatures = {list(options.temperatures)}; give at least one, each 0 or more. 0 is greedy."
        )
    endings = {
        "gif": (options.gif, [".gif"]),
        "video": (options.video, [".mp4"]),
        "plot": (options.plot, plots.ENDINGS),
    }
    for name, (path, allowed) in endings.items():
        if path is not None and path.suffix not in allowed:
            raise ConfigError(f"{name} = {path}; its name must end in {' or '.join(allowed)}. Rename it.")


def _changes(options: EvaluationOptions, temperature: float) -> dict[str, Any]:
    """Returns the fields of the algorithm's section that the options set; greedy is what evaluation is by itself."""
    changes: dict[str, Any] = {"eval_temperature": temperature} if temperature else {}
    if options.num_simulations is not None:
        changes["num_simulations"] = options.num_simulations
    if options.apply_mcts_steps != 1:
        changes["apply_mcts_steps"] = options.apply_mcts_steps
    flags = {"only_prior": options.only_prior, "only_value": options.only_value, "use_exploration_noise": options.noise}
    return changes | {name: True for name, wanted in flags.items() if wanted}


def _with_options(experiment: Experiment, options: EvaluationOptions, temperature: float) -> Experiment:
    """Returns the experiment with the options in its algorithm's section."""
    changes = _changes(options, temperature)
    known = type(experiment.section).model_fields
    for name, value in changes.items():
        if name not in known:
            raise ConfigError(
                f"{name} = {value} cannot be used here; algorithm '{experiment.algorithm}' has no such option. "
                "Leave it out."
            )
    tree = experiment.model_dump()
    tree[experiment.algorithm] |= changes
    return build(tree, "the run's configuration with the options of 'rlsys eval'")


def _label(options: EvaluationOptions, temperature: float) -> str:
    changes = {"temperature": temperature, **_changes(options, temperature)}
    changes.pop("eval_temperature", None)
    return ", ".join(name if value is True else f"{name} {value:g}" for name, value in changes.items())


def result_row(label: str, statistics: EpisodeStatistics) -> dict[str, Any]:
    """Returns one row of eval.json."""
    return {
        "label": label,
        "episodes": len(statistics.returns),
        "mean": statistics.mean,
        "median": statistics.median,
        "std": statistics.std,
        "interval": list(statistics.interval),
        "mean_length": statistics.mean_length,
        "mean_frames": float(statistics.frames.mean()),
        "reported": mean_of_extras(statistics.traces),
        "returns": statistics.returns.tolist(),
        "lengths": statistics.lengths.tolist(),
    }
