"""MuZero's learner: unrolls the model along sampled windows and pulls it towards the targets.

Schrittwieser et al. 2020, section 3 and appendix G, https://arxiv.org/abs/1911.08265.
Shape legend: B windows of this rank, K unroll steps.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.muzero import schedules
from rlsys.algorithms.muzero.actions import action_code
from rlsys.algorithms.muzero.architectures import make_network
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.efficientzero.reach import return_lengths
from rlsys.algorithms.muzero.fused.dispatch import make_unroll
from rlsys.algorithms.muzero.networks import Unroll
from rlsys.algorithms.muzero.optimizers import make_optimizer
from rlsys.algorithms.muzero.ranks import maximum
from rlsys.algorithms.muzero.scalars import reward_code, value_code
from rlsys.algorithms.muzero.targets import Targets, make_targets, window_length, window_rows
from rlsys.api import Learner, LearnerContext, Replay, Saved
from rlsys.api.masks import split_mask, without_mask
from rlsys.nets.precision import autocast
from rlsys.nets.trainable import Trainable
from rlsys.nets.transfer import to_device
from rlsys.ops.augmentation import augmented
from rlsys.ops.losses import cross_entropy
from rlsys.types import Array, Batch


class Losses(NamedTuple):
    """Scalars: means over windows of the weighted sums over the unroll.

    Attributes:
      value, reward, policy: of what is foretold.
      consistency: see `efficientzero/consistency.py`; 0 where states are not compared.
    """

    value: Tensor
    reward: Tensor
    policy: Tensor
    consistency: Tensor


class MuZeroLearner(Learner):
    """One rank's networks, optimizer and step count; everything else is a function of the configuration.

    Each update divides the gradient of the whole loss by K, as upstream does; the paper does so for the steps k ≥ 1
    only. New priorities leave before the weights change.
    """

    def __init__(self, context: LearnerContext) -> None:
        """Builds networks from the seed alone, so that all ranks begin with the same."""
        config: MuZeroConfig = context.config
        self._config = config
        self._context = context
        self._device = torch.device(context.device)
        self._model = Trainable(
            context,
            lambda: make_network(config, without_mask(context.env)).train(),
            lambda flat: make_optimizer(config, flat),
            max_norm=config.clip_grad,
            remedy="a lower muzero.lr_init, or set muzero.clip_grad",
        )
        self._unroll = make_unroll(self._model.network, self._device, config.learning_precision)
        self._value, self._reward = value_code(config), reward_code(config)
        self._code = action_code(config, context.env)
        self._batch_size = config.batch_size // context.num_ranks
        self._rng = np.random.default_rng(context.draw_seed)
        self._generator = torch.Generator(self._device).manual_seed(context.draw_seed)
        self._step = 0

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one update.

        Raises:
          WorkerError: a loss or a gradient is not finite; the weights are those of the last update.
        """
        config = self._config
        length = window_length(config.num_unroll_steps, config.td_steps)
        num_seen = 1 + config.num_unroll_steps if config.consistency_weight else 1
        rows = window_rows(config.num_unroll_steps, config.td_steps, num_seen)
        batch = replay.sample(self._batch_size, length, rows)
        length_B = return_lengths(config, batch.age, self._step)
        targets = make_targets(
            batch,
            self._code,
            num_unroll_steps=config.num_unroll_steps,
            td_steps=config.td_steps,
            discount=config.signed_discount,
            value_prefix=config.value_prefix,
            return_length_B=length_B,
            rng=self._rng,
        )
        losses, error_B = self._backward(batch, targets)
        norm_of_gradient = self._model.average_and_clip()
        # One transfer brings everything from the device that the host needs to know.
        numbers = torch.cat([error_B, torch.stack([*losses, norm_of_gradient])]).cpu().numpy().astype(np.float64)
        value, reward, policy, consistency, norm = numbers[len(error_B) :].tolist()
        metrics = {"loss/value": value, "loss/reward": reward, "loss/policy": policy, "learner/gradient_norm": norm}
        metrics |= {"loss/consistency": consistency} if config.consistency_weight else {}
        metrics |= {} if length_B is None else {"learner/td_steps": float(length_B.mean())}
        self._model.check_finite(metrics, self._learned_from(batch, targets), self._step)
        priority_B = (np.abs(numbers[: len(error_B)]) + config.epsilon) ** config.alpha
        replay.update_priorities(batch.key, priority_B)
        rate = schedules.learning_rate(config, self._step)
        self._model.apply(rate)
        self._step += 1
        return {
            **metrics,
            "loss/total": config.value_loss_weight * value + reward + policy + config.consistency_weight * consistency,
            "learner/learning_rate": rate,
            "replay/priority_mean": float(priority_B.mean()),
        }

    def weights(self) -> Mapping[str, Array]:
        """Returns parameters, and the running statistics of normalisation layers."""
        return self._model.weights()

    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Takes over parameters and running statistics."""
        self._model.load_weights(weights)

    def histograms(self) -> Mapping[str, Array]:
        """Returns copies of all weights and of the last update's gradients."""
        return self._model.histograms()

    def save(self) -> Saved:
        """Returns networks, optimizer, random state and step."""
        saved = {**self._model.save(), "rng": self._rng.bit_generator.state, "step": self._step}
        return saved | ({"augmentation": self._generator.get_state().numpy()} if self._config.augmentation else {})

    def load(self, saved: Saved) -> None:
        """Goes on exactly from `save`."""
        self._model.load(saved)
        self._rng.bit_generator.state = saved["rng"]
        self._step = saved["step"]
        if self._config.augmentation:
            self._generator.set_state(torch.from_numpy(saved["augmentation"].copy()))

    def _backward(self, batch: Batch, targets: Targets) -> tuple[Losses, Tensor]:
        """Computes this rank's gradient; returns losses and `[B]` errors of the first values, in raw units."""
        config = self._config
        observation = self._observation(batch, slice(0, 1))
        action_BK, value_BK = self._to_device(targets.action), self._to_device(targets.value)
        reward_BK, policy = self._to_device(targets.reward), self._to_device(targets.policy)
        mask_BK, weight_B1 = self._to_device(targets.mask), self._to_device(self._importance_weights(batch)[:, None])
        unroll, states = self._foretell(observation, action_BK)
        weight_BK = weight_B1 * mask_BK / len(weight_B1)
        losses = Losses(
            value=(weight_BK * self._value.loss(unroll.value, value_BK)).sum(),
            reward=(weight_BK[:, 1:] * self._reward.loss(unroll.reward, reward_BK)).sum(),
            policy=(weight_BK * self._policy_loss(unroll.policy, policy)).sum(),
            consistency=self._consistency(batch, states, weight_B1 / len(weight_B1)),
        )
        total = config.value_loss_weight * losses.value + losses.reward + losses.policy
        if config.consistency_weight:
            total = total + config.consistency_weight * losses.consistency
        self._model.backward(total / config.num_unroll_steps)
        with torch.no_grad():
            error_B = self._value.decode(unroll.value[:, 0]) - value_BK[:, 0]
        return Losses(*(loss.detach() for loss in losses)), error_B

    def _observation(self, batch: Batch, rows: slice) -> Tensor:
        """Returns observations to learn from, those of each row after all windows', without masks of actions."""
        several = batch.observation[:, rows].swapaxes(0, 1)
        seen, _ = split_mask(self._context.env, several.reshape(-1, *several.shape[2:]))
        observation = self._to_device(seen)
        return augmented(observation, self._config.augmentation, self._generator)

    def _foretell(self, observation: Tensor, action_BK: Tensor) -> tuple[Unroll, Tensor | None]:
        """Unrolls the model; returns its states after each step only where they are compared with what was seen."""
        network = self._model.network
        if network.consistency is None:
            return self._unroll(observation, action_BK), None
        with autocast(self._config.learning_precision, self._device):
            unroll, states = network.unroll_with_states(observation, action_BK)
        return Unroll(*(output.float() for output in unroll)), states.float()

    def _consistency(self, batch: Batch, states: Tensor | None, weight_B1: Tensor) -> Tensor:
        """Returns how far imagined states are from those that were seen, up to the end of each episode."""
        compare = self._model.network.consistency
        if compare is None or states is None:
            return weight_B1.new_zeros(())
        num_steps = self._config.num_unroll_steps
        with torch.no_grad(), autocast(self._config.learning_precision, self._device):
            seen = self._model.network.represent(self._observation(batch, slice(1, num_steps + 1)))
        loss_KB = compare.loss(states, seen.float()).view(num_steps, -1)
        is_there_KB = self._to_device(np.arange(1, num_steps + 1)[:, None] < batch.num_rows)
        return (weight_B1[:, 0] * is_there_KB * loss_KB).sum()

    def _policy_loss(self, logits_BKP: Tensor, target: Tensor) -> Tensor:
        """Returns `[B, K + 1]`: -Σ_a visits(a) ln π(a).

        Of numbers π is a product of distributions, and this the sum of their cross-entropies with each number's visits.
        """
        loss = cross_entropy(logits_BKP.reshape(target.shape), target)
        return loss.sum(dim=2) if self._code.is_numbers else loss

    def _importance_weights(self, batch: Batch) -> Array:
        """Returns `[B]` float32 weights, (num_items · probability)^-beta over the largest of all ranks' batches."""
        weight_B = (batch.num_items * batch.probability) ** -schedules.beta(self._config, self._step)
        largest = float(weight_B.max())
        if self._context.num_ranks > 1:
            largest = maximum(largest, self._context.average)
        return np.asarray(weight_B / largest, np.float32)

    def _to_device(self, array: Array) -> Tensor:
        with self._context.timed("copy"):
            return to_device(array, self._device)

    def _learned_from(self, batch: Batch, targets: Targets) -> dict[str, Array]:
        seen, _ = split_mask(self._context.env, batch.observation[:, 0])
        return {
            "observation from replay": seen,
            "value target": targets.value,
            "reward target": targets.reward,
            "policy target": targets.policy,
            "probability from replay": batch.probability,
        }
