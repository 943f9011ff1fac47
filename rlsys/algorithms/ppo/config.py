"""Settings of PPO; names are upstream's (tensor2tensor, `ppo_original_params` within `rlmf_base`) where it has them."""

from typing import Annotated, Literal

from pydantic import Field

from rlsys.config.quantities import (
    Count,
    Flag,
    Norm,
    Probability,
    Rate,
    Repeats,
    Steps,
    Temperature,
    Units,
    Weight,
    Workers,
)
from rlsys.nets.distributions.spaces import GaussianConfig


class PPOConfig(GaussianConfig):
    """Network, losses and optimizer."""

    policy_network: Literal["auto", "cnn_small", "cnn_nature", "mlp"] = "auto"
    """What sees the observation: two convolutions, DQN's three, or two dense layers; auto: cnn_small where that is a
    picture, or has one among its parts, else mlp."""
    hidden_size: Units = 128
    """Units of the last hidden layer, which policy and value share; of an mlp, of both layers."""
    vf_share_layers: Flag = True
    """Let policy and value share their layers (RLlib's name); else each has its own."""
    logits_clip: Weight = 0.0
    """Clamp logits to ± this; 0 leaves them."""

    use_epochs: Flag = False
    """Tell the network by an embedding in which epoch of a simulation it learns, or that it acts for real (SimPLe)."""

    num_environments: Workers = 16
    """Environments that all rollout workers share equally, so that an iteration is as large on every machine: it has
    num_environments × unrolls × epoch_length rows (upstream: batch_size)."""
    unrolls: Repeats = 1
    """Unrolls of each environment in an iteration (upstream: effective_num_agents, of one environment)."""
    epoch_length: Count = Field(50, ge=2)
    """Rows of an unroll: the steps that each environment makes in an iteration."""
    optimization_epochs: Repeats = 3
    """How often an iteration's rows are learned from."""
    optimization_batch_size: Count = 20
    """Time steps per minibatch, each with the rows of all unrolls."""

    gae_gamma: Probability = 0.99
    """Discount γ."""
    gae_lambda: Probability = 0.95
    """λ of the generalized advantage estimate."""
    clipping_coef: Weight = Field(0.1, gt=0.0)
    """How far the probability ratio counts, as |ratio - 1|."""
    value_loss_coef: Weight = 1.0
    """Weight of the squared error of the values."""
    value_clipping_coef: Weight = 0.0
    """How far a value may move from that of the acting policy before its loss stops falling; 0: any way."""
    entropy_loss_coef: Weight = 0.01
    """Weight of the entropy."""

    normalize_observations: Flag = False
    """Give the network what are numbers in units of their mean and deviation so far, clamped to 10 deviations."""
    normalize_returns: Flag = False
    """Learn values in units of the returns' mean and deviation so far."""

    learning_rate: Rate = Field(2.5e-4, gt=0.0)
    """Of Adam with β = (0.85, 0.997), ε = 1e-6 (upstream: learning_rate_constant)."""
    anneal_over: Annotated[Steps, Field(ge=1)] | None = None
    """Iterations over which the learning rate falls to 0, linearly; none keeps it, as upstream."""
    clip_grad_norm: Norm = 0.5
    """Largest norm of the whole gradient."""
    weight_decay: Rate = 0.0
    """Of Adam, decoupled."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Numbers in the networks' products while learning, where the device multiplies bf16; weights stay fp32."""
    acting_precision: Literal["fp32", "bf16"] = "fp32"
    """The same while acting."""
    eval_temperature: Temperature = 0.0
    """Evaluation: temperature of the choice of actions; 0 is greedy, 1 what was learned with."""
