"""Settings of IMPALA and R2AC; names are upstream's (rtrl-elstm, torchbeast) where upstream has them."""

from typing import Annotated, Literal

from pydantic import Field

from rlsys.config.location import Location
from rlsys.config.quantities import (
    Count,
    Flag,
    Layers,
    Norm,
    Number,
    Probability,
    Rate,
    Repeats,
    Steps,
    Temperature,
    Units,
    Weight,
)
from rlsys.nets.distributions.spaces import GaussianConfig


class ImpalaConfig(GaussianConfig):
    """Networks, losses and optimizer of one V-trace learner."""

    network: Literal["feedforward", "lstm", "elstm", "rtu", "linear_rtu"] = "feedforward"
    """Core between stem and heads (upstream: none, --use_lstm, --use_quasi_lstm or --use_rtrl)."""
    gradient: Literal["tbptt", "rtrl"] = "tbptt"
    """How a core learns over time: truncated to the unroll, or exactly, by real-time recurrent learning."""
    sensitivities: Literal["learner", "actor"] = "learner"
    """Who keeps what rtrl knows of the past: the learner, or, as upstream, actors, which pay for it at every step."""
    stem: Literal["auto", "deep", "nature", "mlp", "none"] = "auto"
    """What sees the observation: IMPALA's ResNet, DQN's three layers, two dense ones, or nothing; auto: deep or mlp.
    Where an observation has parts, pictures among them are seen so, and a dense layer joins what is seen of all."""
    hidden_size: Units = 256
    """Units of the core (DMLab: 512); each of an rtu is a pair of numbers."""
    num_layers: Layers = Field(1, ge=1)
    """Layers of an elstm or rtu core; upstream has one."""
    fc_size: Units = 256
    """Outputs of the stem."""
    conv_scale: Annotated[Repeats, Field(le=64)] = 1
    """Factor on the deep stem's channels (ProcGen)."""
    forget_bias: Annotated[Number, Field(ge=-1e6, le=1e6)] = 0.0
    """Added to the initial bias of an elstm's forget gate."""

    batch_size: Count = 32
    """Unrolls per update."""
    unroll_length: Count = 50
    """Rows of an unroll (upstream: 100 for DMLab, 50 for ProcGen and Atari)."""
    max_learner_queue_size: Count | None = None
    """Unrolls that may wait for the learner, in each replay shard; none: batch_size, as upstream."""

    discounting: Probability = 0.99
    """Discount γ."""
    reward_clipping: Literal["abs_one", "none"] = "abs_one"
    """Clamp rewards to [-1, 1] in the loss. What the network sees of the last reward is always clamped."""
    normalize_observations: Flag = False
    """Give the network what are numbers in units of their mean and deviation so far, clamped to 10 deviations."""
    normalize_returns: Flag = False
    """Learn values, and weigh advantages, in units of the returns' mean and deviation so far."""
    baseline_cost: Weight = 0.5
    """Weight of the value loss."""
    entropy_cost: Weight = 0.01
    """Weight of the entropy (upstream's commands set 0.01, its default is 0.0006)."""
    rho_bar: Weight = Field(1.0, gt=0.0)
    """V-trace: cap of the importance weights of the temporal differences."""
    c_bar: Weight = Field(1.0, gt=0.0)
    """V-trace: cap of the importance weights of the trace."""
    trace_decay: Probability = 1.0
    """V-trace: λ."""

    learning_rate: Rate = Field(6e-4, gt=0.0)
    """Initial learning rate of RMSprop (upstream's commands); losses are sums over all rows of the batch."""
    total_steps: Steps = Field(100_000_000, ge=1)
    """Rows learned from over which the learning rate falls to 0, linearly."""
    alpha: Probability = Field(0.99, lt=1.0)
    """RMSprop's smoothing."""
    epsilon: Weight = Field(0.01, gt=0.0)
    """RMSprop's epsilon, added after the root."""
    momentum: Probability = Field(0.0, lt=1.0)
    """RMSprop's momentum."""
    grad_norm_clipping: Norm = 40.0
    """Largest norm of the whole gradient."""

    load_conv_net_from: Location | None = None
    """Run, or checkpoint folder, whose stem this run begins with; a resumed run keeps its own."""
    not_load_fc: Flag = False
    """Leave the stem's last, dense layer as it is initialised."""
    freeze_conv: Flag = False
    """Keep the stem's convolutions as they are loaded."""
    freeze_fc: Flag = False
    """Keep the stem's dense layer, too; with freeze_conv workers send features instead of frames."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Numbers in the networks' products while learning, where the device multiplies bf16; weights stay fp32."""
    acting_precision: Literal["fp32", "bf16"] = "fp32"
    """The same while acting."""
    eval_temperature: Temperature = 0.0
    """Evaluation: temperature of the choice of actions; 0 is greedy, 1 what was learned with."""
