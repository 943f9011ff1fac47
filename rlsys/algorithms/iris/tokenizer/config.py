"""The tokenizer's section of an experiment; upstream's keys stand in brackets (IRIS, and the thesis's fork of it)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rlsys.config import Section
from rlsys.config.location import WeightFile
from rlsys.config.quantities import Flag, Layers, Pixels, Probability, Repeats, Steps, Units, Weight
from rlsys.errors import ConfigError

_MOST_CHANNELS = 16_384


class TokenizerConfig(Section):
    """How frames become tokens and come back from them, and by what that is learned."""

    vocabulary_size: Annotated[Units, Field(ge=2)] = 512
    """Codes that a token can be (vocab_size)."""
    embedding_size: Units = 512
    """Numbers of a code (embed_dim)."""
    z_channels: Units = 512
    """Channels of the map between encoder and codes (z_channels)."""
    channels: Units = 64
    """Channels that each level has some times of (ch)."""
    channel_multipliers: Annotated[tuple[Repeats, ...], Field(min_length=1, max_length=8)] = (1, 1, 1, 1, 1)
    """How many times, of each level; each is half the size of the one before (ch_mult)."""
    residual_blocks: Annotated[Layers, Field(ge=1)] = 2
    """Residual blocks of a level; the decoder has one more (num_res_blocks)."""
    attention_resolutions: Annotated[tuple[Pixels, ...], Field(max_length=8)] = (8, 16)
    """Levels whose longer side is one of these have attention among their pixels (attn_resolutions)."""
    dropout: Annotated[Probability, Field(lt=1.0)] = 0.0
    """Share of numbers that residual blocks forget while learning (dropout)."""
    patch: Repeats = 1
    """Side of the square of the map's pixels that become one token together (Δ-IRIS: 4)."""
    deltas: Flag = False
    """Tokens say what is new in a frame, to who knows the frame before it and what was done then (Micheli et al. 2024,
    https://arxiv.org/abs/2406.19320, section 3.1). The world model, a transformer, then sees frames too, and the
    actor-critic sees real ones as they are."""

    reconstruction: Literal["l1", "l2", "l1_l2"] = "l1"
    """How a frame's distance from its reconstruction is measured: mean of absolutes, of squares, or both."""
    l1_weight: Weight = 1.0
    """Weight of absolutes (Δ-IRIS: 0.1)."""
    l2_weight: Weight = 1.0
    """Weight of squares (Δ-IRIS: 1)."""
    worst_pixel_weight: Weight = 0.0
    """Weight of each frame's largest square (Δ-IRIS: 0.01)."""
    perceptual: Literal["none", "vgg"] = "none"
    """LPIPS: how differently VGG16 sees a frame and its reconstruction; its weights are not ours to ship
    (with_lpips)."""
    perceptual_weight: Weight = 1.0
    """Weight of that."""
    vgg_path: WeightFile | None = None
    """File with VGG16's weights in torchvision's names, of torch or safetensors."""
    lpips_path: WeightFile | None = None
    """File with those of LPIPS's five linear layers; none looks for them in vgg_path."""
    commitment_weight: Weight = 1.0
    """Weight of the distances between encodings and codes (Δ-IRIS: 0.02)."""
    beta: Weight = 1.0
    """How much more encodings are drawn to their codes than codes to what they stand for (beta)."""
    critic_weight: Weight = 0.0
    """Weight of the squared error of returns foretold from tokens; 0 has no critic (critic_loss_weight)."""
    critic_layers: Layers = 2
    """Hidden layers of the critic (num_hidden_layers)."""
    critic_units: Units = 512
    """Units of those (hidden_layer_dim)."""

    codebook: Literal["learned", "ema"] = "learned"
    """Codes follow their gradient, or the mean of what they stand for (van den Oord et al. 2017, appendix A.1)."""
    ema_decay: Annotated[Probability, Field(lt=1.0)] = 0.99
    """ema: share of that mean that an update keeps."""
    revive_dead_codes: Steps = 0
    """Updates after which a code that nothing was nearest to becomes an encoding of the day; 0 never does."""
    train: Flag = True
    """Learn at all; false keeps the initial tokenizer as it is (should_train)."""
    initial: WeightFile | None = None
    """File of a pretrained tokenizer of these sizes, of torch or safetensors (load_tokenizer)."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if max(self.level_channels) > _MOST_CHANNELS:
            raise ValueError(
                f"channels = {self.channels} with channel_multipliers = {list(self.channel_multipliers)} makes levels "
                f"of {max(self.level_channels)} channels; {_MOST_CHANNELS} is the most. Lower one of them"
            )
        if self.deltas and self.critic_weight:
            raise ValueError(
                f"critic_weight = {self.critic_weight:g} with deltas = true; what is new in a frame does not tell its "
                "value. Set critic_weight=0, or deltas=false"
            )
        if self.perceptual == "vgg" and self.vgg_path is None:
            raise ValueError(
                "perceptual = 'vgg' without vgg_path; VGG16's weights come from a file. Set vgg_path, or "
                "perceptual = none"
            )
        return self

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.channels * multiplier for multiplier in self.channel_multipliers)

    def attends(self, height: int, width: int, level: int) -> bool:
        """Tells whether a level has attention, for frames of a size."""
        return max(height, width) >> level in self.attention_resolutions

    def map_size(self, height: int, width: int, section: str = "iris.tokenizer") -> tuple[int, int]:
        """Returns how many rows of how many tokens frames of a size become.

        Args:
          height: of frames.
          width: of frames.
          section: name of this section of the experiment, for the error.

        Raises:
          ConfigError: levels and patches do not divide such frames evenly, or leave a single token.
        """
        halvings = len(self.channel_multipliers) - 1
        step = 2**halvings * self.patch
        named = f"frames of {height} × {width} with {halvings + 1} {section}.channel_multipliers"
        halved, or_less = f"halved {halvings} times", "fewer multipliers"
        if self.patch > 1:
            named, halved, or_less = (
                f"{named} and patch = {self.patch}",
                f"{halved} and cut",
                f"{or_less}, or a smaller patch",
            )
        if height % step or width % step:
            raise ConfigError(
                f"{named}; they are {halved}, so both sides must be divisible by {step}. Set env.frame_size, or "
                f"{or_less}."
            )
        if height == width == step:
            raise ConfigError(f"{named} leave one token; there must be at least 2. Set {or_less}.")
        return height // step, width // step
