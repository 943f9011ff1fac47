"""The configured world model."""

from collections.abc import Callable
from typing import Any

from rlsys.algorithms.iris.world_models.config import WorldModelConfig
from rlsys.algorithms.iris.world_models.interface import Sizes, WorldModel
from rlsys.algorithms.iris.world_models.ncp_models import MultiStepNCP, SingleStepNCP
from rlsys.algorithms.iris.world_models.transformer_model import Transformer
from rlsys.errors import ConfigError

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
    if config.kind != "transformer":
        features = config.num_features * (sizes.block if config.kind == "ncp_single_step" else 1)
        if config.num_units < features + 3:
            raise ConfigError(
                f"ncp_units = {config.num_units} with {features} outputs of {config.kind}; a circuit has at least 3 "
                "neurons more than outputs. Raise ncp_units, or lower width."
            )
    return _MODELS[config.kind](config, sizes)
