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
from rlsys.algorithms.muzero.stochastic.losses import chance_losses, codes_in_use
from rlsys.algorithms.muzero.stochastic.network import ChanceUnroll, unroll_with_chance
from rlsys.algorithms.muzero.targets import Targets, make_targets, window_length, window_rows
from rlsys.api import Learner, LearnerContext, Replay, Saved
from rlsys.api.masks import split_mask, without_mask
from rlsys.nets.precision import autocast
from rlsys.nets.trainable import Trainable
from rlsys.nets.transfer import to_device
from rlsys.ops.augmentation import augmented
from rlsys.ops.losses import cross_entropy
from rlsys.types import Array, Batch


class Foretold(NamedTuple):
    """What a model says of windows.

    Attributes:
      unroll: values, rewards and policies.
      states: after each step, `[K * B, ...]`; None where they are not compared with what was seen.
      chance: what is said of what happened after each action; None without chance.
    """

    unroll: Unroll
    states: Tensor | None = None
    chance: ChanceUnroll | None = None


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
        self._weights = _loss_weights(config)
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
        num_seen = config.num_unroll_steps if self._sees_what_follows else 0
        rows = window_rows(config.num_unroll_steps, config.td_steps, 1 + num_seen)
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
        scalars, error_B = self._backward(batch, targets)
        scalars["learner/gradient_norm"] = self._model.average_and_clip()
        # One transfer brings everything from the device that the host needs to know.
        numbers = torch.cat([error_B, torch.stack([*scalars.values()])]).cpu().numpy().astype(np.float64)
        metrics = dict(zip(scalars, numbers[len(error_B) :].tolist(), strict=True))
        metrics |= {} if length_B is None else {"learner/td_steps": float(length_B.mean())}
        self._model.check_finite(metrics, self._learned_from(batch, targets), self._step)
        priority_B = (np.abs(numbers[: len(error_B)]) + config.epsilon) ** config.alpha
        replay.update_priorities(batch.key, priority_B)
        rate = schedules.learning_rate(config, self._step)
        self._model.apply(rate)
        self._step += 1
        return {
            **metrics,
            "loss/total": sum(weight * metrics[f"loss/{name}"] for name, weight in self._weights.items()),
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
        return saved | ({"generator": self._generator.get_state().numpy()} if self._draws else {})

    def load(self, saved: Saved) -> None:
        """Goes on exactly from `save`."""
        self._model.load(saved)
        self._rng.bit_generator.state = saved["rng"]
        self._step = saved["step"]
        if self._draws:
            drawn = saved["generator"] if "generator" in saved else saved["augmentation"]  # its name in older runs
            self._generator.set_state(torch.from_numpy(drawn.copy()))

    @property
    def _draws(self) -> bool:
        """Whether anything is drawn on the device."""
        return bool(self._config.augmentation or self._config.chance_codes)

    @property
    def _sees_what_follows(self) -> bool:
        """Whether something is learned of observations after the first of a window."""
        return bool(self._config.consistency_weight or self._config.chance_codes)

    def _backward(self, batch: Batch, targets: Targets) -> tuple[dict[str, Tensor], Tensor]:
        """Computes this rank's gradient.

        Returns:
          Metrics, scalars on the device: of losses the means over windows of sums over the unroll, before they are
          weighed; and `[B]` errors of the first values, in raw units.
        """
        num_steps = self._config.num_unroll_steps
        observation = self._observation(batch, slice(0, 1))
        seen = self._observation(batch, slice(1, num_steps + 1)) if self._sees_what_follows else None
        action_BK, value_BK = self._to_device(targets.action), self._to_device(targets.value)
        reward_BK, policy = self._to_device(targets.reward), self._to_device(targets.policy)
        mask_BK, weight_B1 = self._to_device(targets.mask), self._to_device(self._importance_weights(batch)[:, None])
        foretold = self._foretell(observation, seen, action_BK)
        unroll = foretold.unroll
        weight_BK = weight_B1 * mask_BK / len(weight_B1)
        losses = {
            "value": (weight_BK * self._value.loss(unroll.value, value_BK)).sum(),
            "reward": (weight_BK[:, 1:] * self._reward.loss(unroll.reward, reward_BK)).sum(),
            "policy": (weight_BK * self._policy_loss(unroll.policy, policy)).sum(),
        }
        if seen is not None:
            seen_weight_BK = weight_B1 / len(weight_B1) * self._to_device(_rows_there(batch, num_steps))
            if foretold.states is not None:
                losses["consistency"] = (seen_weight_BK * self._consistency(foretold.states, seen)).sum()
            if foretold.chance is not None:
                weights = weight_BK[:, :-1], seen_weight_BK
                losses |= chance_losses(foretold.chance, self._value, value_BK[:, :-1], *weights)
        self._model.backward(_weighed(losses, self._weights) / num_steps)
        with torch.no_grad():
            error_B = self._value.decode(unroll.value[:, 0]) - value_BK[:, 0]
        scalars = {f"loss/{name}": loss.detach() for name, loss in losses.items()}
        if foretold.chance is not None:
            scalars["learner/codes_in_use"] = codes_in_use(foretold.chance)
        return scalars, error_B

    def _observation(self, batch: Batch, rows: slice) -> Tensor:
        """Returns observations to learn from, those of each row after all windows', without masks of actions."""
        several = batch.observation[:, rows].swapaxes(0, 1)
        seen, _ = split_mask(self._context.env, several.reshape(-1, *several.shape[2:]))
        observation = self._to_device(seen)
        return augmented(observation, self._config.augmentation, self._generator)

    def _foretell(self, observation: Tensor, seen: Tensor | None, action_BK: Tensor) -> Foretold:
        """Unrolls the model from observations `[B, ...]`; those after each step are `[K * B, ...]`, ordered by step."""
        network = self._model.network
        if seen is None:
            return Foretold(self._unroll(observation, action_BK))
        chance = None
        with autocast(self._config.learning_precision, self._device):
            if network.chance is None:
                unroll, states = network.unroll_with_states(observation, action_BK)
            else:
                chance = unroll_with_chance(network, network.chance, observation, seen, action_BK, self._generator)
                unroll, states = chance.unroll, chance.states
        if chance is not None:
            chance = chance._replace(value=chance.value.float(), code_logits=chance.code_logits.float())
        unroll = Unroll(*(output.float() for output in unroll))
        return Foretold(unroll, states.float() if self._config.consistency_weight else None, chance)

    def _consistency(self, states: Tensor, seen: Tensor) -> Tensor:
        """Returns `[B, K]`, how far imagined states are from those of what was seen."""
        network = self._model.network
        assert network.consistency is not None
        with torch.no_grad(), autocast(self._config.learning_precision, self._device):
            represented = network.represent(seen)
        return network.consistency.loss(states, represented.float()).view(self._config.num_unroll_steps, -1).T

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


def _loss_weights(config: MuZeroConfig) -> dict[str, float]:
    """Returns the weight of each loss that there is, in the order in which they are added up."""
    weights = {"value": config.value_loss_weight, "reward": 1.0, "policy": 1.0}
    if config.consistency_weight:
        weights["consistency"] = config.consistency_weight
    if config.chance_codes is not None:
        weights |= {"afterstate_value": config.value_loss_weight, "chance": 1.0}
    return weights


def _weighed(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    return sum((weights[name] * loss for name, loss in losses.items()), start=losses["value"].new_zeros(()))


def _rows_there(batch: Batch, num_steps: int) -> Array:
    """Returns `[B, K]` float32: 1 where something was seen after a step, up to the end of each episode."""
    return (np.arange(1, num_steps + 1) < batch.num_rows[:, None]).astype(np.float32)
