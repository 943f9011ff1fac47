"""What learns, each with a loss of its own: tokenizer, world model and actor-critic.

Micheli et al. 2023, algorithm 1, https://arxiv.org/abs/2209.00588.

Shape legend: B windows, L rows of one, F of them with a frame, C channels, H and W of a frame.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rlsys.algorithms.iris.actor_critic import ActorCritic
from rlsys.algorithms.iris.config import IrisConfig, Training
from rlsys.algorithms.iris.imagination import Dream, imagine, judge
from rlsys.algorithms.iris.losses import actor_critic_losses
from rlsys.algorithms.iris.requirements import frame_shape
from rlsys.algorithms.iris.tokenizer.losses import Losses, TokenizerModel
from rlsys.algorithms.iris.tokenizer.quantizer import Ranks
from rlsys.algorithms.iris.tokenizer.tokenizer import Before, Tokenizer
from rlsys.algorithms.iris.world_models.interface import Sizes, WorldModel, masked_mean
from rlsys.algorithms.iris.world_models.make import make_world_model
from rlsys.api import LearnerContext
from rlsys.nets.flat import FlatParameters
from rlsys.nets.optimizers import Adam
from rlsys.nets.trainable import Trainable
from rlsys.ops.captured import Inputs, captured
from rlsys.types import Array, EnvSpec, Sequences

_LOSS_OF_NEW = 10.0
"""Of a window that was never learned from, by which it is drawn (Cohen et al. 2025, https://arxiv.org/abs/2502.11537)."""

Network = TypeVar("Network", bound=nn.Module)


class Windows(NamedTuple):
    """Rows of episodes, on the device.

    Attributes:
      frame: `[B, F, C, H, W]` bytes, of the first F rows: all but of the tokenizer's.
      action: `[B, L]`, done there.
      reward: `[B, L]`, what came of it.
      terminated: `[B, L]` bool, whether the episode was over then.
      mask: `[B, L]` bool, false where there is no row.
    """

    frame: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    mask: Tensor


class Component(abc.ABC, Generic[Network]):
    """A network and how it learns.

    Attributes:
      model: the network, in training mode only within `step`.
    """

    model: Trainable[Network]

    def __init__(self, training: Training, name: str) -> None:
        self._training, self._name = training, name

    def step(self, batches: Sequence[Windows]) -> dict[str, float]:
        """Does one update by the mean gradient of some batches, unless a number is not finite."""
        self.model.network.train()
        found: dict[str, list[Tensor]] = {}
        for number, windows in enumerate(batches):
            parts = self._losses(windows)
            self.model.backward(parts["loss"] / len(batches), adds=number > 0)
            for name, loss in parts.items():
                found.setdefault(f"{self._name}/{name}", []).append(loss.detach())
        self.model.network.eval()
        means = {name: torch.stack(losses).mean() for name, losses in found.items()}
        return self.model.finish(self._training.learning_rate, means)

    def check_finite(self, metrics: Mapping[str, float], drawn: Sequence[Sequences], learner_step: int) -> None:
        """See `Trainable.check_finite`."""
        rewards = np.concatenate([sequences.reward for sequences in drawn])
        self.model.check_finite(metrics, {"reward from replay": rewards}, learner_step)

    @abc.abstractmethod
    def _losses(self, windows: Windows) -> dict[str, Tensor]:
        """Returns scalars of a batch, "loss" among them."""

    def _trainable(
        self,
        context: LearnerContext,
        build: Callable[[], Network],
        precision: Literal["fp32", "bf16"],
        optimizer: Callable[[FlatParameters], Adam] = Adam,
    ) -> Trainable[Network]:
        section = {"world": "world_model"}.get(self._name, self._name)
        return Trainable(
            context,
            lambda: build().eval(),
            optimizer,
            name=self._name,
            remedy=f"a lower iris.{section}_training.learning_rate",
            max_norm=self._training.gradient_clipping,
            precision=precision,
        )


class TokenizerComponent(Component[TokenizerModel]):
    """The tokenizer learns from the first frame of each window; a critic, from the rewards of all its rows.

    Deltas are learned from the second frames, of windows of two.
    """

    def __init__(self, config: IrisConfig, context: LearnerContext) -> None:
        super().__init__(config.tokenizer_training, "tokenizer")
        begun = {"initial": None} if context.is_resumed else {}
        section = config.tokenizer.model_copy(update=begun)
        self.model = self._trainable(
            context,
            lambda: TokenizerModel(section, frame_shape(context.env), context.env.num_actions),
            config.precision,
        )
        self._deltas = section.deltas
        self._gamma, self._has_critic = config.returns_gamma, bool(section.critic_weight)
        self._ranks = Ranks(context.rank, context.num_ranks, context.average)
        self._newest: Losses | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """What others need of it."""
        return self.model.network.tokenizer

    def step(self, batches: Sequence[Windows]) -> dict[str, float]:
        """Does one update, after which the codebook takes notice of the last batch."""
        metrics = super().step(batches)
        if f"{self._name}/learning_rate" in metrics:
            assert self._newest is not None, "it has just learned"
            noticed = self.model.network.observe(self._newest, self._ranks)
            metrics |= {f"{self._name}/{name}": float(value) for name, value in noticed.items()}
        self._newest = None
        return metrics

    def losses(self, windows: Windows) -> Losses:
        """Returns the losses of the frame of each window that is learned from."""
        returns, first = self._returns(windows) if self._has_critic else None, windows.frame[:, 0]
        learned = (
            (windows.frame[:, 1], returns, Before(first, windows.action[:, 0])) if self._deltas else (first, returns)
        )
        with self.model.precision:
            losses: Losses = self.model.forward(*learned)
        return losses

    def _losses(self, windows: Windows) -> dict[str, Tensor]:
        self._newest = self.losses(windows)
        return {"loss": self._newest.total, **self._newest.parts}

    def _returns(self, windows: Windows) -> Tensor:
        """Returns `[B]`, the discounted rewards from the first row on."""
        steps = torch.arange(windows.reward.shape[1], device=windows.reward.device)
        return (windows.reward * self._gamma**steps).sum(dim=1)


class WorldModelComponent(Component[WorldModel[Any]]):
    """The world model learns which tokens, rewards and ends follow."""

    def __init__(self, config: IrisConfig, context: LearnerContext, tokenizer: TokenizerComponent) -> None:
        super().__init__(config.world_model_training, "world")
        section = config.world_model.model_copy(update={"pretrained": None} if context.is_resumed else {})
        decay = config.world_model_training.weight_decay if section.kind == "transformer" else 0.0
        sizes = sizes_of(config, context.env)
        self.model = self._trainable(
            context,
            lambda: make_world_model(section, sizes),
            section.precision,
            lambda flat: Adam(flat, weight_decay=decay, decoupled=True, dense_only=True),
        )
        self._tokenizer = tokenizer
        self._by_window: list[Tensor] = []

    def step(self, batches: Sequence[Windows]) -> dict[str, float]:
        """Does one update; see `priorities`."""
        self._by_window = []
        return super().step(batches)

    def priorities(self) -> Array:
        """Returns, of each window of the last update, the loss before it, in tens: where it is new it was 1."""
        loss_B = torch.cat(self._by_window) / _LOSS_OF_NEW
        return loss_B.clamp(0.0, 1.0).cpu().numpy().astype(np.float64)

    def losses(self, windows: Windows) -> dict[str, Tensor]:
        """Returns cross entropies, and "loss", their sum."""
        return _named(self.model.network.losses(*self._tokens(windows)))

    def accuracies(self, windows: Windows) -> dict[str, Tensor]:
        """Returns which shares of tokens, rewards and ends are foretold rightly."""
        return self.model.network.metrics(*self._tokens(windows))

    def _losses(self, windows: Windows) -> dict[str, Tensor]:
        every = self.model.network.window_losses(*self._tokens(windows))
        means = [masked_mean(losses.detach(), mask, dim=1) for losses, mask in every.values()]
        self._by_window.append(torch.stack(means).sum(dim=0))
        return _named({name: masked_mean(losses, mask) for name, (losses, mask) in every.items()})

    def _tokens(self, windows: Windows) -> tuple[Tensor, ...]:
        with self._tokenizer.model.precision:
            tokens = self._tokenizer.tokenizer.encode(windows.frame, windows.action)
        sees_frames = self.model.network.sizes.frame is not None
        return tokens, *windows[1:], *((windows.frame,) if sees_frames else ())


class ActorCriticComponent(Component[ActorCritic]):
    """The actor-critic learns from what it does in the world model, begun from the last frame of each window."""

    def __init__(
        self, config: IrisConfig, context: LearnerContext, tokenizer: TokenizerComponent, world: WorldModelComponent
    ) -> None:
        super().__init__(config.actor_critic_training, "actor_critic")
        self._config, shape, num_actions = config.actor_critic, frame_shape(context.env), context.env.num_actions
        self.model = self._trainable(
            context, lambda: ActorCritic(config.actor_critic, shape, num_actions), config.precision
        )
        self._tokenizer, self._world = tokenizer, world
        self._imagine = captured(self._imagined, torch.device(context.device))

    def dream(self, windows: Windows) -> Dream:
        """Returns what is imagined, of any number of windows; on a GPU step by step, for a graph is of one number."""
        return self._imagined(_begun(windows))

    def _imagined(self, inputs: Inputs) -> Dream:
        config = self._config
        with self.model.precision:
            return imagine(
                self._tokenizer.tokenizer,
                self._world.model.network,
                self.model.network,
                inputs["frame"],
                inputs["mask"],
                config.horizon,
                original=config.use_original_frames,
            )

    def _losses(self, windows: Windows) -> dict[str, Tensor]:
        dream = self._imagine(_begun(windows))
        with self.model.precision:
            opinion = judge(self.model.network, dream)
        losses = actor_critic_losses(self._config, dream, opinion)
        return {
            "loss": torch.stack(list(losses.values())).sum(),
            **losses,
            "entropy": opinion.entropy.mean(),
            "value": opinion.value.mean(),
            "reward": dream.reward.mean(),
            "ends": dream.terminated.float().mean(),
        }


def _named(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {"loss": torch.stack(list(parts.values())).sum()} | {f"{name}_loss": x for name, x in parts.items()}


def _begun(windows: Windows) -> Inputs:
    return {"frame": windows.frame, "mask": windows.mask}


def sizes_of(config: IrisConfig, env: EnvSpec) -> Sizes:
    """Returns what is modelled of an environment."""
    height, width = config.tokenizer.map_size(*frame_shape(env)[1:])
    seen = frame_shape(env) if config.tokenizer.deltas else None
    return Sizes(height * width, config.tokenizer.vocabulary_size, env.num_actions, seen)


def tensors_of(saved: Mapping[str, Any]) -> dict[str, Array]:
    """Returns name -> array of parameters and buffers that a `Trainable` saved."""
    return {**saved["parameters"], **saved.get("buffers", {})}
