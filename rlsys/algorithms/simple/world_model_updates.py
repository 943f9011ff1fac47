"""How the world model learns: its losses on clips of real frames, and their update.

Kaiser et al. 2020, section 4 and appendix, https://arxiv.org/abs/1903.00374.

    frame       0    1    2    3    4    5   …         given | seen as it was, or as it was predicted
    predicts    1    2    3    4    5    6   …         internal loss | loss, and that of the rewards

Shape legend: B clips, L frames of a clip, C channels, H W height and width.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.simple import schedules
from rlsys.algorithms.simple.adafactor import Adafactor
from rlsys.algorithms.simple.config import WorldModelConfig
from rlsys.algorithms.simple.networks import INPUT_FRAMES, REWARDS, Prediction, check_world_model, make_world_model
from rlsys.api import LearnerContext, Saved
from rlsys.nets.trainable import Trainable


class WorldModelUpdates:
    """A world model that learns.

    Attributes:
      model: the network, in training mode only within `step`.
      num_updates: done so far; warm-ups go by it.
    """

    def __init__(self, config: WorldModelConfig, context: LearnerContext) -> None:
        self._config = config
        self._env = context.env
        self._device = torch.device(context.device)
        self.model = Trainable(
            context,
            lambda: make_world_model(config, context.env).eval(),
            lambda joined: Adafactor(joined.parameters),
            name="world",
            max_norm=config.clip_grad_norm,
            precision=config.precision,
            compiles=config.compile,
            remedy="a lower simple.world_model.learning_rate",
        )
        self.num_updates = 0

    def step(self, frame: Tensor, action: Tensor, reward: Tensor) -> dict[str, float]:
        """Does one update, unless its gradient is not finite.

        Args:
          frame: `[B, L, C, H, W]` uint8 of clips of 4 + target_frames frames, on the device.
          action: `[B, L - 1]` int64.
          reward: `[B, L - 1]` of -1, 0 and 1, caused by the actions.

        Returns:
          Metrics; where one is not finite, the weights are those before.
        """
        network = self.model.network
        network.train()
        losses = self._losses(frame, action, reward)
        network.eval()
        total = sum(losses.values(), torch.zeros((), device=self._device))
        rate = schedules.learning_rate(self._config, self.num_updates)
        self.num_updates += 1
        return self.model.step(total, rate, {"world/loss": total, **losses})

    def save(self) -> tuple[Saved, Saved]:
        """Returns the model's weights, and what its training goes on from."""
        saved = self.model.save()
        return {"parameters": saved["parameters"]}, {"optimizer": saved["optimizer"], "num_updates": self.num_updates}

    def load(self, world: Saved, training: Saved) -> None:
        """Goes on exactly from `save`."""
        self.model.load({**world, **training})
        self.num_updates = training["num_updates"]

    def load_world(self, world: Saved) -> None:
        """Takes over the model's weights alone.

        Raises:
          CheckpointError: they are another model's.
        """
        check_world_model(self.model.network, world, self._env)
        self.model.load_weights(world["parameters"])

    def _losses(self, frame: Tensor, action: Tensor, reward: Tensor) -> dict[str, Tensor]:
        """Predicts a clip; see the drawing above. What follows given frames is predicted all at once."""
        is_recurrent = self._config.generative_model == "stochastic_discrete"
        step = torch.tensor(float(self.num_updates), device=self._device)
        num_steps, seen = frame.shape[1] - 1, self._with_noise(frame)
        first, last = (0 if is_recurrent else INPUT_FRAMES - 1), INPUT_FRAMES
        pixels, rewards, latents = [], [], []
        while first < num_steps:
            if first == 0:
                now, memory = seen[:, :last], self._memories(seen[:, :last])
            elif first == INPUT_FRAMES - 1:
                now, memory = seen[:, first:last], seen[:, None, : INPUT_FRAMES - 1]
            after = frame[:, first + 1 : last + 1]
            given = (after if is_recurrent else None), step
            with self.model.precision:
                prediction = _joined(self.model.forward, now, action[:, first:last], memory, *given)
            pixels.append(_pixel_loss(prediction.pixel_logits, after.flatten(end_dim=1)).view(*after.shape[:2], -1))
            rewards.append(_reward_loss(prediction.reward_logits, reward[:, first:last]))
            latents.append(prediction.latent_loss * (last - first))
            first, last = last, last + 1
            if first < num_steps:
                latest = [x.view(len(frame), -1, *x.shape[1:])[:, -1] for x in (prediction.frame, prediction.memory)]
                now = self._choose(seen[:, first], latest[0], step)[:, None]
                memory = latest[1][:, None]
        loss_BLP, num_targets = torch.cat(pixels, dim=1), num_steps - INPUT_FRAMES + 1
        cutoff = self._config.loss_cutoff
        losses = {
            "world/loss_pixels": _clipped(loss_BLP[:, -num_targets:], cutoff),
            "world/loss_reward": _clipped(torch.cat(rewards, dim=1)[:, -num_targets:], cutoff),
        }
        if is_recurrent:
            losses["world/loss_bits"] = torch.stack(latents).sum() / num_steps
            losses["world/loss_given"] = _clipped(loss_BLP[:, :-num_targets], cutoff)
        return losses

    def _memories(self, frames: Tensor) -> Tensor:
        """Returns the recurrent state before each of the given frames, `[B, L, …]`."""
        memories = [self.model.network.no_memory(len(frames))]
        with self.model.precision:
            for index in range(frames.shape[1] - 1):
                memories.append(self.model.network.remember(memories[-1], frames[:, index]))
        return torch.stack(memories, dim=1)

    def _with_noise(self, frame: Tensor) -> Tensor:
        """Replaces a share of the given frames' pixels by the median of each channel over all of them."""
        share = self._config.input_noise
        if not share:
            return frame
        given, rest = frame[:, :INPUT_FRAMES], frame[:, INPUT_FRAMES:]
        channels = given.transpose(0, 2).flatten(start_dim=1)
        median = channels.float().median(dim=1).values.to(frame.dtype)[:, None, None]
        is_noisy = torch.rand((*given.shape[:2], 1, *given.shape[3:]), device=frame.device) < share
        return torch.cat([torch.where(is_noisy, median, given), rest], dim=1)

    def _choose(self, real: Tensor, predicted: Tensor, step: Tensor) -> Tensor:
        """Continues some examples from what was predicted, the more the longer the model has learned."""
        is_predicted = torch.rand(len(real), device=real.device) < schedules.predicted_frames(self._config, step)
        return torch.where(is_predicted[:, None, None, None], predicted, real)


def _joined(
    forward: Callable[..., Prediction], now: Tensor, action: Tensor, memory: Tensor, after: Tensor | None, step: Tensor
) -> Prediction:
    """Predicts what follows each of `[B, L]` frames in one call, of `B * L`."""
    columns = [None if x is None else x.flatten(end_dim=1) for x in (now, action, memory, after)]
    return forward(*columns, step)


def _pixel_loss(logits: Tensor, frame: Tensor) -> Tensor:
    """Returns `[B * H * W * C]`: the cross entropy of each channel of each pixel."""
    classes = frame.permute(0, 2, 3, 1).flatten().long()
    return functional.cross_entropy(logits.flatten(end_dim=-2).float(), classes, reduction="none")


def _reward_loss(logits: Tensor, reward: Tensor) -> Tensor:
    """Returns `[B, L]`: the cross entropy of each reward, of -1, 0 and 1."""
    classes = (reward - REWARDS[0]).long()
    return functional.cross_entropy(logits, classes.flatten(), reduction="none").view(classes.shape)


def _clipped(loss: Tensor, cutoff: float) -> Tensor:
    """Returns the mean of what exceeds the cutoff: what is good enough is not learned from."""
    return functional.relu(loss - cutoff).mean()
