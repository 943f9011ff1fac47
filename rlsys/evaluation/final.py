"""The evaluation at the end of a complete run: the sets of games that the experiment names, with the last weights."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.config import EnvConfig, FinalEvaluation
from rlsys.evaluation.episodes import EpisodeStatistics, play_episodes
from rlsys.evaluation.evaluator import EvaluationCut
from rlsys.evaluation.rows import result_row
from rlsys.exports.pretrained import weights_in
from rlsys.metrics import report
from rlsys.metrics.rows import METRICS_FILE, read_metrics
from rlsys.metrics.tracking import Tracker
from rlsys.runs.grid import changed_env, played
from rlsys.runs.progress import Progress
from rlsys.runs.spec import RunSpec
from rlsys.types import Weights

_SEEDS_PER_REPETITION = 1_000_000


def unplayed(folder: Path, sets: Sequence[FinalEvaluation], learner_step: int) -> list[FinalEvaluation]:
    """Returns the sets that a run's metrics have no result of, with the weights of a step."""
    if not sets or not (folder / METRICS_FILE).exists():
        return list(sets)
    named = {name for row in read_metrics(folder) if row["learner_step"] == learner_step for name in row}
    return [final for final in sets if _name(final) not in named]


def evaluate_finally(
    spec: RunSpec,
    checkpoints: Checkpoints,
    progress: Progress,
    tracker: Tracker,
    on_turn: Callable[[], None] | None = None,
) -> list[str]:
    """Plays every set of `run.final_evaluation` that is still to be played, writes eval.json and prints its table.

    The spread between repetitions goes to the metrics as `final/<name>_std`. A set that is cut short has no result: it
    is named in eval.json, and played when the run is resumed.

    Args:
      spec: the run's, with the sets.
      checkpoints: of the run; the latest is played.
      progress: how far the run is.
      tracker: takes the row of results.
      on_turn: is called before every decision; raises EvaluationCut to end early.

    Returns:
      The names of the sets that are missing.
    """
    opened = checkpoints.open("latest", parts=["weights"])
    weights = weights_in(opened)
    waiting = unplayed(spec.folder, spec.run.final_evaluation, opened.learner_step)
    rows = _earlier(spec, opened.learner_step, {final.name for final in waiting})
    values = spec.algorithm.values(spec.section)
    metrics: dict[str, float] = {}
    while waiting:
        final = waiting[0]
        env = changed_env(spec.env, final.env, f"run.final_evaluation '{final.name}'")
        try:
            tasks = [
                [_play(spec, weights, final, one, repetition, on_turn) for repetition in range(final.repetitions)]
                for _, one in played(env)
            ]
        except EvaluationCut:
            break
        del waiting[0]
        parts = [functools.reduce(EpisodeStatistics.then, repeated) for repeated in zip(*tasks, strict=True)]
        means = [part.mean for part in parts]
        statistics = functools.reduce(EpisodeStatistics.then, parts)
        for (task, _), repeated in zip(played(env), tasks, strict=True):
            if task:
                metrics[f"{_name(final)}/{task}"] = functools.reduce(EpisodeStatistics.then, repeated).mean
        rows.append({**result_row(final.name, env, statistics, values), "repetition_means": means})
        metrics[_name(final)] = statistics.mean
        if len(means) > 1:
            metrics[f"{_name(final)}_std"] = float(np.std(means, ddof=1))
    missing = [final.name for final in waiting]
    if metrics:
        tracker.log(metrics, learner_step=opened.learner_step, env_steps=progress.env_steps)
        results = {
            "environment": spec.env.id,
            "checkpoint": opened.learner_step,
            "seed": spec.run.seed,
            "results": rows,
            "missing": missing,
        }
        report.write_evaluation(spec.folder, results)
    return missing


def _name(final: FinalEvaluation) -> str:
    return f"final/{final.name}"


def _earlier(spec: RunSpec, learner_step: int, waiting: set[str]) -> list[dict[str, Any]]:
    """Returns the rows of eval.json of sets that an earlier session has played with the same weights."""
    try:
        found = json.loads((spec.folder / report.EVALUATION_FILE).read_text(encoding="utf-8"))
        rows = list(found["results"]) if found["checkpoint"] == learner_step else []
        names = {final.name for final in spec.run.final_evaluation} - waiting
        return [row for row in rows if row["label"] in names]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _play(
    spec: RunSpec,
    weights: Weights,
    final: FinalEvaluation,
    env: EnvConfig,
    repetition: int,
    on_turn: Callable[[], None] | None,
) -> EpisodeStatistics:
    policy = spec.algorithm.make_policy(spec.policy_context(worker=0, incarnation=0))
    policy.set_weights(weights)
    return play_episodes(
        policy,
        env,
        final.episodes,
        spec.run.seed + repetition * _SEEDS_PER_REPETITION,
        explore=spec.run.evaluation_explore,
        max_environments=spec.environments_per_worker,
        max_steps=spec.run.evaluation_max_steps,
        on_turn=on_turn,
    )
