"""Tiny world models over tokens, and batches for them."""

from typing import Any

import torch
from torch import Tensor

from rlsys.algorithms.iris.world_models.config import WorldModelConfig
from rlsys.algorithms.iris.world_models.interface import Sizes, WorldModel
from rlsys.algorithms.iris.world_models.make import make_world_model

SIZES = Sizes(tokens=4, vocabulary=7, actions=3)
CPU = torch.device("cpu")
KINDS: dict[str, dict[str, Any]] = {
    "transformer": {},
    "parallel": {"frames": "parallel"},
    "block_causal": {"frames": "parallel", "attention": "block_causal"},
    "ncp_single_step": {"kind": "ncp_single_step", "width": 4, "ncp_units": 30},
    "ncp_multi_step": {"kind": "ncp_multi_step", "width": 16, "ncp_units": 30},
}
"""Settings of each kind, besides those of `tiny`."""
_DROPOUTS = {"embed_dropout": 0.0, "residual_dropout": 0.0, "attention_dropout": 0.0}


def tiny(kind: str = "transformer", **settings: Any) -> WorldModelConfig:
    """Settings of a model with which a test needs milliseconds; nothing is left out nor rounded."""
    sizes = {} if kind.startswith("ncp") else {"layers": 2, "width": 16, "heads": 2, "max_blocks": 4}
    return WorldModelConfig(**{**sizes, **_DROPOUTS, "precision": "fp32", **KINDS[kind], **settings})


def make(kind: str = "transformer", seed: int = 0, **settings: Any) -> WorldModel[Any]:
    """Such a model."""
    torch.manual_seed(seed)
    return make_world_model(tiny(kind, **settings), SIZES)


def batch(size: int = 3, num_blocks: int = 4, seed: int = 0) -> dict[str, Tensor]:
    """What a model learns from, by the names of `losses`."""
    generator = torch.Generator().manual_seed(seed)

    def numbers(high: int, *shape: int) -> Tensor:
        return torch.randint(high, (size, num_blocks, *shape), generator=generator)

    return {
        "tokens_BLK": numbers(SIZES.vocabulary, SIZES.tokens),
        "action_BL": numbers(SIZES.actions),
        "reward_BL": numbers(3) - 1.0,
        "terminated_BL": numbers(2).bool(),
        "mask_BL": torch.ones(size, num_blocks, dtype=torch.bool),
    }
