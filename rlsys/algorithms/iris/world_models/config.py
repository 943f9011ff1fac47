"""Settings of the world model; upstream's names stand in brackets, and defaults are upstream's."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from rlsys.config import Section
from rlsys.config.location import WeightFile
from rlsys.config.quantities import Flag, Layers, Probability, Repeats, Seed, Temperature, Units
from rlsys.errors import ConfigError


def _depth(value: Any) -> Any:
    """Takes true and false for themselves, and numbers for how many blocks at the end are trained."""
    if not isinstance(value, bool | int):
        raise ValueError("it must be true, false, or how many of the last blocks are trained")
    return value


Frozen = Annotated[Flag | Annotated[int, Field(ge=1, le=100)], BeforeValidator(_depth)]
Dropout = Annotated[Probability, Field(lt=1.0)]
Kind = Literal["transformer", "ncp_single_step", "ncp_multi_step"]

_LAYERS: dict[Kind, int] = {"transformer": 10, "ncp_single_step": 2, "ncp_multi_step": 1}
_WIDTH: dict[Kind, int] = {"transformer": 256, "ncp_single_step": 128, "ncp_multi_step": 256}
_NEURONS_BESIDE = 3
"""That a circuit has beside its outputs."""
_NCP_UNITS: dict[Kind, float] = {"ncp_single_step": 1.5, "ncp_multi_step": 2.0}
"""Neurons for each output; upstream's 3264 and 512, where a frame has 16 tokens."""


