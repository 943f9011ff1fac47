"""The world model as `rlsys.api.World`: with arrays, for play and for environments."""

import torch

from rlsys.algorithms.simple.config import SimpleConfig
from rlsys.algorithms.simple.next_frame import INPUT_FRAMES
from rlsys.algorithms.simple.simulation import Simulation
from rlsys.algorithms.simple.world_model import build, check_fits
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
        network = build(config.world_model, context.env, self._device).eval()
        check_fits(network, context.saved, context.env)
        share_arrays(network, context.saved["parameters"])
        torch.manual_seed(context.seed)
        self._simulation = Simulation(network, network, autocast(config.world_model.precision, self._device))

    def begin(self, observation: Array, action: Array) -> Array:
        """See `World`; what was done before does not matter to this model."""
        frames = torch.from_numpy(observation).to(self._device)
        size = (len(frames), INPUT_FRAMES, -1, *self._env.observation.shape[-2:])
        self._simulation.begin(frames.reshape(size))
        return observation[:, -1].copy()

    def step(self, action: Array) -> tuple[Array, Array, Array]:
        """See `World`; episodes never end."""
        frame, reward = self._simulation.step(torch.from_numpy(action).to(self._device).long())
        frames = frame.cpu().numpy().reshape(len(action), *self._env.observation.shape)
        return frames, reward.cpu().numpy(), torch.zeros(len(action), dtype=torch.bool).numpy()
