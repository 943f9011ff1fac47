"""The model as something to act in: its state is the memory, and the observation that comes next.

Shape legend: N copies, U units.
"""

import torch
from torch import Tensor

from dreams.config import DreamerConfig
from dreams.networks import WorldNetwork
from rlsys.api import WorldContext, WorldState, WorldStep
from rlsys.nets.flat import check_fits, share_arrays


class DreamWorld:
    """See `World`; nothing is drawn in it, and episodes never end."""

    min_context = 1

    def __init__(self, network: WorldNetwork, max_context: int) -> None:
        """Takes a network, which others may train."""
        self.device = next(network.parameters()).device
        self.max_context = max_context
        self._network = network

    @torch.no_grad()
    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        """See `World`."""
        memory = torch.zeros(len(observation), self._network.memory.hidden_size, device=self.device)
        for row in range(action.shape[1]):
            memory = self._network(memory, observation[:, row], action[:, row])
        return {"memory": memory, "observation": observation[:, -1].clone()}

    @torch.no_grad()
    def step(
        self, state: WorldState, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[WorldState, WorldStep]:
        """See `World`."""
        memory = self._network(state["memory"], state["observation"], action)
        observation, reward = self._network.foretell(memory, state["observation"])
        never = torch.zeros(len(reward), dtype=torch.bool, device=self.device)
        return {"memory": memory, "observation": observation}, WorldStep(reward, never)

    def observe(self, state: WorldState) -> Tensor:
        """See `World`."""
        observation: Tensor = state["observation"]
        return observation


def make_world(context: WorldContext) -> DreamWorld:
    """Builds the world that a learner saved.

    Raises:
      CheckpointError: it was made for another environment, or with other settings.
    """
    config: DreamerConfig = context.config
    network = WorldNetwork(config, context.env).to(context.device).eval()
    saved = context.saved["parameters"]
    check_fits(network, saved, "world model", "it is of another environment. Play it in its own, with its settings.")
    share_arrays(network, saved)
    return DreamWorld(network, config.context)
