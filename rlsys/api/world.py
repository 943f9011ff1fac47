"""A world model as others see it: functions of a state that goes in and comes out.

    state = world.begin(observation, action)              # what has really happened, in N episodes
    state, step = world.step(state, action, generator)    # what comes of it
    observation = world.observe(state)                    # what is seen there: only where somebody looks

A world holds weights and nothing of any episode, so that several states are alive at once, and one can be gone on from
twice. Whatever acts in environments acts in `rlsys.planning.imagined.ImaginedEnv`, which is made of these functions.

Shape legend: N copies, R rows of real history.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from rlsys.api.saved import Saved
from rlsys.types import EnvSpec

Tensor = Any
"""torch's, which this module does not import; without gradients unless a world says so."""
Observation = Any
"""A tensor or, where an environment shows named parts, a mapping: one for each of them by its name."""
WorldState = Mapping[str, Tensor]
"""Name -> `[N, ...]` on the world's device: rows can be chosen, repeated and put together with those of other states of
the same world. Names, shapes without N, and types are always the same, however long the history and the episode."""


class WorldStep(NamedTuple):
    """What came of one step of each copy.

    Attributes:
      reward: `[N]` float32, as it is learned from.
      terminated: `[N]` bool, whether the episode is over; drawn, where a model predicts how likely that is. A model
        that does not predict ends never says so.
    """

    reward: Tensor
    terminated: Tensor


@dataclass(frozen=True)
class WorldContext:
    """What a world model is built from.

    Attributes:
      config: the algorithm's section of the experiment.
      env: the environment's spec.
      saved: what a learner of it saved under "world".
      device: torch device name.
    """

    config: Any
    env: EnvSpec
    saved: Saved
    device: str = "cpu"


class World(Protocol):
    """A world model: what N copies of an environment do next, each begun from what really happened.

    Everything is as the policy's side knows it: single raw frames, never stacked, and rewards as they are learned from.

    Attributes:
      min_context: the fewest rows R of real history that it begins from.
      max_context: the most; who knows more of an episode gives the last of them. More than `min_context` where a model
        remembers.
      device: torch device of all tensors.
    """

    min_context: int
    max_context: int
    device: Any

    def begin(self, observation: Observation, action: Tensor) -> WorldState:
        """Returns where copies are after what has happened, anywhere in an episode.

        Args:
          observation: `[N, R, *frame]`, the last frames, oldest first.
          action: `[N, R - 1, *action]`, what was done between them.
        """

    def step(self, state: WorldState, action: Tensor, generator: Any | None = None) -> tuple[WorldState, WorldStep]:
        """Predicts one step of each copy; the state that is given stays as it is.

        Args:
          state: of N copies.
          action: `[N, *action]`.
          generator: torch's, on the world's device; all that is random is drawn from it. None: torch's own stream.
        """

    def observe(self, state: WorldState) -> Observation:
        """Returns the newest frames `[N, *frame]`; of a state that `step` returned, predicted ones.

        It is a function of the state alone: nothing is drawn.
        """


@dataclass(frozen=True)
class Traceable:
    """A world's steps of one copy as functions that can be written down as graphs, to be taken without torch.

    Shapes are fixed, no tensor is asked for a number, and random numbers are drawn with torch's `rand`, `randn` and
    their `_like`.

    Attributes:
      step: as `World.step`.
      renew: state -> a state to go on from, where a step does not always have room; None where it has.
      counted: the number of the state that says so.
      most: what that is at most where there is room.
    """

    step: Callable[[WorldState, Tensor, Any | None], tuple[WorldState, WorldStep]]
    renew: Callable[[WorldState], WorldState] | None = None
    counted: str = ""
    most: int = 0


@runtime_checkable
class OffersTraceable(Protocol):
    """A world whose own `step` cannot be traced, and which has another that does the same."""

    def traceable(self) -> Traceable:
        """Returns its steps, of the weights that the last `begin` has read."""


def traceable(world: World) -> Traceable:
    """Returns the steps of a world that can be traced: of most worlds `World.step` itself."""
    return world.traceable() if isinstance(world, OffersTraceable) else Traceable(world.step)
