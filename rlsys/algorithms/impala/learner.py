"""IMPALA's learner: one V-trace update per batch of unrolls, the core's gradient truncated or exact.

Espeholt et al. 2018, https://arxiv.org/abs/1802.01561. Losses are sums over all rows, RMSprop adds its epsilon after
the root, and the learning rate falls to 0 over `total_steps` rows.

Shape legend: B unrolls, T rows, D features, P parameters of a distribution of actions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.algorithms.impala.history import CarriedHistory, History
from rlsys.algorithms.impala.networks import ActorCritic, Output, make_network
from rlsys.algorithms.impala.requirements import (
    LAST_REWARD,
    REWARD_BOUND,
    behaviour_name,
    carries_sensitivities,
    state_sizes,
)
from rlsys.api import Learner, LearnerContext, Replay, Saved
from rlsys.errors import ConfigError
from rlsys.nets.distributions.make import make_distribution
from rlsys.nets.distributions.spaces import drawn_of
from rlsys.nets.optimizers import RMSprop
from rlsys.nets.recurrent import Unrolled
from rlsys.nets.rtrl_core import ExactCore
from rlsys.nets.trainable import Trainable
from rlsys.nets.transfer import to_device
from rlsys.ops.policy_gradient import baseline_loss, policy_gradient_loss
from rlsys.ops.unroll import continues, row_masks
from rlsys.ops.vtrace import VTrace, vtrace
from rlsys.types import Array, Batch


@dataclass(frozen=True)
class _Rows:
    """A batch on the device: `observation` `[B, T + 1, ...]`, the rest `[B, T, ...]`; `action` is what was drawn."""

    observation: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    behaviour: Tensor


class ImpalaLearner(Learner):
    """One rank's network, optimizer and, for RTRL, the sensitivities of its environments."""

    def __init__(self, context: LearnerContext) -> None:
        """Builds the network from the seed alone, so that all ranks begin with the same."""
        config: ImpalaConfig = context.config
        self._config = config
        self._context = context
        self._device = torch.device(context.device)
        self._model = Trainable(
            context,
            self._build,
            lambda flat: RMSprop(flat, alpha=config.alpha, epsilon=config.epsilon, momentum=config.momentum),
            max_norm=config.grad_norm_clipping,
            precision=config.precision,
            remedy="a lower impala.learning_rate, or a lower grad_norm_clipping",
        )
        self._distribution = make_distribution(config, context.env)
        self._behaviour = behaviour_name(context.env)
        core = self._model.network.core
        self._history: History | CarriedHistory | None = None
        if config.gradient == "rtrl" and isinstance(core, ExactCore):
            self._history = CarriedHistory(core) if carries_sensitivities(config) else History(core)
        self._step = 0

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one update.

        Raises:
          WorkerError: a loss or the gradient is not finite; the weights are those of the last update.
        """
        config = self._config
        batch = replay.sample(config.batch_size // self._context.num_ranks, config.unroll_length + 1)
        numbers = self._backward(batch)
        metrics = self._model.finish(self._learning_rate(), numbers)
        self._model.check_finite(metrics, self._learned_from(batch), self._step)
        if config.normalize_observations:
            rows = self._to_device(batch.observation[:, :-1])
            self._model.network.remember(rows.flatten(end_dim=1), self._context.average)
        self._step += 1
        if self._history is not None:
            metrics["replay/lost_unrolls"] = float(self._history.num_lost)
        return metrics

    def weights(self) -> Mapping[str, Array]:
        """Returns all parameters."""
        return self._model.weights()

    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Takes over all parameters, but the stem where `load_conv_net_from` names another."""
        self._model.load_weights(weights)
        self._load_stem(self._model.network)

    def histograms(self) -> Mapping[str, Array]:
        """Returns copies of all weights and of the last update's gradients."""
        return self._model.histograms()

    def save(self) -> Saved:
        """Returns network, optimizer, sensitivities and step."""
        return {
            **self._model.save(),
            "history": None if self._history is None else self._history.save(),
            "step": self._step,
        }

    def load(self, saved: Saved) -> None:
        """Goes on exactly from `save`; a run that was trained without sensitivities begins with none."""
        self._model.load(saved)
        if self._history is not None and saved["history"]:
            self._history.load(saved["history"])
        self._step = saved["step"]

    def _build(self) -> ActorCritic:
        network = make_network(self._config, self._context.env)
        if not self._context.is_resumed:
            self._load_stem(network)
        network.stem.features.requires_grad_(not self._config.freeze_conv)
        network.stem.fc.requires_grad_(not self._config.freeze_fc)
        return network

    def _load_stem(self, network: ActorCritic) -> None:
        """Begins with the stem of another run, if one is named.

        Raises:
          ConfigError: its layers have other names or shapes.
        """
        source = self._config.load_conv_net_from
        if source is None:
            return
        layers = {f"stem.{name}": value for name, value in network.stem.named_parameters()}
        if self._config.not_load_fc:
            layers = {name: value for name, value in layers.items() if not name.startswith("stem.fc.")}
        given = self._context.read_weights(source.reveal("impala.load_conv_net_from"))
        differing = [
            f"{name} is {tuple(value.shape)} here and {given[name].shape if name in given else 'missing'} there"
            for name, value in layers.items()
            if name not in given or given[name].shape != tuple(value.shape)
        ]
        if differing:
            raise ConfigError(
                f"impala.load_conv_net_from = {source} has another stem: {'; '.join(differing)}. Give a run whose stem "
                "and env have the same sizes, or set impala.not_load_fc=true where only the dense layer differs."
            )
        with torch.no_grad():
            for name, value in layers.items():
                value.copy_(torch.tensor(given[name]))

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        """Computes this rank's gradient; returns metrics as tensors."""
        config = self._config
        rows = _Rows(
            *(self._to_device(x) for x in (batch.observation, drawn_of(batch), batch.reward)),
            *(self._to_device(x) for x in (batch.terminated, batch.truncated, batch.extras[self._behaviour])),
        )
        memory = {name: self._to_device(batch.state[name]) for name in state_sizes(config)}
        if self._history is not None:
            memory = {name: value.clone().requires_grad_() for name, value in memory.items()}
        mask_BT, first_BT = row_masks(rows.terminated, rows.truncated)
        last_reward_BT = torch.cat([self._to_device(batch.state[LAST_REWARD])[:, None], rows.reward], dim=1) * ~first_BT
        output, unrolled = self._evaluate(rows.observation, last_reward_BT, first_BT, memory)

        policy_BTP = output.policy[:, :-1]
        log_policy_BT = self._distribution.log_probability(policy_BTP, rows.action)
        log_ratio_BT = log_policy_BT.detach() - self._distribution.log_probability(rows.behaviour, rows.action)
        is_clamped = config.reward_clipping == "abs_one"
        reward_BT = rows.reward.clamp(-REWARD_BOUND, REWARD_BOUND) if is_clamped else rows.reward
        traced = vtrace(
            log_ratio_BT=log_ratio_BT,
            discount_BT=config.discounting * ~rows.terminated,
            reward_BT=reward_BT,
            value_BT=output.value.detach(),
            mask_BT=mask_BT,
            rho_bar=config.rho_bar,
            c_bar=config.c_bar,
            trace_decay=config.trace_decay,
        )
        advantage_BT, value_BT, target_BT = self._in_units_of_returns(traced, output.value[:, :-1], mask_BT)
        policy = policy_gradient_loss(log_policy_BT, advantage_BT)
        value = baseline_loss(value_BT, target_BT, mask_BT)
        entropy = -(self._distribution.entropy(policy_BTP) * mask_BT).sum()
        total = policy + config.baseline_cost * value + config.entropy_cost * entropy
        # Losses are sums over the whole batch, and averaging divides by the number of ranks.
        self._model.backward(total * self._context.num_ranks)
        self._add_history(batch, memory, unrolled, continues(rows.terminated, rows.truncated))
        num_rows = mask_BT.sum()
        return {
            "loss/total": total.detach(),
            "loss/policy": policy.detach(),
            "loss/value": value.detach(),
            "loss/entropy": entropy.detach(),
            "policy/entropy": -entropy.detach() / num_rows,
            "policy/importance_ratio": (log_ratio_BT.exp() * mask_BT).sum() / num_rows,
            "policy/value": (output.value.detach()[:, :-1] * mask_BT).sum() / num_rows,
        }

    def _in_units_of_returns(self, traced: VTrace, value_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns advantages, values and targets; where returns are normalised, in units of their deviation.

        Hessel et al. 2018, section 3, https://arxiv.org/abs/1809.04474.
        """
        returns = self._model.network.returns
        if returns is None:
            return traced.advantage, value_BT, traced.target
        returns.update(traced.target[mask_BT], self._context.average)
        unit = returns.deviation
        return traced.advantage / unit, value_BT / unit, traced.target / unit

    def _evaluate(
        self, observation: Tensor, last_reward_BT: Tensor, first_BT: Tensor, memory: Mapping[str, Tensor]
    ) -> tuple[Output, Unrolled]:
        """Returns what the network says about all T + 1 rows."""
        size, length = observation.shape[:2]
        if self._config.freeze_fc:
            return self._model.network.unroll(observation, last_reward_BT, first_BT, memory)
        with self._model.precision:
            features = self._model.network.see(observation.flatten(end_dim=1))
        return self._model.network.unroll(features.view(size, length, -1), last_reward_BT, first_BT, memory)

    def _add_history(self, batch: Batch, memory: Mapping[str, Tensor], unrolled: Unrolled, continues_B: Tensor) -> None:
        if self._history is None:
            return
        initial = [cell.grad for cell in memory.values()]
        assert all(gradient is not None for gradient in initial)
        self._history.learn(
            batch,
            initial=[gradient for gradient in initial if gradient is not None],
            records=unrolled.records,
            continues_B=continues_B,
        )

    def _learned_from(self, batch: Batch) -> dict[str, Array]:
        """Returns what may not be finite of a batch, by the names that a message gives it."""
        parts = self._context.env.parts
        observations = {"": batch.observation}
        if not self._config.freeze_fc:
            observations = {part.name: part.of(batch.observation) for part in parts}
        return {
            **{f"{name} observation from replay".strip(): array for name, array in observations.items()},
            "reward from replay": batch.reward,
            f"{self._behaviour.replace('_', ' ')} from replay": batch.extras[self._behaviour],
        }

    def _learning_rate(self) -> float:
        done = self._step * self._config.batch_size * self._config.unroll_length
        return self._config.learning_rate * max(0.0, 1.0 - done / self._config.total_steps)

    def _to_device(self, array: Array) -> Tensor:
        with self._context.timed("copy"):
            return to_device(array, self._device)
