"""From RLlib's results to our numbers."""

import math
import time
from collections.abc import Mapping
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    LEARNER_RESULTS,
    MODULE_TRAIN_BATCH_SIZE_MEAN,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_MODULE_STEPS_TRAINED,
)

from rlsys.baseline import BaselineReport

_GAMES = "rlsys_games"
_MOST_GAMES = 100_000
"""Games of one runner that RLlib keeps between two results; more are not expected within a second."""


class GamesCallback(RLlibCallback):
    """Sends (return, length) of whole games along with a runner's metrics; RLlib itself counts lives as episodes."""

    def on_sample_end(
        self,
        *,
        env_runner: Any = None,
        metrics_logger: Any = None,
        samples: Any,
        worker: Any = None,
        **kwargs: Any,
    ) -> None:
        """Logs the games that ended in a runner's environments."""
        for game in env_runner.env.unwrapped.take_games():
            score = (float(game.episode_return), int(game.length_env_steps))
            metrics_logger.log_value(_GAMES, score, reduce="item_series", window=_MOST_GAMES)


_FROM_LEARNER = {
    "total_loss": "loss/total",
    "mean_pi_loss": "loss/policy",
    "policy_loss": "loss/policy",
    "mean_vf_loss": "loss/value",
    "vf_loss": "loss/value",
    "entropy": "policy/entropy",
    "mean_kl_loss": "policy/kl",
    "gradients_default_optimizer_global_norm": "learner/gradient_norm",
    "default_optimizer_learning_rate": "learner/learning_rate",
    "diff_num_grad_updates_vs_sampler_policy": "workers/version_lag",
}
"""RLlib's name -> ours. Of two with the same name here, the first that there is counts: a mean rather than a sum."""


class Counters:
    """Turns RLlib's results, of which some count since the last one and some since the start, into reports."""

    def __init__(self, num_learners: int) -> None:
        self._num_learners = max(1, num_learners)
        self._env_steps = 0
        self._reported = time.monotonic()

    def report(self, result: Mapping[str, Any]) -> BaselineReport:
        """Returns what is new in a result of `Algorithm.train()`."""
        runners = result.get(ENV_RUNNER_RESULTS, {})
        learners = result.get(LEARNER_RESULTS, {})
        module = learners.get(DEFAULT_MODULE_ID, {})
        before = self._env_steps
        self._env_steps = max(before, int(runners.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)))
        trained = _number(module.get(NUM_MODULE_STEPS_TRAINED))
        rows = _number(module.get(MODULE_TRAIN_BATCH_SIZE_MEAN))
        games = runners.get(_GAMES, [])
        if isinstance(games, tuple):  # RLlib gives a series of one item as that item
            games = [games]
        now = time.monotonic()
        metrics = {"throughput/trained_rows_per_s": trained / max(1e-9, now - self._reported)}
        self._reported = now
        for theirs, ours in _FROM_LEARNER.items():
            value = module.get(theirs)
            if value is not None and ours not in metrics and math.isfinite(value):
                metrics[ours] = float(value)
        return BaselineReport(
            env_steps=self._env_steps - before,
            learner_steps=round(trained / rows / self._num_learners) if rows else 0,
            returns=[episode_return for episode_return, _ in games],
            lengths=[length for _, length in games],
            metrics=metrics,
        )


def _number(value: Any) -> float:
    return float(value) if value is not None and math.isfinite(value) else 0.0
