"""A world model as others see it: something to act in."""

from dataclasses import dataclass
from typing import Any, Protocol

from rlsys.api.saved import Saved
from rlsys.types import Array, EnvSpec


@dataclass(frozen=True)
class WorldContext:
    """What a world model is built from.

    Attributes:
      config: the algorithm's section of the experiment.
      env: the environment's spec.
      saved: what a learner of it saved under "world".
      seed: of what is drawn in it.
      num_environments: copies that are stepped together.
      device: torch device name.
    """

    config: Any
    env: EnvSpec
    saved: Saved
    seed: int
    num_environments: int = 1
    device: str = "cpu"


class World(Protocol):
    """A world model as an environment: N copies stepped together, each begun from what really happened.

    Everything is as the policy's side knows it: single raw frames, never stacked, and rewards as they are learned from.

    Attributes:
      num_context: rows R of real history that a copy begins from.
      num_environments: N.
    """

    num_context: int
    num_environments: int

    def begin(self, observation: Array, action: Array) -> Array:
        """Begins all copies anew.

        Args:
          observation: `[N, R, *frame]`, the last frames, oldest first.
          action: `[N, R - 1, *action]`, what was done between them.

        Returns:
          `[N, *frame]`, where each copy is now: the last frames.
        """

    def step(self, action: Array) -> tuple[Array, Array, Array]:
        """Predicts one step of each copy.

        Args:
          action: `[N, *action]`.

        Returns:
          The frames `[N, *frame]`, rewards `[N]` float32, and whether each episode is over, `[N]` bool; a model that
          does not predict ends never says so.
        """
