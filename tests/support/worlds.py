"""World models for tests: a line whose rewards are known by heart; SimPLe's of all sizes, and clips for them."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlsys.algorithms.simple.config import WorldModelConfig
from rlsys.api import WorldState, WorldStep
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.nets.precision import autocast
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


ATARI = (105, 80)
STOCHASTIC = WorldModelConfig()
DETERMINISTIC = WorldModelConfig(
    generative_model="deterministic", target_frames=1, hidden_size=64, filter_double_steps=2, dropout=0.1
)
TINY = DETERMINISTIC.model_copy(
    update={"hidden_size": 32, "num_hidden_layers": 1, "num_compress_steps": 2, "filter_double_steps": 1}
)
SMALL = WorldModelConfig(
    hidden_size=8,
    num_compress_steps=2,
    filter_double_steps=1,
    recurrent_state_size=4,
    bottleneck_bits=8,
    discriminator_size=4,
    latent_predictor_state_size=8,
    target_frames=3,
)
SMALL_DETERMINISTIC = SMALL.model_copy(update={"generative_model": "deterministic", "target_frames": 2})
CATCH = env_spec(EnvConfig(id="catch", stack_states=4, clip_rewards=True))
FLOAT = autocast("fp32", torch.device("cpu"))


def clips(batch: int, length: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (batch, length, 1, 20, 16), dtype=torch.uint8, generator=generator)
    actions = torch.randint(0, 3, (batch, length), generator=generator)
    return frames, actions, torch.randint(-1, 2, (batch, length), generator=generator).float()
