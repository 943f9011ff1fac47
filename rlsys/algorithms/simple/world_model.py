"""Training of a next-frame model on clips of real frames.

Kaiser et al. 2020, section 4 and appendix, https://arxiv.org/abs/1903.00374.

    frame       0    1    2    3    4    5   …         given | seen as it was, or as it was predicted
    predicts    1    2    3    4    5    6   …         internal loss | loss, and that of the rewards

Shape legend: B clips, L frames of a clip, C channels, H W height and width.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.simple import warmups
from rlsys.algorithms.simple.adafactor import Adafactor
from rlsys.algorithms.simple.config import WorldModelConfig
from rlsys.algorithms.simple.next_frame import INPUT_FRAMES, REWARDS, NextFrame, Prediction
from rlsys.api import LearnerContext, Saved
from rlsys.errors import CheckpointError
from rlsys.nets.flat import FlatParameters
from rlsys.nets.precision import autocast
from rlsys.types import EnvSpec


def build(config: WorldModelConfig, env: EnvSpec, device: torch.device) -> NextFrame:
    """Returns a model for the frames of an environment, pictures `[H, W]` or `[C, H, W]`."""
    *channels, height, width = env.observation.shape
    network = NextFrame(config, channels[0] if channels else 1, (height, width), env.num_actions)
    return network.to(device)


def check_fits(network: NextFrame, saved: Saved, env: EnvSpec) -> None:
    """Refuses weights of another model.

    Raises:
      CheckpointError: it names the first of them that does not fit.
    """
    arrays = saved.get("parameters") if isinstance(saved, Mapping) else None
    shapes = {name: np.shape(array) for name, array in arrays.items()} if isinstance(arrays, Mapping) else {}
    expected = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    wrong = next((name for name in [*expected, *shapes] if shapes.get(name) != expected.get(name)), None)
    if wrong is not None:
        found, expects = shapes.get(wrong, "missing"), expected.get(wrong, "missing")
        raise CheckpointError(
            f"the world model's '{wrong}' is {found}, here it has to be {expects}: it was made for another "
            f"game, frame size or model than '{env.id}' {env.observation.shape}. Choose the run that belongs to it."
        )


class WorldModelUpdates:
    """A model and its optimizer.

    Attributes:
      network: predicts; in training mode only within `step`.
      forward: the same as a function, fused where that is asked for.
      precision: a context for it.
      num_updates: done so far; warm-ups go by it.
    """

    def __init__(self, config: WorldModelConfig, context: LearnerContext) -> None:
        """Builds the model from the context's seed alone, so that all ranks begin with the same."""
        self._config = config
        self._context = context
        self._device = torch.device(context.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.network = build(config, context.env, self._device).eval()
        self._flat = FlatParameters(self.network)
        self._optimizer = Adafactor(dict(self.network.named_parameters()))
        self.precision = autocast(config.precision, self._device)
        compiles = config.compile == "yes" or (config.compile == "auto" and self._device.type == "cuda")
        self.forward: Callable[..., Prediction] = torch.compile(self.network) if compiles else self.network
        self.num_updates = 0

    def step(self, frame: Tensor, action: Tensor, reward: Tensor) -> dict[str, float]:
        """Does one update, unless its gradient is not finite.

        Args:
          frame: `[B, L, C, H, W]` uint8 of clips of 4 + target_frames frames, on the device.
          action: `[B, L]` int64; the last one does not matter.
          reward: `[B, L]` of -1, 0 and 1, caused by the actions; the last one does not matter.

        Returns:
          Metrics; where one is not finite, the weights are those before.
        """
        config = self._config
        self.network.train()
        losses = self._losses(frame, action, reward)
        self.network.eval()
        total = sum(losses.values(), torch.zeros((), device=self._device))
        self._flat.gradient.zero_()
        total.backward()  # type: ignore[no-untyped-call]
        self._context.average([self._flat.gradient])
        norm = self._flat.clip(config.clip_grad_norm)
        names = ["world/loss", *losses, "world/gradient_norm"]
        values = torch.stack([total, *losses.values(), norm]).detach().cpu().tolist()
        metrics = dict(zip(names, values, strict=True))
        if np.isfinite(values).all():
            rate = warmups.learning_rate(config, self.num_updates)
            self._optimizer.step(rate)
            metrics["world/learning_rate"] = rate
        self.num_updates += 1
        return metrics

    def histograms(self) -> Mapping[str, Any]:
        """Returns copies of all weights and of the last update's gradients."""
        return {f"world/{name}": array for name, array in self._flat.histograms().items()}

    def save(self) -> tuple[Saved, Saved]:
        """Returns the model's weights, and what its training goes on from."""
        return {"parameters": self._flat.to_arrays()}, {
            "optimizer": self._optimizer.save(),
            "num_updates": self.num_updates,
        }

    def load(self, world: Saved, training: Saved) -> None:
        """Goes on exactly from `save`."""
        self.load_world(world)
        self._optimizer.load(training["optimizer"])
        self.num_updates = training["num_updates"]

    def load_world(self, world: Saved) -> None:
        """Takes over the model's weights alone.

        Raises:
          CheckpointError: they are another model's.
        """
        check_fits(self.network, world, self._context.env)
        self._flat.load_arrays(world["parameters"])

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
            with self.precision:
                prediction = _joined(self.forward, now, action[:, first:last], memory, *given)
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
        memories = [self.network.no_memory(len(frames))]
        with self.precision:
            for index in range(frames.shape[1] - 1):
                memories.append(self.network.remember(memories[-1], frames[:, index]))
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
        is_predicted = torch.rand(len(real), device=real.device) < warmups.predicted_frames(self._config, step)
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
