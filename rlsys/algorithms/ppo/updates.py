"""What PPO makes of what was done: advantages, minibatches of time steps, and updates.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347; losses as in Kaiser et al. 2020, appendix,
https://arxiv.org/abs/1903.00374: the squared error of the values is not halved, and clipped only where that is asked
for. What normalises observations stays as it was for who acted, while it is learned from what they did.

Shape legend: B environments, or unrolls of them, T rows, M time steps of a minibatch, P parameters of a distribution.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.ppo.networks import ActorCritic
from rlsys.algorithms.ppo.requirements import LOG_PROBABILITY, VALUE
from rlsys.api import LearnerContext, Saved
from rlsys.nets.distributions.make import make_distribution
from rlsys.nets.distributions.spaces import drawn_of
from rlsys.nets.optimizers import Adam
from rlsys.nets.trainable import Trainable
from rlsys.ops.unroll import row_masks
from rlsys.ops.vtrace import vtrace
from rlsys.types import Array, Batch

_BETAS, _EPSILON = (0.85, 0.997), 1e-6
_FORGOTTEN_EPOCHS = 0.1
"""Share of the rows of a simulation that are learned from as if they were real."""


@dataclass(frozen=True)
class Experience:
    """What B environments did in T rows, on the device.

    Attributes:
      observation: `[T, B, ...]`, raw.
      action: `[T, B, *drawn]`, what was drawn: int64, or float32 where actions are numbers.
      log_probability: `[T, B]` of the actions when they were drawn.
      reward: `[T, B]`.
      terminated: `[T, B]` bool.
      mask: `[T, B]` bool, False for rows in which nothing was done.
      value: `[T + 1, B]`, V of every row and of the observation after the last.
    """

    observation: Tensor
    action: Tensor
    log_probability: Tensor
    reward: Tensor
    terminated: Tensor
    mask: Tensor
    value: Tensor


@dataclass(frozen=True)
class _Rows:
    """All rows of an iteration, `[T, B, ...]`, with observations as the network computes with them, channels last."""

    observation: Tensor
    action: Tensor
    log_probability: Tensor
    value: Tensor
    advantage: Tensor
    target: Tensor
    mask: Tensor

    def at(self, time_M: Tensor) -> "_Rows":
        """Returns some time steps, flattened: `[M * B, ...]`, images as `[M * B, C, H, W]`."""
        rows = [getattr(self, field.name).index_select(0, time_M).flatten(end_dim=1) for field in fields(self)]
        return _Rows(rows[0].movedim(-1, 1), *rows[1:])


class PolicyUpdates:
    """A policy that learns, and what is drawn for minibatches.

    Attributes:
      config: PPO's settings.
      actor_critic: acts and learns.
      distribution: of its actions.
    """

    def __init__(self, config: PPOConfig, context: LearnerContext, section: str) -> None:
        """Builds the policy.

        Args:
          config: PPO's settings.
          context: of the learner.
          section: where the settings are, for messages.
        """
        self.config = config
        self._device = torch.device(context.device)
        self.actor_critic = Trainable(
            context,
            lambda: ActorCritic(config, context.env),
            lambda flat: Adam(flat, betas=_BETAS, epsilon=_EPSILON, weight_decay=config.weight_decay, decoupled=True),
            max_norm=config.clip_grad_norm,
            precision=config.precision,
            remedy=f"a lower {section}.learning_rate, or a lower {section}.clip_grad_norm",
        )
        self.distribution = make_distribution(config, context.env)
        self._average = context.average
        self._rng = np.random.default_rng(context.seed)  # of time steps: the same on all ranks, which share minibatches
        self._own_rng = np.random.default_rng([context.draw_seed, 1])
        self._seen: Tensor | None = None

    def experience(self, batch: Batch, to_device: Callable[[Array], Tensor]) -> Experience:
        """Brings unrolls of a queue to the device, and values what was not acted in."""
        observation_TB = to_device(batch.observation).transpose(0, 1)
        terminated, truncated = to_device(batch.terminated), to_device(batch.truncated)
        mask_BT, _ = row_masks(terminated, truncated)
        value_TB = torch.cat([to_device(batch.extras[VALUE]), torch.zeros_like(terminated[:, :1])], dim=1).t()
        unseen_TB = torch.cat([~mask_BT, torch.ones_like(mask_BT[:, :1])], dim=1).t()
        with torch.no_grad(), self.actor_critic.precision:  # each unroll's last observation, and time limits'
            value_TB[unseen_TB] = self.actor_critic.network(observation_TB[unseen_TB]).value
        return Experience(
            observation=observation_TB,
            action=to_device(drawn_of(batch)).transpose(0, 1),
            log_probability=to_device(batch.extras[LOG_PROBABILITY]).t(),
            reward=to_device(batch.reward).t(),
            terminated=terminated.t(),
            mask=mask_BT.t(),
            value=value_TB,
        )

    def learn(self, done: Experience, learning_rate: float, epoch: int = 0) -> dict[str, float]:
        """Does all updates of one iteration.

        Args:
          done: by this network.
          learning_rate: of the optimizer.
          epoch: of the simulation that it was done in; 0 for real environments.

        Returns:
          The mean of each metric; where one is not finite, the weights are those before the update that made it so.
        """
        rows, network = self._prepare(done), self.actor_critic.network
        if network.returns is not None:
            network.returns.update(rows.target[rows.mask], self._average)
        numbers = [self._update(rows.at(time_M), learning_rate, epoch) for time_M in self._minibatches(len(rows.mask))]
        if self.config.normalize_observations:
            network.remember(done.observation[:-1].flatten(end_dim=1), self._average)
        # One transfer brings everything from the device that the host needs to know.
        values = torch.stack([torch.stack(list(each.values())) for each in numbers]).mean(dim=0).cpu().tolist()
        return dict(zip(numbers[0], values, strict=True))

    def save(self) -> Saved:
        """Returns network, optimizer and random state."""
        return {
            **self.actor_critic.save(),
            "rng": self._rng.bit_generator.state,
            "own_rng": self._own_rng.bit_generator.state,
        }

    def load(self, saved: Saved) -> None:
        """Goes on exactly from `save`."""
        self.actor_critic.load(saved)
        self._rng.bit_generator.state = saved["rng"]
        self._own_rng.bit_generator.state = saved["own_rng"]

    def _prepare(self, done: Experience) -> _Rows:
        """Computes advantages and targets with the values that the acting policy saw."""
        config, mask_BT, value_BT = self.config, done.mask.t(), done.value.t()
        traced = vtrace(  # of the policy that acted, with λ: the generalized advantage estimate
            log_ratio_BT=torch.zeros_like(value_BT[:, :-1]),
            discount_BT=config.gae_gamma * ~done.terminated.t(),
            reward_BT=done.reward.t(),
            value_BT=value_BT,
            mask_BT=mask_BT,
            trace_decay=config.gae_lambda,
        )
        advantage_BT = (traced.target - value_BT[:, :-1]) * mask_BT
        seen = advantage_BT[mask_BT]
        advantage_BT = (advantage_BT - seen.mean()) / (seen.std(correction=0) + 1e-8)
        targets = advantage_BT.t(), traced.target.t()
        return _Rows(self._see(done), done.action, done.log_probability, done.value[:-1], *targets, done.mask)

    def _see(self, done: Experience) -> Tensor:
        """Prepares each observation once: done again in every epoch, it took a fifth of the time of learning."""
        num_rows = len(done.reward)
        with torch.no_grad(), self.actor_critic.precision:
            for t in range(num_rows):
                prepared = self.actor_critic.network.prepare(done.observation[t]).movedim(1, -1)
                if self._seen is None or self._seen.shape != (num_rows, *prepared.shape):
                    self._seen = prepared.new_empty(num_rows, *prepared.shape)
                self._seen[t] = prepared
        assert self._seen is not None
        return self._seen

    def _minibatches(self, num_rows: int) -> Iterator[Tensor]:
        """Yields the time steps of each minibatch: the first of as many shuffles as there are epochs."""
        order = [self._rng.permutation(num_rows) for _ in range(self.config.optimization_epochs)]
        time = torch.from_numpy(np.concatenate(order)).to(self._device)
        size = min(self.config.optimization_batch_size, len(time))
        yield from time[: len(time) // size * size].view(-1, size)

    def _epochs(self, epoch: int, num_rows: int) -> Tensor | None:
        if not self.config.use_epochs or epoch == 0:
            return None
        is_kept = self._own_rng.random(num_rows) >= _FORGOTTEN_EPOCHS
        return torch.from_numpy(epoch * is_kept.astype(np.int64)).to(self._device)

    def _update(self, rows: _Rows, learning_rate: float, epoch: int) -> dict[str, Tensor]:
        """Updates the weights by one minibatch, unless its gradient is not finite; returns metrics as tensors."""
        config = self.config
        with self.actor_critic.precision:
            output = self.actor_critic.network.judge(rows.observation, self._epochs(epoch, len(rows.action)))
        log_policy = self.distribution.log_probability(output.policy, rows.action)
        log_ratio = log_policy - rows.log_probability
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1.0 - config.clipping_coef, 1.0 + config.clipping_coef)
        num_rows = rows.mask.sum().clamp_min(1)

        def mean(x: Tensor) -> Tensor:
            return (x * rows.mask).sum() / num_rows

        policy = -mean(torch.minimum(ratio * rows.advantage, clipped * rows.advantage))
        value = mean(self._value_error(output.value, rows))
        entropy = mean(self.distribution.entropy(output.policy))
        total = policy + config.value_loss_coef * value - config.entropy_loss_coef * entropy
        self.actor_critic.backward(total)
        norm = self.actor_critic.average_and_clip()
        if torch.isfinite(norm):
            self.actor_critic.apply(learning_rate)
        return {
            "loss/total": total.detach(),
            "loss/policy": policy.detach(),
            "loss/value": value.detach(),
            "policy/entropy": entropy.detach(),
            "policy/value": mean(output.value).detach(),
            "policy/kl": mean(ratio - 1.0 - log_ratio).detach(),
            "policy/clipped_share": mean((ratio != clipped).float()).detach(),
            "learner/gradient_norm": norm,
        }

    def _value_error(self, value: Tensor, rows: _Rows) -> Tensor:
        """Returns the squared error of each row, in units of the returns' deviation where they are normalised."""
        returns, most = self.actor_critic.network.returns, self.config.value_clipping_coef
        unit = 1.0 if returns is None else returns.deviation
        error = (value - rows.target) / unit
        if not most:
            return error.square()
        change = (value - rows.value) / unit
        return torch.maximum(error.square(), (error - change + change.clamp(-most, most)).square())
