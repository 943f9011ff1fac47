"""Evaluation while a run trains: frozen weights, the same seeds each time, the first game filmed."""

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rlsys.evaluation.episodes import EpisodeStatistics, OnFrame, play_episodes
from rlsys.evaluation.kept_games import KeptGames
from rlsys.metrics.process_stats import ProcessStats
from rlsys.runs.grid import Cell
from rlsys.runs.spec import RunSpec
from rlsys.types import Array, Weights
from rlsys.viewer.film import Film, FilmLimits
from rlsys.viewer.media import Media, is_run
from rlsys.viewer.trace import Trace
from rlsys.weights import Echo, echo

_DRAFT = ".draft-"


@dataclass(frozen=True)
class Evaluation:
    """What came out, of the weights of which learner step.

    `metrics` hold the grid and each task, `statistics` the grid's first cell, over all tasks, and `histograms` its
    returns, the actions of kept games and, with `run.debug_histograms`, whatever numbers the policy told of decisions.
    Without a film of the first game where it cannot be drawn, and without statistics of a process that is not its own.
    """

    learner_step: int
    acted_with: Echo
    statistics: EpisodeStatistics
    film: Path | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Array] = field(default_factory=dict)
    process_stats: ProcessStats | None = None


class EvaluationCut(Exception):  # noqa: N818 - asked for, and no error
    """An evaluation is given up before its end: it has no result, and leaves no film."""


def evaluate(
    spec: RunSpec,
    weights: Weights,
    on_turn: Callable[[], None] | None = None,
    is_hurried: Callable[[], bool] | None = None,
) -> Evaluation:
    """Plays `run.evaluation_episodes` whole games of each cell; the same weights always give the same result.

    The first `run.kept_episodes` games of the grid's first cell are kept, and the first is filmed: that has its name
    once the evaluation is whole: one that was begun and not ended is a draft.

    Args:
      spec: says what is played.
      weights: what is played with.
      on_turn: is called before every decision; what it raises ends the evaluation.
      is_hurried: asked before each picture; True ends the film, and the games are played on unseen.
    """
    path = spec.folder / "media" / f"evaluation-{weights.learner_step:09d}.mp4"
    kept = KeptGames(spec.run.kept_episodes, spec.env_spec.num_stack)
    film = Film(path.with_name(f"{_DRAFT}{path.name}"))
    limits = FilmLimits(spec.run.video_frames, spec.run.video_seconds, is_hurried)
    grid = spec.evaluation_grid
    on_frame = film.append if spec.run.video and is_run(spec.folder) else None
    try:
        with film:
            played = [
                _play(spec, cell, weights, on_turn, *((on_frame, limits, kept) if cell is grid[0] else ()))
                for cell in grid
            ]
    except BaseException:
        film.path.unlink(missing_ok=True)
        raise
    if film.num_frames:
        with contextlib.suppress(FileNotFoundError):  # the run's folder was moved meanwhile
            film.path.replace(path)
    metrics, troubles = dict[str, float](), list[str]()
    if spec.run.evaluation_temperatures or spec.run.evaluation_noops:
        for cell, (_, found) in zip(grid, played, strict=True):
            metrics |= cell.metrics(found.mean, found.mean_clipped)
    acted_with, statistics = played[0]
    counted = [cell for cell in grid if (cell.how, cell.max_noops) == (grid[0].how, grid[0].max_noops)]
    for cell, (_, found) in zip(counted, played, strict=False):  # the grid's first cells
        if cell.task:
            metrics[f"evaluation/{cell.task}/return"] = found.mean
        statistics = statistics if cell is grid[0] else statistics.then(found)
    games = kept.take()
    Media(spec.folder, spec.run, troubles.append).keep("test", games, weights.learner_step)
    if film.trouble:
        troubles.append(f"the film of an evaluation is left out: {film.trouble}")
    statistics = statistics.with_troubles(troubles)
    histograms = {"return_hist": statistics.returns, **_told(statistics.traces)}
    if games:
        histograms["action"] = np.concatenate([np.ravel(game.action) for game in games])
    statistics = replace(statistics, traces=())
    shown = path if film.num_frames else None
    return Evaluation(weights.learner_step, acted_with, statistics, shown, metrics, histograms)


def _told(traces: Sequence[Trace]) -> dict[str, Array]:
    """Returns what the policy told of all decisions, name -> `[N]`: extras that are one finite number or a few each."""
    found: dict[str, list[Array]] = {}
    for name, value in itertools.chain.from_iterable(trace.extras.items() for trace in traces):
        if value.ndim <= 2 and value.dtype.kind in "fiu":
            numbers = value.ravel()
            found.setdefault(name, []).append(numbers[np.isfinite(numbers)])
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    return {name: numbers for name, numbers in joined.items() if len(numbers)}


def clear_drafts(folder: Path) -> None:
    """Removes films of evaluations whose process was killed from a run's folder."""
    for path in (folder / "media").glob(f"{_DRAFT}*"):
        path.unlink(missing_ok=True)


def _play(
    spec: RunSpec,
    cell: Cell,
    weights: Weights,
    on_turn: Callable[[], None] | None,
    on_frame: OnFrame | None = None,
    limits: FilmLimits | None = None,
    kept: KeptGames | None = None,
) -> tuple[Echo, EpisodeStatistics]:
    context = replace(spec.policy_context(worker=0, incarnation=0), config=cell.section)
    policy = spec.algorithm.make_policy(context)
    policy.set_weights(weights)
    seed = spec.seeds("evaluation")[0] % 2**31
    statistics = play_episodes(
        policy,
        cell.env,
        spec.run.evaluation_episodes,
        seed,
        explore=spec.run.evaluation_explore,
        max_environments=min(spec.run.evaluation_episodes, spec.environments_per_worker),
        max_steps=spec.run.evaluation_max_steps,
        on_frame=on_frame,
        limits=limits,
        on_decision=() if kept is None else (kept,),
        on_turn=on_turn,
        traces=spec.run.debug_histograms,
    )
    return echo(weights.version, policy.weights()), statistics
