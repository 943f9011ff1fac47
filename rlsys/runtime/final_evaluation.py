"""The evaluation at the end of a complete run: the sets of games that the experiment names, with the last weights."""

from typing import Any

import numpy as np

from rlsys.config import FinalEvaluation
from rlsys.runtime.checkpoints.checkpoint import Checkpoints
from rlsys.runtime.checkpoints.pretrained import weights_in
from rlsys.runtime.episodes import EpisodeStatistics, play_episodes
from rlsys.runtime.evaluation import result_row
from rlsys.runtime.metrics import report
from rlsys.runtime.metrics.tracking import Tracker
from rlsys.runtime.plan import Plan, changed_env
from rlsys.runtime.progress import Progress
from rlsys.types import Weights

_SEEDS_PER_REPETITION = 1_000_000


def evaluate_finally(plan: Plan, checkpoints: Checkpoints, progress: Progress, tracker: Tracker) -> None:
    """Plays every set of `run.final_evaluation`, writes eval.json and prints its table.

    The spread between repetitions goes to the metrics as `final/<name>_std`.
    """
    opened = checkpoints.open("latest", parts=["weights"])
    weights = weights_in(opened)
    rows: list[dict[str, Any]] = []
    metrics: dict[str, float] = {}
    for final in plan.run.final_evaluation:
        parts = [_play(plan, weights, final, repetition) for repetition in range(final.repetitions)]
        means = [part.mean for part in parts]
        statistics = parts[0]
        for part in parts[1:]:
            statistics = statistics.then(part)
        rows.append({**result_row(final.name, statistics), "repetition_means": means})
        metrics[f"final/{final.name}"] = statistics.mean
        if len(means) > 1:
            metrics[f"final/{final.name}_std"] = float(np.std(means, ddof=1))
    tracker.log(metrics, learner_step=opened.learner_step, env_steps=progress.env_steps)
    results = {"environment": plan.env.id, "checkpoint": opened.learner_step, "seed": plan.run.seed, "results": rows}
    report.write_evaluation(plan.folder, results)


def _play(plan: Plan, weights: Weights, final: FinalEvaluation, repetition: int) -> EpisodeStatistics:
    policy = plan.algorithm.make_policy(plan.policy_context(worker=0, incarnation=0))
    policy.set_weights(weights)
    env = changed_env(plan.env, final.env, f"run.final_evaluation '{final.name}'")
    seed = plan.run.seed + repetition * _SEEDS_PER_REPETITION
    most = plan.environments_per_worker
    explore = plan.run.evaluation_explore
    return play_episodes(policy, env, final.episodes, seed, explore=explore, max_environments=most)
