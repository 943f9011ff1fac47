"""Evaluation of a run's checkpoints: what `rlsys eval` does."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rlsys import registry
from rlsys.api import Policy, PolicyContext, Saved, WorldContext
from rlsys.config import EnvConfig, Experiment, build
from rlsys.envs.make import env_spec
from rlsys.envs.scores import normalized_score
from rlsys.errors import ConfigError
from rlsys.evaluation.episodes import MOST_ENVIRONMENTS, EpisodeStatistics, bootstrap_interval, play_episodes
from rlsys.evaluation.job import Job, Searching, Watched, play_divided
from rlsys.evaluation.planning_policy import VALUE, MakePlanningPolicy, Planning
from rlsys.evaluation.random_policy import RandomPolicy
from rlsys.exports.find import Trained, find
from rlsys.exports.pretrained import weights_in
from rlsys.files.outputs import check_outputs
from rlsys.metrics import report
from rlsys.metrics.afterwards import LateRow, append_rows
from rlsys.process import fastest_device, prepare, use_threads
from rlsys.runs.grid import Cell, cells, temperature_of
from rlsys.types import Weights
from rlsys.viewer import plots
from rlsys.viewer.trace import Trace, mean_of_extras

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
      run: a folder, `<experiment>/<run-id>`, the beginning of a run id, an experiment (its latest run), or an export:
        see `rlsys.exports.find`.
      directory: of all runs.
      episodes: whole games of each row: one for each seed, so that short games are not favoured.
      temperatures: of the choice of actions, a row for each; 0 is greedy, others need an algorithm with
        `eval_temperature`. None takes the run's own.
      noops: decisions for which Atari games may begin with no-ops, a row for each; 0 is none. None takes the run's own.
      max_steps: decisions after which an episode is cut; None cuts none.
      agent: "policy", "planner" for one that looks ahead in the world model, or "random" for uniform actions.
      planning: of the planner; None takes `Planning`'s own numbers.
      seed: episode g is played with seed + g; None takes the run's own seed.
      checkpoint: "latest", "best" or a learner step.
      all_checkpoints: rows for every checkpoint that the run has kept.
      num_simulations: searches with so many instead of the run's.
      only_prior, only_value: choose by the network's policy, or by a look one step ahead, instead of by search.
      noise: exploration noise at the root.
      apply_mcts_steps: actions taken from one search before the next.
      gif, video: films of the first episode.
      films: so many episodes of each row are filmed below a header with their rewards.
      film_folder: where those films go; None is the run's media folder.
      plot: figure of what was played above what was predicted.
      save_mcts: folder for a picture of each search tree of the first episode.
      parallel: processes among which the episodes are divided.
      trust: whether an export may have modules imported, of which its environment comes.
    """

    run: str
    directory: str = "runs"
    episodes: int = 10
    temperatures: tuple[float, ...] = ()
    noops: tuple[int, ...] = ()
    max_steps: int | None = None
    agent: Literal["policy", "planner", "random"] = "policy"
    planning: Planning | None = None
    seed: int | None = None
    checkpoint: str = "latest"
    all_checkpoints: bool = False
    num_simulations: int | None = None
    only_prior: bool = False
    only_value: bool = False
    noise: bool = False
    apply_mcts_steps: int = 1
    gif: Path | None = None
    video: Path | None = None
    films: int = 0
    film_folder: Path | None = None
    plot: Path | None = None
    save_mcts: Path | None = None
    parallel: int = 1
    trust: bool = False


