"""Settings of SimPLe; names are upstream's (tensor2tensor) where it has them, defaults those of its README's sets.

The defaults are `rlmb_base_stochastic_discrete` with `next_frame_basic_stochastic_discrete` and `ppo_original_params`.
"""

from typing import Literal

from pydantic import Field

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.config import Section
from rlsys.config.location import Location
from rlsys.config.quantities import (
    Count,
    Flag,
    Items,
    Layers,
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


class WorldModelConfig(Section):
    """The model of the next frame: its network, its losses and its optimizer."""

    generative_model: Literal["deterministic", "stochastic_discrete"] = "stochastic_discrete"
    """One next frame from the last four, or one for each code of bits, from the last frame and a recurrent state."""
    target_frames: Repeats = 6
    """Frames predicted in a training clip, after the 4 that are given (upstream: video_num_target_frames)."""
    hidden_size: Units = 96
    """Channels at full size."""
    num_compress_steps: Layers = Field(6, ge=1)
    """How often height and width are halved."""
    filter_double_steps: Layers = 3
    """The first so many of these double the channels."""
    num_hidden_layers: Layers = Field(2, ge=1)
    """Convolutions at the smallest size."""
    recurrent_state_size: Units = 64
    """Stochastic: channels of the recurrent state, at full size."""
    activation: Literal["relu", "belu"] = "relu"
    """belu is what upstream had at the time of the paper (1.13.1): elu, its sign turned in every other channel."""
    dropout: Probability = Field(0.15, lt=1.0)
    """Before convolutions that change the size."""
    residual_dropout: Probability = Field(0.5, lt=1.0)
    """Before convolutions at the smallest size."""

    discriminator_size: Units = 128
    """Stochastic: channels of the first convolution that reads bits off the true next frame; the second has four times
    as many."""
    bottleneck_bits: Units = Field(128, ge=8, multiple_of=8)
    """Stochastic: bits that say what will happen."""
    bottleneck_noise: Probability = Field(0.1, le=0.5)
    """Stochastic: chance that a bit is flipped in training."""
    discretize_warmup_steps: Steps = Field(40_000, ge=1)
    """Stochastic: steps until all bits are rounded in training."""
    latent_rnn_warmup_steps: Steps = Field(40_000, ge=1)
    """Stochastic: steps over which predicted bits are mixed in more and more; within half of them examples get any."""
    latent_rnn_max_sampling: Probability = 0.5
    """Stochastic: share of bits, at the end of that, that are predicted ones."""
    latent_use_max_probability: Probability = 0.8
    """Stochastic: share of examples, in the end, that are given any bits."""
    latent_predictor_state_size: Units = 128
    """Stochastic: units of the LSTM that predicts bits."""
    latent_predictor_temperature: Temperature = 1.0
    """Stochastic: at which it draws them; 0 takes the likeliest."""

    batch_size: Count = 4
    """Clips per update, over all learners."""
    optimizer_schedule: Literal["warmup", "warmup_rsqrt"] = "warmup"
    """The rate grows linearly over learning_rate_warmup_steps and stays, or falls as 1 / √step, scaled as upstream."""
    learning_rate: Rate = Field(0.002, gt=0.0)
    """Of Adafactor (upstream: learning_rate_constant)."""
    learning_rate_warmup_steps: Steps = Field(2_000, ge=1)
    """Steps until the learning rate is reached; that of the first is 0."""
    clip_grad_norm: Norm = 1.0
    """Largest norm of the whole gradient."""
    loss_cutoff: Weight = 0.03
    """Cross entropies below this are not learned from (upstream: video_modality_loss_cutoff)."""
    input_noise: Probability = Field(0.0, lt=1.0)
    """Share of a training clip's pixels that are replaced by the median (upstream: video_modality_input_noise)."""
    scheduled_sampling: Literal["none", "prediction_only", "prob_inverse_lin", "prob_inverse_exp"] = "prob_inverse_lin"
    """How the model comes to see its own predictions in training: never, always, or more and more."""
    scheduled_sampling_decay_steps: Steps = Field(40_000, ge=1)
    """Steps until it sees nothing else; with prob_inverse_lin hardly anything of it in the first quarter."""
    scheduled_sampling_max_prob: Probability = 1.0
    """Share of examples, in the end, that are continued from predictions."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Numbers in the network's products, where the device multiplies bf16; weights stay fp32."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """Fuse the network's kernels with torch.compile; auto: on GPUs."""


class SimpleConfig(Section):
    """The loop: collect, train the model, train the policy in it, and again."""

    epochs: Repeats = 15
    """How often model and policy are trained; data is collected once more than that."""
    num_real_env_frames: Items = 96_000
    """Decisions in real environments over all epochs; each collection, the first one too, makes 1/epochs of them."""
    stop_loop_early: Flag = False
    """Leave out the last collection, from which nothing is learned."""
    version: Literal["head", "v1_13"] = "head"
    """Which epochs train longer: upstream's newest code, or that of the paper."""

    model_train_steps: Steps = 15_000
    """World-model updates per epoch."""
    initial_epoch_train_steps_multiplier: Repeats = 3
    """How many times that in the first epoch (head: also in epochs 1, 4, 9 and 14)."""
    ppo_epochs_num: Steps = 1_000
    """PPO iterations in the world model per epoch; twice or three times as many in some, most in the last."""
    simulated_rollout_length: Count = Field(50, ge=2)
    """Steps of a rollout in the world model."""
    simulated_batch_size: Count = 16
    """Rollouts at once, over all learners."""
    simulation_random_starts: Flag = True
    """Begin rollouts anywhere in the newest epoch's data rather than at its beginning."""
    simulation_flip_first_random_for_beginning: Flag = True
    """With random starts, begin the first rollout of each batch at the beginning all the same."""
    intrinsic_reward_scale: Weight = 0.0
    """Reward in the world model for frames that it is unsure of; 0 for none."""

    learn_from_real: Flag = True
    """Train the policy on what was collected, too, as upstream does; false: inside the world model only."""
    real_batch_size: Workers = 1
    """Real environments that all rollout workers share equally."""
    real_unrolls: Repeats = 16
    """Unrolls of real environments in an iteration of PPO (upstream: real_ppo_effective_num_agents)."""
    real_unroll_length: Count = Field(200, ge=2)
    """Rows of these (upstream: real_ppo_epoch_length is 16 · 200); with more than real_unrolls environments fewer."""

    eval_world_model: Flag = True
    """Compare the world model with held-out episodes after each epoch."""
    wm_eval_batch_size: Count = 16
    """Rollouts at once in that."""
    wm_eval_num_batches: Count = 8
    """Batches of them."""
    wm_eval_rollout_ratios: tuple[Probability, ...] = (0.25, 1.0)
    """Shares of a rollout after which the rewards so far are compared."""
    load_world_from: Location | None = None
    """Run or checkpoint, by name or URI, whose world model is used at the beginning."""
    eval_temperature: Temperature = 0.5
    """Evaluation: temperature of the choice of actions; 0 is greedy."""

    world_model: WorldModelConfig = WorldModelConfig()
    ppo: PPOConfig = PPOConfig(learning_rate=1e-4, use_epochs=True)
