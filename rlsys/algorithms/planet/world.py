"""PlaNet's model as something to act in: its state is the transition model's.

Hafner et al. 2019, section 2, https://arxiv.org/abs/1811.04551. Episodes never end in it: ends are not foretold.

Shape legend: N copies, R rows of real history, S numbers of a stochastic state.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.inputs import Actions, make_inputs
from rlsys.algorithms.planet.networks import WorldModel
from rlsys.algorithms.planet.seen import seen_part
from rlsys.api import WorldContext, WorldState, WorldStep
from rlsys.nets.flat import check_fits, share_arrays
from rlsys.types import EnvSpec, Part


class PlanetWorld:
    """See `World`. It begins from one row of history, and knows more from more."""

    min_context = 1

    def __init__(self, network: WorldModel, config: PlanetConfig, env: EnvSpec) -> None:
        """Takes a network, which others may train."""
        self.device = next(network.parameters()).device
        self.max_context = config.context
        self._network, self._cell = network, network.agent.cell
        self._inputs, self._actions = make_inputs(env, config.image_bits), Actions(env, self.device)
        part = seen_part(env)
        assert part is not None, "refused before"
        self._seen, self._parts = part, env.parts

    @torch.no_grad()
    def begin(self, observation: Any, action: Tensor) -> WorldState:
        """See `World`; what came before the first row counts as nothing, and the means of what follows are taken.

        Where there are parts, that which is seen may stand alone.
        """
        shown = observation[self._seen.name] if isinstance(observation, Mapping) else observation
        seen = self._network.agent.embed(self._inputs.prepare(shown))
        done = self._actions.encode(action)
        first = done.new_zeros(len(shown), 1, self._actions.size)
        noise = first.new_zeros(seen.shape[1], len(shown), self._cell.state_size)
        states = self._cell.unroll(seen, torch.cat([first, done], dim=1), noise)
        return {name: part[:, -1].contiguous() for name, part in states.posterior.items()}

    @torch.no_grad()
    def step(
        self, state: WorldState, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[WorldState, WorldStep]:
        """See `World`."""
        size = (len(action), self._cell.state_size)
        noise = torch.randn(size, device=self.device, generator=generator)
        after = self._cell.imagine(state, self._actions.encode(action), noise)
        reward = self._network.agent.reward(self._cell.features(after)).squeeze(-1)
        never = torch.zeros(len(reward), dtype=torch.bool, device=self.device)
        return dict(after), WorldStep(reward, never)

    @torch.no_grad()
    def show(self, state: WorldState) -> Tensor:
        """Returns the seen part of what is there, `[N, *part]`."""
        features = self._cell.features(state)
        return self._inputs.show(self._network.decode(features[:, None])[:, 0])

    @torch.no_grad()
    def observe(self, state: WorldState) -> Any:
        """See `World`."""
        shown, features = self.show(state), self._cell.features(state)
        if not self._seen.name:
            return shown
        return {part.name: shown if part == self._seen else self._tell(part, features) for part in self._parts}

    def _tell(self, part: Part, features: Tensor) -> Tensor:
        told: Tensor = self._network.told[part.name](features)
        return told.reshape(len(features), *part.spec.shape).to(getattr(torch, np.dtype(part.spec.dtype).name))


def make_world(context: WorldContext) -> PlanetWorld:
    """Builds the world that a learner saved.

    Raises:
      CheckpointError: it was made for another environment, or with other settings.
    """
    config: PlanetConfig = context.config
    network = WorldModel(config, context.env).to(context.device).eval()
    saved = {**context.saved["parameters"], **context.saved.get("buffers", {})}
    check_fits(network, saved, "world model", "it is of another environment. Play it in its own, with its settings.")
    share_arrays(network, saved)
    return PlanetWorld(network, config, context.env)