def evaluate_run(options: EvaluationOptions) -> int:
    """Evaluates a run's checkpoints, prints a table, and writes it into the run's folder.

    It becomes eval.json and a part of report.html; what each row of the grid came to is also added to the run's
    metrics. Of an export only eval.json is kept, below runs/exports.

    Returns:
      The exit status, 0.

    Raises:
      RlsysError: no such run or checkpoint, a damaged one, or options that the algorithm does not have.
    """
    prepare()
    use_threads(1)  # small batches gain nothing from more
    _check(options)
    trained = find(options.run, options.directory, trust=options.trust)
    check_outputs(
        {"--gif": options.gif, "--video": options.video, "--plot": options.plot},
        {"--save-mcts": options.save_mcts, "--film-folder": options.film_folder},
    )
    experiment = _with_options(trained.loaded.experiment, options)
    seed = experiment.run.seed if options.seed is None else options.seed
    grid = _grid(experiment, options)
    rows: list[dict[str, Any]] = []
    late_rows: list[LateRow] = []
    traces: dict[str, Sequence[Trace]] = {}
    troubles: list[str] = []
    for opened in _evaluated(trained, options):
        metrics: dict[str, float] = {}
        for cell in grid:
            label = _label(options, cell, opened.learner_step)
            job = _job(experiment.algorithm, cell, opened, options, seed, trained.output)
            watched = None if rows else _watched(options)
            statistics = play_divided(job, options.parallel, watched)
            traces[label] = statistics.traces
            troubles += statistics.troubles
            metrics |= cell.metrics(statistics.mean, statistics.mean_clipped)
            rows.append({**result_row(label, cell.env, statistics), **_row_of(cell, opened, statistics)})
        late_rows.append(LateRow(opened.learner_step, opened.env_steps, metrics))
    results = {
        "environment": experiment.env.id,
        "checkpoint": None if options.agent == "random" else rows[-1]["checkpoint"],
        "seed": seed,
        "results": rows,
    }
    report.write_evaluation(trained.output, results)
    if trained.is_run:
        append_rows(trained.output, trained.loaded, late_rows)
    if options.plot is not None:
        troubles += _plot(options, experiment, traces)
    if trained.is_run:
        report.write_report(trained.output)
    for trouble in dict.fromkeys(troubles):
        sys.stdout.write(f"{trouble}.\n")
    return 0


def _plot(options: EvaluationOptions, experiment: Experiment, traces: Mapping[str, Sequence[Trace]]) -> list[str]:
    """Draws what was played; returns what went wrong, if anything did."""
    assert options.plot is not None
    values = registry.get_algorithm(experiment.algorithm, "rlsys eval").values(experiment.section)
    if options.agent == "planner":
        values = replace(values, discount=(options.planning or Planning()).discount, extra=VALUE)
    try:
        figure = plots.plot_episodes(traces, values=values, actions=env_spec(experiment.env).action_meanings)
        plots.save(figure, options.plot)
    except Exception as error:  # noqa: BLE001 - the results are there; a picture of them is only a picture
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        return [f"the plot {options.plot} is left out: {reason}"]
    return []


def result_row(label: str, env: EnvConfig, statistics: EpisodeStatistics) -> dict[str, Any]:
    """Returns one row of eval.json; `normalized` is there where the environment has reference scores."""
    normalized = normalized_score(env.id, statistics.mean, env.distribution_mode)
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
        "reported": mean_of_extras(statistics.traces),
        "returns": statistics.returns.tolist(),
        "clipped": statistics.clipped.tolist(),
        "lengths": statistics.lengths.tolist(),
        **({} if normalized is None else {"normalized": normalized}),
    }


@dataclass(frozen=True)
class _Evaluated:
    """What is evaluated: weights, where the run was when it had them, and its world model, if the agent plans.

    The random agent has no weights.
    """

    weights: Weights | None
    learner_step: int
    env_steps: int
    world: Saved | None = None


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


def _grid(experiment: Experiment, options: EvaluationOptions) -> list[Cell]:
    """Returns what is played of each checkpoint."""
    found = cells(experiment.section, experiment.env, options.temperatures, options.noops)
    match options.agent:
        case "random":
            return [replace(cell, how="random") for cell in found]
        case "planner":
            return [replace(cell, how=f"planner_{cell.how}") for cell in found]
    return found


def _job(algorithm: str, cell: Cell, opened: _Evaluated, options: EvaluationOptions, seed: int, folder: Path) -> Job:
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
    )


