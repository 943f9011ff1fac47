"""The simulated environment as `rlsys.api.World`: with arrays, for play and for whatever acts in environments."""

import torch

from rlsys.algorithms.simple.config import SimpleConfig
from rlsys.algorithms.simple.networks import INPUT_FRAMES, check_world_model, make_world_model
from rlsys.algorithms.simple.simulated_environment import SimulatedEnvironment
from rlsys.api import WorldContext
from rlsys.nets.flat import share_arrays
from rlsys.nets.precision import autocast
from rlsys.types import Array


class SimpleWorld:
    """See `World`; bits are drawn from torch's random stream, which the seed begins."""

    num_context = INPUT_FRAMES

    def __init__(self, context: WorldContext) -> None:
        """Takes over a model's weights.

        Raises:
          CheckpointError: they are of a model for another game or size, or with other settings.
        """
        config: SimpleConfig = context.config
        self.num_environments = context.num_environments
        self._env = context.env
        self._device = torch.device(context.device)
        network = make_world_model(config.world_model, context.env).to(self._device).eval()
        check_world_model(network, context.saved, context.env)
        share_arrays(network, context.saved["parameters"])
        torch.manual_seed(context.seed)
        self._simulated = SimulatedEnvironment(network, network, autocast(config.world_model.precision, self._device))

    def begin(self, observation: Array, action: Array) -> Array:
        """See `World`; what was done before does not matter to this model."""
        frames = torch.from_numpy(observation).to(self._device)
        size = (len(frames), INPUT_FRAMES, -1, *self._env.observation.shape[-2:])
        self._simulated.begin(frames.reshape(size))
        return observation[:, -1].copy()

    def step(self, action: Array) -> tuple[Array, Array, Array]:
        """See `World`; episodes never end."""
        frame, reward = self._simulated.step(torch.from_numpy(action).to(self._device).long())
        frames = frame.cpu().numpy().reshape(len(action), *self._env.observation.shape)
        return frames, reward.cpu().numpy(), torch.zeros(len(action), dtype=torch.bool).numpy()
