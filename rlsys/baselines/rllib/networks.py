"""RLlib's networks for pictures of bytes.

RLlib's own Atari wrapper sends float32 to its networks; here pictures stay bytes until a network sees them, which is a
quarter of what runners and learners keep and send.
"""

import dataclasses
from typing import Any

import gymnasium
from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.configs import CNNEncoderConfig, ModelConfig
from ray.rllib.core.models.torch.encoder import TorchCNNEncoder


class PixelEncoder(TorchCNNEncoder):
    """RLlib's convolutions on pixels, scaled to [0, 1] first."""

    def _forward(self, inputs: dict[str, Any], **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        scaled = inputs[Columns.OBS].float() / 255.0
        outputs: dict[str, Any] = super()._forward({**inputs, Columns.OBS: scaled}, **kwargs)
        return outputs


@dataclasses.dataclass
class PixelEncoderConfig(CNNEncoderConfig):
    """Builds the encoder above."""

    def build(self, framework: str = "torch") -> PixelEncoder:
        """Returns the encoder."""
        assert framework == "torch", framework
        return PixelEncoder(self)


class PixelCatalog(PPOCatalog):
    """RLlib's choice of networks, IMPALA's, APPO's and PPO's alike, with the encoder above for pictures."""

    @classmethod
    def _get_encoder_config(
        cls,
        observation_space: gymnasium.Space,
        model_config_dict: dict[str, Any],
        action_space: gymnasium.Space | None = None,
    ) -> ModelConfig:
        config = super()._get_encoder_config(observation_space, model_config_dict)
        if isinstance(config, CNNEncoderConfig):
            return PixelEncoderConfig(**{each.name: getattr(config, each.name) for each in dataclasses.fields(config)})
        return config