def _make_policy(
    algorithm: str, context: PolicyContext, opened: _Evaluated, planning: Planning
) -> Callable[[PolicyContext], Policy]:
    found = registry.get_algorithm(algorithm, "rlsys eval")
    if opened.weights is None:
        return RandomPolicy
    if opened.world is None:
        return found.make_policy
    assert found.make_world is not None, f"{algorithm} saves a world model and must be able to build it"
    world = WorldContext(context.config, context.env, opened.world, context.seed, device=fastest_device())
    return MakePlanningPolicy(found.make_policy, found.make_world, world, planning)


def _watched(options: EvaluationOptions) -> Watched:
    return Watched([path for path in (options.gif, options.video) if path is not None], options.save_mcts)


def _row_of(cell: Cell, opened: _Evaluated, statistics: EpisodeStatistics) -> dict[str, Any]:
    return {
        "checkpoint": opened.learner_step,
        "max_noops": cell.max_noops,
        "metrics": cell.metrics(statistics.mean, statistics.mean_clipped),
    }


def _check(options: EvaluationOptions) -> None:
    if options.episodes < 1 or options.parallel < 1:
        raise ConfigError(
            f"episodes = {options.episodes}, parallel = {options.parallel}; both must be at least 1. Raise them."
        )
    if min(options.temperatures, default=0.0) < 0:
        raise ConfigError(f"temperatures = {list(options.temperatures)}; each must be 0 or more. 0 is greedy.")
    if options.all_checkpoints and options.checkpoint != "latest":
        raise ConfigError(f"checkpoint = {options.checkpoint} with all_checkpoints; give one of the two.")
    _check_agent(options)
    endings = {
        "gif": (options.gif, [".gif"]),
        "video": (options.video, [".mp4"]),
        "plot": (options.plot, plots.ENDINGS),
    }
    for name, (path, allowed) in endings.items():
        if path is not None and path.suffix not in allowed:
            raise ConfigError(f"{name} = {path}; its name must end in {' or '.join(allowed)}. Rename it.")


def _check_agent(options: EvaluationOptions) -> None:
    """Refuses what means nothing to the agent."""
    if options.planning is not None and options.agent != "planner":
        raise ConfigError(
            f"rollouts or horizon with agent = {options.agent}; only the planner has them. Use agent planner."
        )
    others = ["temperatures"] if options.temperatures else []
    others += ["all_checkpoints"] if options.all_checkpoints else []
    others += list(_changes(options))
    if options.agent == "random" and others:
        raise ConfigError(f"agent = random with {', '.join(others)}; random actions have no such option. Leave it out.")


def _changes(options: EvaluationOptions) -> dict[str, Any]:
    """Returns the fields of the algorithm's section that the options set, for all temperatures."""
    changes: dict[str, Any] = {}
    if options.num_simulations is not None:
        changes["num_simulations"] = options.num_simulations
    if options.apply_mcts_steps != 1:
        changes["apply_mcts_steps"] = options.apply_mcts_steps
    flags = {"only_prior": options.only_prior, "only_value": options.only_value, "use_exploration_noise": options.noise}
    return changes | {name: True for name, wanted in flags.items() if wanted}


def _with_options(experiment: Experiment, options: EvaluationOptions) -> Experiment:
    """Returns the experiment with the options in its algorithm's section."""
    registry.get_algorithm(experiment.algorithm, "rlsys eval")
    changes = _changes(options)
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


def _label(options: EvaluationOptions, cell: Cell, learner_step: int) -> str:
    words: dict[str, Any] = {"step": learner_step} if options.all_checkpoints else {}
    words |= {} if options.agent == "policy" else {options.agent: True}
    words |= {} if options.agent == "random" else {"temperature": temperature_of(cell.section)}
    words |= {"noops": cell.max_noops} if options.noops else {}
    words |= {"max_steps": options.max_steps} if options.max_steps else {}
    words |= _changes(options)
    return ", ".join(name if value is True else f"{name} {value:.12g}" for name, value in words.items())
