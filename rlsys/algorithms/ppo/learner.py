"""PPO's learner: an iteration is one batch of unrolls, learned from several times in minibatches of time steps.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347. Each unroll is bootstrapped from the observation after it (the
original drops its last row instead), and a time limit's from its last one.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.ppo.requirements import LOG_PROBABILITY, VALUE
from rlsys.algorithms.ppo.updates import PolicyUpdates
from rlsys.api import Learner, LearnerContext, Replay, Saved
from rlsys.nets.transfer import to_device
from rlsys.types import Array, Batch, EnvSpec


class PPOLearner(Learner):
    """One rank's network and optimizer."""

    def __init__(self, context: LearnerContext) -> None:
        self._config: PPOConfig = context.config
        self._context = context
        self._device = torch.device(context.device)
        self._updates = PolicyUpdates(self._config, context, "ppo")
        self._step = 0

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one iteration: all updates of one batch.

        Raises:
          WorkerError: a loss or a gradient is not finite; the weights are those of the last update.
        """
        batch = replay.sample(self._context.batch_size, self._config.epoch_length + 1)
        rate = self._learning_rate()
        metrics = self._updates.learn(self._updates.experience(batch, self._to_device), rate)
        self._updates.actor_critic.check_finite(metrics, learned_from(batch, self._context.env), self._step)
        self._step += 1
        return {**metrics, "learner/learning_rate": rate}

    def weights(self) -> Mapping[str, Array]:
        """Returns all parameters."""
        return self._updates.actor_critic.weights()

    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Takes over all parameters."""
        self._updates.actor_critic.load_weights(weights)

    def histograms(self) -> Mapping[str, Array]:
        """Returns copies of all weights and of the last update's gradients."""
        return self._updates.actor_critic.histograms()

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


def learned_from(batch: Batch, env: EnvSpec) -> dict[str, Array]:
    """Returns what may not be finite of a batch, by the names that a message gives it."""
    return {
        **{f"{part.name} observation from replay".strip(): part.of(batch.observation) for part in env.parts},
        "reward from replay": batch.reward,
        **{f"{name} from replay": batch.extras[name] for name in (LOG_PROBABILITY, VALUE)},
    }
