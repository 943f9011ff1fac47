"""Evaluation while a run trains: frozen weights, the same seeds each time, the first game filmed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rlsys.runtime.episodes import EpisodeStatistics, OnFrame, play_episodes
from rlsys.runtime.grid import Cell
from rlsys.runtime.metrics.vitals import Vitals
from rlsys.runtime.plan import Plan
from rlsys.runtime.workers.weights import Echo, echo
from rlsys.types import Array, Weights
from rlsys.viewer.film import Film

_MOST_FRAMES = 1_800
"""A film ends after a minute at 30 frames a second, however long the game."""


@dataclass(frozen=True)
class Evaluation:
    """What came out, of the weights of which learner step; `metrics` hold the grid, `statistics` its first cell.

    Without a film of the first game where it cannot be drawn, and without vitals in a process that is not its own.
    """

    learner_step: int
    acted_with: Echo
    statistics: EpisodeStatistics
    film: Path | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    vitals: Vitals | None = None


def evaluate(plan: Plan, weights: Weights) -> Evaluation:
    """Plays `run.evaluation_episodes` whole games of each cell; the same weights always give the same result."""
    film = Film(plan.folder / "media" / f"evaluation-{weights.learner_step:09d}.mp4")

    def show(frame: Array) -> None:
        if film.num_frames < _MOST_FRAMES:
            film.append(frame)

    grid = plan.evaluation_grid
    is_filmed = plan.run.video and plan.folder.is_dir()
    with film:
        played = [_play(plan, cell, weights, show if is_filmed and cell is grid[0] else None) for cell in grid]
    metrics: dict[str, float] = {}
    if plan.run.evaluation_temperatures or plan.run.evaluation_noops:
        for cell, (_, found) in zip(grid, played, strict=True):
            metrics |= cell.metrics(found)
    acted_with, statistics = played[0]
    if film.trouble:
        statistics = statistics.with_troubles([f"the film of an evaluation is left out: {film.trouble}"])
    return Evaluation(weights.learner_step, acted_with, statistics, film.path if film.num_frames else None, metrics)


def _play(plan: Plan, cell: Cell, weights: Weights, on_frame: OnFrame | None) -> tuple[Echo, EpisodeStatistics]:
    context = replace(plan.policy_context(worker=0, incarnation=0), config=cell.section)
    policy = plan.algorithm.make_policy(context)
    policy.set_weights(weights)
    seed = plan.seeds("evaluation")[0] % 2**31
    statistics = play_episodes(
        policy,
        cell.env,
        plan.run.evaluation_episodes,
        seed,
        explore=plan.run.evaluation_explore,
        max_environments=min(plan.run.evaluation_episodes, plan.environments_per_worker),
        on_frame=on_frame,
    )
    return echo(weights.version, policy.weights()), statistics
