"""PPO's learner: an iteration is one batch of unrolls, learned from several times in minibatches of time steps.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347. Each unroll is bootstrapped from the observation after it (the
original drops its last row instead), and a time limit's from its last one.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.ppo.requirements import LOG_PROBABILITY, VALUE
from rlsys.algorithms.ppo.updates import PolicyUpdates
from rlsys.api import Learner, LearnerContext, Replay, Saved
from rlsys.errors import WorkerError
from rlsys.nets.transfer import to_device
from rlsys.types import Array, Batch


class PPOLearner(Learner):
    """One rank's network and optimizer."""

    def __init__(self, context: LearnerContext) -> None:
        self._config: PPOConfig = context.config
        self._context = context
        self._device = torch.device(context.device)
        self._updates = PolicyUpdates(self._config, context)
        self._step = 0

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one iteration: all updates of one batch.

        Raises:
          WorkerError: a loss or a gradient is not finite; the weights are those of the last update.
        """
        batch = replay.sample(self._context.batch_size, self._config.epoch_length + 1)
        rate = self._learning_rate()
        metrics = self._updates.learn(self._updates.experience(batch, self._to_device), rate)
        if not math.isfinite(sum(metrics.values())):
            raise WorkerError(diagnosis(batch, metrics, self._step, "ppo"))
        self._step += 1
        return {**metrics, "learner/learning_rate": rate}

    def weights(self) -> Mapping[str, Array]:
        """Returns all parameters."""
        return self._updates.to_arrays()

    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Takes over all parameters."""
        self._updates.load_weights(weights)

    def histograms(self) -> Mapping[str, Array]:
        """Returns copies of all weights and of the last update's gradients."""
        return self._updates.histograms()

    def save(self) -> Saved:
        """Returns network, optimizer, random state and step."""
        return {**self._updates.save(), "step": self._step}

    def load(self, saved: Saved) -> None:
        """Goes on exactly from `save`."""
        self._updates.load(saved)
        self._step = saved["step"]

    def _learning_rate(self) -> float:
        over = self._config.anneal_over
        return self._config.learning_rate * (1.0 if over is None else max(0.0, 1.0 - self._step / over))

    def _to_device(self, array: Array) -> Tensor:
        with self._context.timed("copy"):
            return to_device(array, self._device)


def diagnosis(batch: Batch, metrics: Mapping[str, float], step: int, section: str) -> str:
    """Names the first number on the way from replay to the gradient that is not finite.

    Args:
      batch: what was learned from.
      metrics: what came of it.
      step: of the learner.
      section: where the settings are that can help.
    """
    places = {
        "observation from replay": batch.observation,
        "reward from replay": batch.reward,
        **{f"{name} from replay": batch.extras[name] for name in (LOG_PROBABILITY, VALUE)},
        **metrics,
    }
    name = next(name for name, value in places.items() if not np.isfinite(np.asarray(value)).all())
    value = f"{name} = {places[name]}" if name in metrics else f"{name} holds nan or inf"
    return (
        f"{value} at learner step {step}; losses and gradients must be finite. The weights are those before: go back "
        f"to the last checkpoint with a lower {section}.learning_rate, or a lower {section}.clip_grad_norm."
    )
