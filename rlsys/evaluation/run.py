"""Evaluation of a run's checkpoints: what `rlsys eval` does."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlsys import registry
from rlsys.api import Algorithm, Policy, PolicyContext, Saved, ValueSpec, WorldContext
from rlsys.api.spaces import action_names
from rlsys.config import EnvConfig, Experiment, RunConfig, tasks_of
from rlsys.envs.make import env_spec
from rlsys.envs.scores import normalized_score
from rlsys.errors import ConfigError
from rlsys.evaluation.episodes import MOST_ENVIRONMENTS, EpisodeStatistics
from rlsys.evaluation.job import Job, Watched, play_divided
from rlsys.evaluation.options import EvaluationOptions, check
from rlsys.evaluation.overrides import check_policy, with_overrides, words_of
from rlsys.evaluation.planning_policy import MakePlanningPolicy, Planning
from rlsys.evaluation.random_policy import RandomPolicy
from rlsys.exports.find import Trained, find, find_or_experiment
from rlsys.exports.pretrained import weights_in
from rlsys.files.outputs import check_outputs
from rlsys.metrics import report
from rlsys.metrics.afterwards import LateRow, append_rows
from rlsys.process import fastest_device, prepare, use_threads
from rlsys.runs.grid import Cell, cells
from rlsys.types import Weights
from rlsys.viewer import plots
from rlsys.viewer.film import FilmLimits
from rlsys.viewer.trace import Trace, mean_of_extras

_OPTIONS = {
    "run.seed": "--seed",
    "run.evaluation_episodes": "--episodes",
    "run.evaluation_max_steps": "--max-steps",
    "run.evaluation_temperatures": "--temperature",
    "run.evaluation_noops": "--noops",
    "run.evaluation_env": "KEY=VALUE of env",
    "run.video": "--video",
    "run.video_frames": "--video-frames",
    "run.video_seconds": "--video-seconds",
    "run.directory": "--directory",
    "runtime.rollout_workers": "--parallel",
}
"""What stands for a setting that cannot be changed here."""


def evaluate_run(options: EvaluationOptions) -> int:
    """Evaluates a run's checkpoints, prints a table, and writes it into the run's folder.

    It becomes eval.json and a part of report.html. What each row of the grid came to is also added to the run's
    metrics, unless settings were overridden, for a metric means the same in every row, or actions were random, which
    are of no checkpoint. Of an export only eval.json is kept, below runs/exports, and of an experiment in
    <experiment>/random.

    Returns:
      The exit status, 0.

    Raises:
      RlsysError: no such run or checkpoint, a damaged one, or options that the algorithm does not have.
    """
    prepare()
    use_threads(1)  # small batches gain nothing from more
    check(options)
    search = find_or_experiment if options.agent == "random" else find
    trained = search(options.run, options.directory, trust=options.trust)
    check_outputs(
        {"--gif": options.gif, "--video": options.video, "--plot": options.plot, "--latents": options.latents},
        {"--save-mcts": options.save_mcts, "--film-folder": options.film_folder},
    )
    evaluation = _Evaluation(trained, options)
    evaluation.play()
    report.write_evaluation(trained.output, evaluation.results())
    if trained.is_run and options.agent != "random" and not options.overrides:
        append_rows(trained.output, trained.loaded, evaluation.late_rows)
    if options.plot is not None:
        evaluation.plot(options.plot)
    if trained.is_run:
        report.write_report(trained.output)
    for trouble in dict.fromkeys(evaluation.troubles):
        sys.stdout.write(f"{trouble}.\n")
    for text in evaluation.shortened:
        sys.stdout.write(f"{text}. Raise --video-frames or --video-seconds to see more.\n")
    return 0


@dataclass(frozen=True)
class _Evaluated:
    """What is evaluated: weights, where the run was when it had them, and its world model, if the agent plans.

    The random agent has no weights.
    """

    weights: Weights | None
    learner_step: int
    env_steps: int
    world: Saved | None = None


class _Evaluation:
    """What is played, with which settings, and what came of it.

    Attributes:
      late_rows: what the grid of each checkpoint came to, for the run's metrics.
      troubles: a sentence for each thing that could not be shown.
      shortened: some words for each film that shows only the beginning of a game.
    """

    def __init__(self, trained: Trained, options: EvaluationOptions) -> None:
        """Settles what is played; raises RlsysError where that cannot be."""
        self._trained, self._options = trained, options
        self._algorithm = registry.get_algorithm(trained.loaded.experiment.algorithm, "rlsys eval")
        loaded, self._changes = with_overrides(trained.loaded, self._algorithm, options.overrides, _OPTIONS)
        self._experiment = loaded.experiment
        _check_changes(options, self._algorithm, self._changes)
        self._seed = self._experiment.run.seed if options.seed is None else options.seed
        self._values = self._algorithm.values(self._experiment.section)
        self._grid = _grid(self._algorithm, self._experiment, options)
        if options.agent != "random":
            cell = self._grid[0]
            context = PolicyContext(cell.section, env_spec(cell.env), self._seed)
            check_policy(self._algorithm.make_policy, context, self._changes)
        self._rows: list[dict[str, Any]] = []
        self._traces: dict[str, Sequence[Trace]] = {}
        self.late_rows: list[LateRow] = []
        self.troubles: list[str] = []
        self.shortened: list[str] = []

    def play(self) -> None:
        """Plays every row of the grid with each checkpoint."""
        for opened in _evaluated(self._trained, self._options):
            metrics: dict[str, float] = {}
            for cell in self._grid:
                metrics |= self._play(cell, opened)
            self.late_rows.append(LateRow(opened.learner_step, opened.env_steps, metrics))

    def results(self) -> dict[str, Any]:
        """Returns the content of eval.json."""
        return {
            "environment": self._experiment.env.id,
            "checkpoint": None if self._options.agent == "random" else self._rows[-1]["checkpoint"],
            "seed": self._seed,
            "overrides": self._changes,
            "results": self._rows,
        }

    def plot(self, path: Path) -> None:
        """Draws what was played."""
        values = self._values
        if self._options.agent == "planner":
            values = replace(values, discount=(self._options.planning or Planning()).discount)
        try:
            names = action_names(env_spec(self._experiment.env))
            plots.save(plots.plot_episodes(self._traces, values=values, actions=names), path)
        except Exception as error:  # noqa: BLE001 - the results are there; a picture of them is only a picture
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            self.troubles.append(f"the plot {path} is left out: {reason}")

    def _play(self, cell: Cell, opened: _Evaluated) -> dict[str, float]:
        """Plays one row; returns what it came to, by the names of metrics."""
        label = _label(self._options, self._changes, cell, opened.learner_step)
        job = _job(self._algorithm, self._experiment.run, cell, opened, self._options, self._seed, self._trained.output)
        watched = _watched(self._options) if not self._rows else None
        statistics = play_divided(job, self._options.parallel, watched)
        self._traces[label] = statistics.traces
        self.troubles += statistics.troubles
        self.shortened += [f"{label}: {text}" for text in statistics.shortened]
        metrics = cell.metrics(statistics.mean, statistics.mean_clipped)
        self._rows.append(
            {
                **result_row(label, cell.env, statistics, self._values),
                "checkpoint": opened.learner_step,
                "max_noops": cell.max_noops,
                "metrics": metrics,
            }
        )
        return metrics


def result_row(label: str, env: EnvConfig, statistics: EpisodeStatistics, values: ValueSpec) -> dict[str, Any]:
    """Returns one row of eval.json; `normalized` is there where the environment has reference scores."""
    all_tasks = bool(env.tasks) and env.task is None
    normalized = None if all_tasks else normalized_score(tasks_of(env)[env.task or 0], statistics.mean)
    return {
        "label": label,
        "episodes": len(statistics.returns),
        "mean": statistics.mean,
        "median": statistics.median,
        "std": statistics.std,
        "interval": list(statistics.interval),
        "mean_clipped": statistics.mean_clipped,
        "mean_length": statistics.mean_length,
        "mean_frames": float(statistics.frames.mean()),
        "reported": mean_of_extras(statistics.traces, values.reward_extra),
        "returns": statistics.returns.tolist(),
        "clipped": statistics.clipped.tolist(),
        "lengths": statistics.lengths.tolist(),
        **({} if normalized is None else {"normalized": normalized}),
    }


def _evaluated(trained: Trained, options: EvaluationOptions) -> Iterator[_Evaluated]:
    """Yields the weights of one checkpoint after the other."""
    if options.agent == "random":
        yield _Evaluated(None, 0, 0)
        return
    for which in trained.checkpoints.list() if options.all_checkpoints else (options.checkpoint,):
        plans = options.agent == "planner"
        opened = trained.open_with_world(str(which)) if plans else trained.open(str(which), parts=["weights"])
        world = opened.read("world") if plans else None
        yield _Evaluated(weights_in(opened), opened.learner_step, opened.env_steps, world)


def _grid(algorithm: Algorithm, experiment: Experiment, options: EvaluationOptions) -> list[Cell]:
    """Returns what is played of each checkpoint."""
    found = cells(algorithm, experiment.section, experiment.env, options.temperatures, options.noops)
    match options.agent:
        case "random":
            return [replace(cell, how="random") for cell in found]
        case "planner":
            return [replace(cell, how=f"planner_{cell.how}") for cell in found]
    return found


def _job(
    algorithm: Algorithm,
    run: RunConfig,
    cell: Cell,
    opened: _Evaluated,
    options: EvaluationOptions,
    seed: int,
    folder: Path,
) -> Job:
    batch = min(options.episodes, MOST_ENVIRONMENTS)
    context = PolicyContext(cell.section, env_spec(cell.env), seed, num_environments=batch)
    media = options.film_folder or folder / "media"
    films = {
        index: media / f"evaluation-{opened.learner_step:09d}-{cell.name}-{index}.mp4"
        for index in range(min(options.films, options.episodes))
    }
    return Job(
        _make_policy(algorithm, context, opened, options.planning or Planning()),
        context,
        cell.env,
        opened.weights,
        options.episodes,
        seed,
        options.max_steps,
        films,
        FilmLimits(options.video_frames or run.video_frames, options.video_seconds or run.video_seconds),
    )


def _make_policy(
    algorithm: Algorithm, context: PolicyContext, opened: _Evaluated, planning: Planning
) -> Callable[[PolicyContext], Policy]:
    if opened.weights is None:
        return RandomPolicy
    if opened.world is None:
        return algorithm.make_policy
    assert algorithm.make_world is not None, f"{algorithm.name} saves a world model and must be able to build it"
    world = WorldContext(context.config, context.env, opened.world, fastest_device())
    value = algorithm.values(context.config).extra
    return MakePlanningPolicy(algorithm.make_policy, algorithm.make_world, world, planning, value)


def _watched(options: EvaluationOptions) -> Watched:
    films = [path for path in (options.gif, options.video) if path is not None]
    return Watched(films, options.save_mcts, options.latents)


def _check_changes(options: EvaluationOptions, algorithm: Algorithm, changes: Mapping[str, Any]) -> None:
    """Refuses settings that mean nothing to the agent, or that an option sets, too."""
    of_algorithm = [path for path in changes if path.startswith(f"{algorithm.name}.")]
    if options.agent == "random" and of_algorithm:
        raise ConfigError(f"agent = random with {of_algorithm[0]}; random actions have no settings. Leave it out.")
    temperature = f"{algorithm.name}.{algorithm.temperature}"
    twice = [("--temperature", temperature)] if options.temperatures and temperature in changes else []
    twice += [("--noops", path) for path in ("env.noop_reset", "env.noop_max") if options.noops and path in changes]
    if twice:
        raise ConfigError(f"{twice[0][0]} with {twice[0][1]}; both say the same. Leave one of them out.")


def _label(options: EvaluationOptions, changes: Mapping[str, Any], cell: Cell, learner_step: int) -> str:
    words = [f"step {learner_step}"] if options.all_checkpoints else []
    words += [] if options.agent == "policy" else [options.agent]
    words += [] if options.agent == "random" else [f"temperature {cell.temperature:.12g}"]
    words += [f"noops {cell.max_noops:.12g}"] if options.noops else []
    words += [f"max_steps {options.max_steps}"] if options.max_steps else []
    words += [cell.task] if cell.task else []
    return ", ".join([*words, *words_of(changes)])
