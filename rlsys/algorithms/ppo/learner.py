"""PPO's learner: an iteration is one batch of unrolls, learned from several times in minibatches of time steps.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347; sizes and losses as in Kaiser et al. 2020, appendix,
https://arxiv.org/abs/1903.00374: the squared error of the values is neither halved nor clipped. Each unroll is
bootstrapped from the observation after it (upstream drops its last row instead), and a time limit's from its last one.

Shape legend: B unrolls, T rows, M time steps of a minibatch, A actions.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.ppo.networks import ActorCritic
from rlsys.algorithms.ppo.requirements import LOG_PROBABILITY, VALUE
from rlsys.api import Learner, LearnerContext, Replay, Saved
from rlsys.errors import WorkerError
from rlsys.nets.flat import FlatParameters
from rlsys.nets.precision import autocast
from rlsys.nets.transfer import to_device
from rlsys.ops.policy_gradient import log_probability
from rlsys.ops.unroll import row_masks
from rlsys.ops.vtrace import vtrace
from rlsys.types import Array, Batch

_BETAS, _EPSILON = (0.85, 0.997), 1e-6


@dataclass(frozen=True)
class _Rows:
    """An iteration on the device, time first: `[T, B, ...]`."""

    observation: Tensor
    action: Tensor
    log_probability: Tensor
    advantage: Tensor
    target: Tensor
    mask: Tensor

    def at(self, time_M: Tensor) -> "_Rows":
        """Returns some time steps, flattened: `[M * B, ...]`."""
        return _Rows(*(getattr(self, field.name)[time_M].flatten(end_dim=1) for field in fields(self)))


class PPOLearner(Learner):
    """One rank's network and optimizer."""

    def __init__(self, context: LearnerContext) -> None:
        """Builds the network from the seed alone, so that all ranks begin with the same."""
        self._config: PPOConfig = context.config
        self._context = context
        self._device = torch.device(context.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self._network = ActorCritic(self._config, context.env).to(self._device)
        self._flat = FlatParameters(self._network)
        config = self._config
        self._optimizer = AdamW(
            [self._flat.vector], config.learning_rate, _BETAS, _EPSILON, weight_decay=config.weight_decay
        )
        self._precision = autocast(config.precision, self._device)
        self._rng = np.random.default_rng(context.seed)
        self._step = 0

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one iteration: all updates of one batch.

        Raises:
          WorkerError: a loss or a gradient is not finite; the weights are those of the last update.
        """
        config = self._config
        batch = replay.sample(self._context.batch_size, config.epoch_length + 1)
        rows = self._prepare(batch)
        rate = self._learning_rate()
        self._optimizer.param_groups[0]["lr"] = rate
        numbers = [self._update(rows.at(time_M)) for time_M in self._minibatches()]
        names = list(numbers[0])
        # One transfer brings everything from the device that the host needs to know.
        values = torch.stack([torch.stack(list(each.values())) for each in numbers]).mean(dim=0).cpu().tolist()
        metrics = dict(zip(names, values, strict=True))
        if not math.isfinite(sum(values)):
            raise WorkerError(self._diagnosis(batch, metrics))
        self._step += 1
        return {**metrics, "learner/learning_rate": rate}

    def weights(self) -> Mapping[str, Array]:
        """Returns all parameters."""
        return self._flat.to_arrays()

    def histograms(self) -> Mapping[str, Array]:
        """Returns copies of all weights and of the last update's gradients."""
        return self._flat.histograms()

    def save(self) -> Saved:
        """Returns network, optimizer, random state and step."""
        return {
            "parameters": self._flat.to_arrays(),
            "optimizer": self._flat.save_optimizer(self._optimizer),
            "rng": self._rng.bit_generator.state,
            "step": self._step,
        }

    def load(self, saved: Saved) -> None:
        """Goes on exactly from `save`."""
        self._flat.load_arrays(saved["parameters"])
        self._flat.load_optimizer(self._optimizer, saved["optimizer"])
        self._rng.bit_generator.state = saved["rng"]
        self._step = saved["step"]

    def _prepare(self, batch: Batch) -> _Rows:
        """Computes advantages and targets with the values that the acting policy saw."""
        config = self._config
        observation_TB = self._to_device(batch.observation).transpose(0, 1)
        terminated, truncated = self._to_device(batch.terminated), self._to_device(batch.truncated)
        mask_BT, _ = row_masks(terminated, truncated)
        value_BT = torch.cat([self._to_device(batch.extras[VALUE]), torch.zeros_like(terminated[:, :1])], dim=1)
        unseen_TB = torch.cat([~mask_BT, torch.ones_like(mask_BT[:, :1])], dim=1).t()
        with torch.no_grad(), self._precision:  # what was not acted in: each unroll's last observation, time limits'
            value_BT.t()[unseen_TB] = self._network(observation_TB[unseen_TB]).value
        traced = vtrace(  # of the policy that acted, with λ: the generalized advantage estimate
            log_ratio_BT=torch.zeros_like(value_BT[:, :-1]),
            discount_BT=config.gae_gamma * ~terminated,
            reward_BT=self._to_device(batch.reward),
            value_BT=value_BT,
            mask_BT=mask_BT,
            trace_decay=config.gae_lambda,
        )
        advantage_BT = (traced.target - value_BT[:, :-1]) * mask_BT
        seen = advantage_BT[mask_BT]
        advantage_BT = (advantage_BT - seen.mean()) / (seen.std(correction=0) + 1e-8)
        columns = self._to_device(batch.action), self._to_device(batch.extras[LOG_PROBABILITY])
        return _Rows(observation_TB, *(x.t() for x in (*columns, advantage_BT, traced.target, mask_BT)))

    def _minibatches(self) -> Iterator[Tensor]:
        """Yields the time steps of each minibatch: the first of as many shuffles as there are epochs."""
        config = self._config
        order = [self._rng.permutation(config.epoch_length) for _ in range(config.optimization_epochs)]
        time = torch.from_numpy(np.concatenate(order)).to(self._device)
        size = config.optimization_batch_size
        yield from time[: len(time) // size * size].view(-1, size)

    def _update(self, rows: _Rows) -> dict[str, Tensor]:
        """Updates the weights by one minibatch, unless its gradient is not finite; returns metrics as tensors."""
        config = self._config
        with self._precision:
            output = self._network(rows.observation)
        log_policy = log_probability(output.logits, rows.action)
        log_ratio = log_policy - rows.log_probability
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1.0 - config.clipping_coef, 1.0 + config.clipping_coef)
        num_rows = rows.mask.sum().clamp_min(1)

        def mean(x: Tensor) -> Tensor:
            return (x * rows.mask).sum() / num_rows

        policy = -mean(torch.minimum(ratio * rows.advantage, clipped * rows.advantage))
        value = mean((output.value - rows.target).square())
        log_all = torch.log_softmax(output.logits, dim=-1)
        entropy = mean(-(log_all.exp() * log_all).sum(dim=-1))
        total = policy + config.value_loss_coef * value - config.entropy_loss_coef * entropy
        self._flat.gradient.zero_()
        total.backward()  # type: ignore[no-untyped-call]
        self._context.average([self._flat.gradient])
        norm = self._flat.clip(config.clip_grad_norm)
        if torch.isfinite(norm):
            self._optimizer.step()
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

    def _learning_rate(self) -> float:
        over = self._config.anneal_over
        return self._config.learning_rate * (1.0 if over is None else max(0.0, 1.0 - self._step / over))

    def _to_device(self, array: Array) -> Tensor:
        with self._context.timed("copy"):
            return to_device(array, self._device)

    def _diagnosis(self, batch: Batch, metrics: Mapping[str, float]) -> str:
        """Names the first number on the way from replay to the gradient that is not finite."""
        places = {
            "observation from replay": batch.observation,
            "reward from replay": batch.reward,
            **{f"{name} from replay": batch.extras[name] for name in (LOG_PROBABILITY, VALUE)},
            **metrics,
        }
        name = next(name for name, value in places.items() if not np.isfinite(np.asarray(value)).all())
        value = f"{name} = {places[name]}" if name in metrics else f"{name} holds nan or inf"
        return (
            f"{value} at learner step {self._step}; losses and gradients must be finite. The weights are those "
            "before: go back to the last checkpoint with a lower ppo.learning_rate, or a lower ppo.clip_grad_norm."
        )