class WorldModelConfig(Section):
    """The model of what comes next, over tokens; one option, `kind`, chooses it."""

    kind: Kind = "transformer"
    """A transformer (Micheli et al. 2023), or neural circuit policies that foretell all tokens of a frame at once or
    one after the other (type; upstream has ncp_multiple_step for the last)."""
    layers: Annotated[Layers, Field(ge=1)] | None = None
    """Blocks (num_layers); none: 10 of a transformer, 2 of ncp_single_step, 1 of ncp_multi_step."""
    width: Units | None = None
    """Numbers that stand for a token (embed_dim); none: 256, of ncp_single_step 128."""
    embed_dropout: Dropout = 0.1
    """On what goes into the first block (embed_pdrop)."""
    residual_dropout: Dropout = 0.1
    """On what each layer adds; of NCPs on what comes out of each block (resid_pdrop, blocks_pdrop)."""
    attention_dropout: Dropout = 0.1
    """Transformer: on attention weights (attn_pdrop)."""

    heads: Annotated[int, Field(ge=1, le=256)] = 4
    """Transformer: attention heads (num_heads)."""
    max_blocks: Annotated[Repeats, Field(ge=2)] = 20
    """Transformer: frames, each with the action after it, that it sees at most (max_blocks)."""
    attention: Literal["causal", "block_causal"] = "causal"
    """Transformer: a token sees those before it; block_causal: and all of its own frame, for which frames have to be
    foretold in parallel."""
    frames: Literal["autoregressive", "parallel"] = "autoregressive"
    """Transformer: the next frame's tokens are drawn one after the other, or all in one pass (Cohen et al. 2024)."""
    frame_channels: Annotated[tuple[Units, ...], Field(min_length=1, max_length=8)] = (32, 32, 64, 64)
    """Transformer, where tokens are deltas: of the convolutions by which it sees frames, each with a pooling."""
    dropped_blocks: Repeats = 1
    """Transformer: oldest frames that are forgotten at a time where no more fit; 1 is a sliding window, all but one is
    upstream's flush. More of them cost less."""
    gelu: Literal["exact", "tanh"] = "exact"
    """Transformer: upstream's activation, or the one that GPT-2 was trained with."""
    pretrained: WeightFile | None = None
    """Transformer: folder of a GPT-2 whose blocks this one begins with (pretrained_weights, there a name)."""
    frozen: Frozen = False
    """Transformer: attention and perceptrons are not trained: of all blocks, or of all but so many last ones."""
    pre_layer: Flag = False
    """Transformer: a layer of its own before the blocks (pre_transformer_layer)."""
    post_layer: Flag = False
    """Transformer: one after them (post_transformer_layer)."""

    ncp_units: Units | None = None
    """NCP: neurons of each block (ncp_units); none: 1.5 times its outputs of ncp_single_step, twice of ncp_multi_step,
    3264 and 512 for 16 tokens of the default width."""
    ncp_cell: Literal["cfc", "cfc_no_gate"] = "cfc"
    """NCP: how a neuron's two answers are mixed over time; no_gate adds one to the other (mode)."""
    ncp_layer_norm: Flag = True
    """NCP: normalise what goes into each block (ncp_layer_norm)."""
    ncp_positions: Flag = True
    """ncp_multi_step: say which token of the frame comes next (pos_emb)."""
    ncp_seed: Seed = 22_222
    """NCP: of the wiring."""

    rewards: Literal["sign", "two_hot"] = "sign"
    """What is foretold of a reward: its sign, or how much it is, on a logarithmic scale (Hafner et al. 2023)."""
    temperature: Temperature = 1.0
    """Of the tokens that are drawn; at 0 the likeliest are taken."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Numbers in products, where the device multiplies bf16 natively."""

    @property
    def num_layers(self) -> int:
        """Blocks."""
        return self.layers or _LAYERS[self.kind]

    @property
    def num_features(self) -> int:
        """Numbers that stand for a token."""
        return self.width or _WIDTH[self.kind]

    def num_units(self, num_tokens: int) -> int:
        """Returns neurons of each block, for frames of so many tokens; a transformer has none."""
        outputs = self._num_outputs(num_tokens)
        if self.kind == "transformer":
            return 0
        return self.ncp_units or max(int(_NCP_UNITS[self.kind] * outputs), outputs + _NEURONS_BESIDE)

    def check_tokens(self, num_tokens: int, section: str = "iris.world_model") -> None:
        """Refuses frames of so many tokens that a circuit has too few neurons for.

        Args:
          num_tokens: of a frame.
          section: name of this section of the experiment, for the error.

        Raises:
          ConfigError: it says how many there must be.
        """
        num_units, num_outputs = self.num_units(num_tokens), self._num_outputs(num_tokens)
        if self.kind != "transformer" and num_units < num_outputs + _NEURONS_BESIDE:
            raise ConfigError(
                f"{section}.ncp_units = {num_units} with {num_outputs} outputs of {self.kind}; a circuit has at "
                f"least {_NEURONS_BESIDE} neurons more than outputs. Raise ncp_units, or lower width."
            )

    def _num_outputs(self, num_tokens: int) -> int:
        return self.num_features * (num_tokens + 1 if self.kind == "ncp_single_step" else 1)

    @model_validator(mode="after")
    def _check_transformer(self) -> Self:
        if self.kind == "transformer" and self.num_features % self.heads:
            raise ValueError(
                f"width = {self.num_features} with heads = {self.heads}; each head has the same part of the width. "
                "Choose a width that is a multiple of heads"
            )
        if self.attention == "block_causal" and self.frames == "autoregressive":
            raise ValueError(
                "attention = block_causal with frames = autoregressive; a token would see the one that it foretells. "
                "Choose frames = parallel, or attention = causal"
            )
        if self.dropped_blocks >= self.max_blocks:
            raise ValueError(
                f"dropped_blocks = {self.dropped_blocks} of max_blocks = {self.max_blocks}; the newest frame has to "
                "stay. Lower dropped_blocks"
            )
        return self

    @model_validator(mode="after")
    def _check_trained(self) -> Self:
        if not isinstance(self.frozen, bool) and self.frozen > self.num_layers:
            raise ValueError(
                f"frozen = {self.frozen} says how many of the last blocks are trained, and there are "
                f"{self.num_layers}. Lower it, or choose false"
            )
        return self

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        chosen = {name for name in _OF_TRANSFORMERS if getattr(self, name) != type(self).model_fields[name].default}
        if self.kind != "transformer" and chosen:
            raise ValueError(
                f"{', '.join(sorted(chosen))} with kind = {self.kind}; only a transformer has that. "
                "Leave it as it is, or choose kind = transformer"
            )
        return self


_OF_TRANSFORMERS = ("attention", "frames", "frame_channels", "pretrained", "frozen", "pre_layer", "post_layer")
"""What an NCP would ignore, though it changes what is learned."""
