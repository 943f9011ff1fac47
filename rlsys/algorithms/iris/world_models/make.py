"""The configured world model."""

from collections.abc import Callable
from typing import Any

from rlsys.algorithms.iris.world_models.config import WorldModelConfig
from rlsys.algorithms.iris.world_models.interface import Sizes, WorldModel
from rlsys.algorithms.iris.world_models.ncp_models import MultiStepNCP, SingleStepNCP
from rlsys.algorithms.iris.world_models.transformer_model import Transformer

_MODELS: dict[str, Callable[[WorldModelConfig, Sizes], WorldModel[Any]]] = {
    "transformer": Transformer,
    "ncp_single_step": SingleStepNCP,
    "ncp_multi_step": MultiStepNCP,
}


def make_world_model(config: WorldModelConfig, sizes: Sizes) -> WorldModel[Any]:
    """Builds it, on the CPU.

    Raises:
      ConfigError: the settings do not fit the tokens, or what is in a folder of pretrained weights.
    """
    config.check_tokens(sizes.tokens)
    return _MODELS[config.kind](config, sizes)
