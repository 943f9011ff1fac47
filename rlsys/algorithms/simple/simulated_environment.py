"""The simulated environment: the world model as something to act in, N copies stepped together on its device.

Kaiser et al. 2020, section 4, https://arxiv.org/abs/1903.00374. Episodes never end in it: ends are not predicted.

Shape legend: N copies, C channels, H W height and width.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.simple.networks import INPUT_FRAMES, Prediction, WorldModel

_SURE = 0.02


class SimulatedEnvironment:
    """Holds where N copies are.

    Attributes:
      stack: `[N, 4, C, H, W]` uint8, the last frames, oldest first.
    """

    stack: Tensor

    def __init__(
        self,
        network: WorldModel,
        forward: Callable[..., Prediction],
        precision: AbstractContextManager[object],
        intrinsic_reward_scale: float = 0.0,
    ) -> None:
        """Takes a model in evaluation mode, its (perhaps fused) function and its precision; `begin` comes first."""
        self._network = network
        self._forward = forward
        self._precision = precision
        self._intrinsic = intrinsic_reward_scale

    @torch.inference_mode()
    def begin(self, frames: Tensor) -> None:
        """Puts every copy behind four real frames, `[N, 4, C, H, W]` uint8."""
        assert frames.shape[1] == INPUT_FRAMES, frames.shape
        self.stack = frames
        with self._precision:
            self._memory = self._network.begin(frames)

    @torch.inference_mode()
    def step(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the next frames `[N, C, H, W]` and the rewards `[N]` of these actions, `[N]` int64."""
        with self._precision:
            prediction = self._forward(self.stack[:, -1], action, self._memory)
        frame, self._memory = prediction.frame, prediction.memory
        self.stack = torch.cat([self.stack[:, 1:], frame[:, None]], dim=1)
        return frame, prediction.reward + self._curiosity(prediction)

    def _curiosity(self, prediction: Prediction) -> Tensor | float:
        """Returns a reward for how unsure the model is of its frame, at most 1."""
        if not self._intrinsic:
            return 0.0
        chosen = functional.log_softmax(prediction.pixel_logits.float(), dim=-1).amax(dim=-1)
        unsure = functional.relu(-chosen - _SURE).flatten(start_dim=1).sum(dim=1) / 10.0
        return (self._intrinsic * unsure).clamp(max=1.0)
