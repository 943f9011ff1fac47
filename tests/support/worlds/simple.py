"""World models of all sizes, and clips for them."""

import torch
from torch import Tensor

from rlsys.algorithms.simple.config import WorldModelConfig
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.nets.precision import autocast

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
