"""Rows of eval.json: what came of each."""

from typing import Any

from rlsys.api import ValueSpec
from rlsys.config import EnvConfig, tasks_of
from rlsys.envs.scores import normalized_score
from rlsys.evaluation.episodes import EpisodeStatistics
from rlsys.viewer.trace import mean_of_extras


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
        **({"crashed": list(statistics.crashed)} if statistics.crashed else {}),
    }
