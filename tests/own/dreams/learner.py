"""Who learns: each update trains the model on windows of replay, and then the policy in dreams that begin at their end.

Shape legend: B windows, L rows, U units, H steps of a dream, P parameters of a distribution of actions.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dreams.config import DreamerConfig
from dreams.networks import ActorCritic, Output, WorldNetwork
from dreams.world import DreamWorld
from rlsys.api import Learner, LearnerContext, Replay, Saved, WorldState
from rlsys.nets.distributions.make import make_distribution
from rlsys.nets.optimizers import Adam
from rlsys.nets.trainable import Trainable
from rlsys.nets.transfer import to_device
from rlsys.types import Array, Batch


class DreamerLearner(Learner):
    """One rank's model and policy, each with an optimizer of its own."""

    def __init__(self, context: LearnerContext) -> None:
        self._config: DreamerConfig = context.config
        self._context, self._device = context, torch.device(context.device)
        config, env = self._config, context.env
        self._world = Trainable(context, lambda: WorldNetwork(config, env), Adam, name="world", **self._bounded())
        self._actor = Trainable(context, lambda: ActorCritic(config, env), Adam, name="actor", **self._bounded())
        self._distribution = make_distribution(config, env)
        self._dreams = DreamWorld(self._world.network, config.context)
        self._rng = np.random.default_rng(context.draw_seed)
        self._step = 0

    def step(self, replay: Replay) -> Mapping[str, float]:
        """Does one update of both.

        Raises:
          WorkerError: a loss or a gradient is not finite.
        """
        config = self._config
        batch = replay.sample(config.batch_size // self._context.num_ranks, config.length)
        loss, ends = self._unroll(batch)
        metrics = self._world.step(loss, config.learning_rate, {"world/loss": loss})
        given = {"observation from replay": batch.observation, "reward from replay": batch.reward}
        self._world.check_finite(metrics, given, self._step)
        losses = self._dream(ends)
        learned = self._actor.step(sum(losses.values(), torch.zeros(())), config.learning_rate, losses)
        self._actor.check_finite(learned, {}, self._step)
        self._step += 1
        return {**metrics, **learned}

    def weights(self) -> Mapping[str, Array]:
        """Returns the parameters of both, as `Agent` calls them."""
        parts = {"world": self._world, "actor_critic": self._actor}
        return {f"{part}.{name}": array for part, one in parts.items() for name, array in one.weights().items()}

    def load_weights(self, weights: Mapping[str, Array], world: Saved | None) -> None:
        """Takes over the parameters of both."""
        for prefix, part in (("world.", self._world), ("actor_critic.", self._actor)):
            own = {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
            part.load_weights(own)

    def save(self) -> Saved:
        """Returns networks, optimizers, random state and step; play and planner need of it what is under "world"."""
        world = self._world.save()
        return {
            "world": {"parameters": world["parameters"]},
            "world_optimizer": world["optimizer"],
            "actor": self._actor.save(),
            "rng": self._rng.bit_generator.state,
            "step": self._step,
        }

    def load(self, saved: Saved) -> None:
        """Goes on exactly from `save`."""
        self._world.load({**saved["world"], "optimizer": saved["world_optimizer"]})
        self._actor.load(saved["actor"])
        self._rng.bit_generator.state = saved["rng"]
        self._step = saved["step"]

    def _bounded(self) -> dict[str, object]:
        return {"max_norm": self._config.clip_grad_norm, "remedy": "a lower dreamer.learning_rate"}

    def _unroll(self, batch: Batch) -> tuple[Tensor, WorldState]:
        """Returns the model's loss, and where each window ends: at its last observation."""
        observation, action, reward = (
            to_device(array, self._device) for array in (batch.observation, batch.action, batch.reward)
        )
        size, length = reward.shape
        memories, errors = [torch.zeros(size, self._config.units, device=self._device)], []
        for row in range(length - 1):
            memories.append(self._world.network(memories[-1], observation[:, row], action[:, row]))
            foretold, foretold_reward = self._world.network.foretell(memories[-1], observation[:, row])
            error = (foretold - observation[:, row + 1]).flatten(start_dim=1).square().mean(dim=1)
            errors.append(error + functional.smooth_l1_loss(foretold_reward, reward[:, row], reduction="none"))
        last = to_device(np.minimum(batch.num_rows, length - 1), self._device)
        is_real = torch.arange(length - 1, device=self._device) < last[:, None]
        loss = (torch.stack(errors, dim=1) * is_real).sum() / is_real.sum()
        windows = torch.arange(size, device=self._device)
        ends = {
            "memory": torch.stack(memories, dim=1).detach()[windows, last],
            "observation": observation[windows, last],
        }
        return loss, ends

    def _dream(self, state: WorldState) -> dict[str, Tensor]:
        """Acts in the model from a state on; returns the losses of what was done there."""
        outputs, drawn, rewards = [self._judge(state)], [], []
        for _ in range(self._config.horizon):
            chosen = self._distribution.draw(outputs[-1].policy.detach().cpu().numpy(), self._rng, 1.0)
            drawn.append(to_device(chosen, self._device))
            state, step = self._dreams.step(state, to_device(self._distribution.action(chosen), self._device))
            rewards.append(step.reward)
            outputs.append(self._judge(state))
        value_HB = torch.stack([output.value for output in outputs])
        policy_HBP = torch.stack([output.policy for output in outputs[:-1]])
        target_HB = self._returns(rewards, value_HB[-1].detach())
        advantage_HB = target_HB - value_HB[:-1].detach()
        advantage_HB = (advantage_HB - advantage_HB.mean()) / (advantage_HB.std() + 1e-6)
        log_HB = self._distribution.log_probability(policy_HBP, torch.stack(drawn))
        return {
            "actor/loss_policy": -(log_HB * advantage_HB).mean(),
            "actor/loss_value": functional.smooth_l1_loss(value_HB[:-1], target_HB),
            "actor/loss_entropy": -self._config.entropy_weight * self._distribution.entropy(policy_HBP).mean(),
        }

    def _judge(self, state: WorldState) -> Output:
        output: Output = self._actor.network(state["observation"], state["memory"])
        return output

    def _returns(self, rewards: list[Tensor], value_B: Tensor) -> Tensor:
        """Returns `[H, B]`: discounted rewards to the end of the dream, and what is expected there."""
        returns = [value_B]
        for reward in reversed(rewards):
            returns.append(reward + self._config.discount * returns[-1])
        return torch.stack(returns[:0:-1])
