"""Settings of PPO; names are upstream's (tensor2tensor, `ppo_original_params` within `rlmf_base`) where it has them."""

from typing import Literal

from pydantic import Field

from rlsys.config import Section


class PPOConfig(Section):
    """Network, losses and optimizer."""

    policy_network: Literal["auto", "cnn_small", "cnn_nature", "mlp"] = "auto"
    """What sees the observation: two convolutions, DQN's three, or two dense layers; auto: cnn_small where that is a
    picture, else mlp."""
    hidden_size: int = Field(128, ge=1)
    """Units of the last hidden layer, which policy and value share; of an mlp, of both layers."""
    logits_clip: float = Field(0.0, ge=0.0)
    """Clamp logits to ± this; 0 leaves them."""

    use_epochs: bool = False
    """Tell the network by an embedding in which epoch of a simulation it learns, or that it acts for real (SimPLe)."""

    num_environments: int = Field(16, ge=1)
    """Environments that all rollout workers share equally, so that an iteration is as large on every machine: it has
    num_environments × unrolls × epoch_length rows (upstream: batch_size)."""
    unrolls: int = Field(1, ge=1)
    """Unrolls of each environment in an iteration (upstream: effective_num_agents, of one environment)."""
    epoch_length: int = Field(50, ge=2)
    """Rows of an unroll: the steps that each environment makes in an iteration."""
    optimization_epochs: int = Field(3, ge=1)
    """How often an iteration's rows are learned from."""
    optimization_batch_size: int = Field(20, ge=1)
    """Time steps per minibatch, each with the rows of all unrolls."""

    gae_gamma: float = Field(0.99, ge=0.0, le=1.0)
    """Discount γ."""
    gae_lambda: float = Field(0.95, ge=0.0, le=1.0)
    """λ of the generalized advantage estimate."""
    clipping_coef: float = Field(0.1, gt=0.0)
    """How far the probability ratio counts, as |ratio - 1|."""
    value_loss_coef: float = Field(1.0, ge=0.0)
    """Weight of the squared error of the values."""
    entropy_loss_coef: float = Field(0.01, ge=0.0)
    """Weight of the entropy."""

    learning_rate: float = Field(2.5e-4, gt=0.0)
    """Of Adam with β = (0.85, 0.997), ε = 1e-6 (upstream: learning_rate_constant)."""
    anneal_over: int | None = Field(None, ge=1)
    """Iterations over which the learning rate falls to 0, linearly; none keeps it, as upstream."""
    clip_grad_norm: float = Field(0.5, gt=0.0)
    """Largest norm of the whole gradient."""
    weight_decay: float = Field(0.0, ge=0.0)
    """Of Adam, decoupled."""

    precision: Literal["fp32", "bf16"] = "fp32"
    """Numbers in the networks' products while learning, where the device multiplies bf16; weights stay fp32."""
    acting_precision: Literal["fp32", "bf16"] = "fp32"
    """The same while acting."""
    eval_temperature: float = Field(0.0, ge=0.0)
    """Evaluation: temperature of the choice of actions; 0 is greedy, 1 what was learned with."""
