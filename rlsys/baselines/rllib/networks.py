"""RLlib's networks for pictures of bytes.

RLlib's own Atari wrapper sends float32 to its networks; here pictures stay bytes until a network sees them, which is a
quarter of what runners and learners keep and send. RLlib's encoder for pictures ends with the convolutions; here dense
layers follow, so that DQN's network has one of 512 units for policy and value, as ours has, and not one for each.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import gymnasium
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.configs import CNNEncoderConfig, ModelConfig
from ray.rllib.core.models.torch.encoder import TorchCNNEncoder
from ray.rllib.models.utils import get_activation_fn
from torch import nn


class PixelEncoder(TorchCNNEncoder):
    """RLlib's convolutions on pixels scaled to [0, 1], and dense layers that policy and value share, as ours do."""

    def __init__(self, config: "PixelEncoderConfig") -> None:
        super().__init__(config)
        (size,) = CNNEncoderConfig.output_dims.fget(config)  # type: ignore[attr-defined]
        for units in config.dense_sizes:
            self.net.extend([nn.Linear(size, units), get_activation_fn(config.dense_activation, "torch")()])
            size = units

    def _forward(self, inputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        scaled = inputs[Columns.OBS].float() / 255.0
        outputs: dict[str, Any] = super()._forward({**inputs, Columns.OBS: scaled}, **kwargs)
        return outputs


@dataclasses.dataclass
class PixelEncoderConfig(CNNEncoderConfig):
    """Builds the encoder above."""

    dense_sizes: Sequence[int] = ()
    dense_activation: str = "relu"

    @property
    def output_dims(self) -> tuple[int, ...]:
        """Outputs of the last layer."""
        return (self.dense_sizes[-1],) if self.dense_sizes else tuple(super().output_dims)

    def build(self, framework: str = "torch") -> PixelEncoder:
        """Returns the encoder."""
        assert framework == "torch", framework
        return PixelEncoder(self)


class PixelCatalog(PPOCatalog):
    """RLlib's choice of networks, for IMPALA, APPO and PPO alike, with the encoder above for pictures."""

    @classmethod
    def _get_encoder_config(
        cls,
        observation_space: gymnasium.Space,
        model_config_dict: dict[str, Any],
        action_space: gymnasium.Space | None = None,
    ) -> ModelConfig:
        config = super()._get_encoder_config(observation_space, model_config_dict)
        if isinstance(config, CNNEncoderConfig):
            return PixelEncoderConfig(
                **{each.name: getattr(config, each.name) for each in dataclasses.fields(config)},
                dense_sizes=model_config_dict["fcnet_hiddens"],
                dense_activation=model_config_dict["fcnet_activation"],
            )
        return config
