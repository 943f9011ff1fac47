"""Worlds in which one walks on a line: rewards are known by heart."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlsys.api import WorldState, WorldStep
from rlsys.types import Array, ArraySpec, EnvSpec

ENV = EnvSpec("line", ArraySpec((1,), "float32"), ArraySpec((), "int64"), num_actions=3, num_stack=2)


class Line:
    """A model of a walker on a line: action a moves by a - 1; +1 at 3, where episodes end, and +0.5 at -1."""

    device = torch.device("cpu")

    def __init__(self, min_context: int = 3) -> None:
        self.min_context, self.max_context = min_context, 3
        self.began: list[tuple[Array, Array]] = []
        self.sizes: list[int] = []

    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        self.began.append((observation.numpy(), action.numpy()))
        return {"place": observation[:, -1]}

    def step(self, state: WorldState, action: Tensor, generator: Any = None) -> tuple[WorldState, WorldStep]:
        moved = state["place"] + (action[:, None] - 1.0)
        place = moved[:, 0]
        self.sizes.append(len(place))
        return {"place": moved}, WorldStep((place == 3) + 0.5 * (place == -1), place == 3)

    def observe(self, state: WorldState) -> Tensor:
        return state["place"]


BENT = replace(ENV, id="bent", action=ArraySpec((1,), "float32"), num_actions=0, action_low=(-2.0,), action_high=(2.0,))


class Slope(Line):
    """A model in which one moves by any number; best is to be at 1."""

    def step(self, state: WorldState, action: Tensor, generator: Any = None) -> tuple[WorldState, WorldStep]:
        assert action.dtype == torch.float32
        self.sizes.append(len(action))
        moved = state["place"] + action
        return {"place": moved}, WorldStep(-(moved[:, 0] - 1.0).square(), torch.zeros(len(moved), dtype=torch.bool))


def seen(*places: float) -> Array:
    """What a policy sees at some places: stacks of the same frame twice."""
    return np.repeat(np.array(places, np.float32)[:, None, None], 2, axis=1)
