"""SimPLe's world: the world model as something to act in, in training as in play.

Kaiser et al. 2020, section 4, https://arxiv.org/abs/1903.00374. Episodes never end in it: ends are not predicted.

Shape legend: N copies, C channels, H W height and width.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.simple.config import SimpleConfig
from rlsys.algorithms.simple.networks import (
    INPUT_FRAMES,
    Prediction,
    WorldModel,
    check_world_model,
    make_world_model,
)
from rlsys.api import WorldContext, WorldState, WorldStep
from rlsys.nets.flat import share_arrays
from rlsys.nets.precision import autocast
from rlsys.types import EnvSpec

_SURE = 0.02


class SimpleWorld:
    """See `World`. Its state is `stack`, `[N, 4, C, H, W]` uint8, the last frames, and the network's `memory`."""

    min_context = max_context = INPUT_FRAMES

    def __init__(
        self,
        network: WorldModel,
        forward: Callable[..., Prediction],
        precision: AbstractContextManager[object],
        env: EnvSpec,
        intrinsic_reward_scale: float = 0.0,
    ) -> None:
        """Takes a model in evaluation mode, its (perhaps fused) function, its precision and its environment."""
        self.device = next(network.parameters()).device
        self._network = network
        self._forward = forward
        self._precision = precision
        self._frame_shape = env.observation.shape
        self._intrinsic = intrinsic_reward_scale

    @torch.inference_mode()
    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        """See `World`; what was done before does not matter to this model."""
        size, rows, *_, height, width = observation.shape
        assert rows == INPUT_FRAMES, observation.shape
        stack = observation.reshape(size, rows, -1, height, width)
        with self._precision:
            return {"stack": stack, "memory": self._network.begin(stack)}

    @torch.inference_mode()
    def step(
        self, state: WorldState, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[WorldState, WorldStep]:
        """See `World`."""
        stack: Tensor = state["stack"]
        with self._precision:
            prediction = self._forward(stack[:, -1], action, state["memory"], generator=generator)
        stack = torch.cat([stack[:, 1:], prediction.frame[:, None]], dim=1)
        reward = prediction.reward + self._curiosity(prediction)
        never = torch.zeros_like(reward, dtype=torch.bool)
        return {"stack": stack, "memory": prediction.memory}, WorldStep(reward, never)

    def observe(self, state: WorldState) -> Tensor:
        """See `World`."""
        newest: Tensor = state["stack"][:, -1]
        return newest.reshape(len(newest), *self._frame_shape)

    def _curiosity(self, prediction: Prediction) -> Tensor | float:
        """Returns a reward for how unsure the model is of its frame, at most 1."""
        if not self._intrinsic:
            return 0.0
        chosen = functional.log_softmax(prediction.pixel_logits.float(), dim=-1).amax(dim=-1)
        unsure = functional.relu(-chosen - _SURE).flatten(start_dim=1).sum(dim=1) / 10.0
        return (self._intrinsic * unsure).clamp(max=1.0)


def make_world(context: WorldContext) -> SimpleWorld:
    """Builds the world that a learner saved; what it is curious about is not rewarded.

    Raises:
      CheckpointError: the weights are of a model for another game or size, or with other settings.
    """
    config: SimpleConfig = context.config
    device = torch.device(context.device)
    network = make_world_model(config.world_model, context.env).to(device).eval()
    check_world_model(network, context.saved, context.env)
    share_arrays(network, context.saved["parameters"])
    return SimpleWorld(network, network, autocast(config.world_model.precision, device), context.env)
