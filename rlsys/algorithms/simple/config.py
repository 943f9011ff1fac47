"""Settings of SimPLe; names are upstream's (tensor2tensor) where it has them, defaults those of its README's sets.

The defaults are `rlmb_base_stochastic_discrete` with `next_frame_basic_stochastic_discrete` and `ppo_original_params`.
"""

from typing import Literal

from pydantic import Field

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.config import Section


class WorldModelConfig(Section):
    """The model of the next frame: its network, its losses and its optimizer."""

    generative_model: Literal["deterministic", "stochastic_discrete"] = "stochastic_discrete"
    """One next frame from the last four, or one for each code of bits, from the last frame and a recurrent state."""
    target_frames: int = Field(6, ge=1)
    """Frames predicted in a training clip, after the 4 that are given (upstream: video_num_target_frames)."""
    hidden_size: int = Field(96, ge=1)
    """Channels at full size."""
    num_compress_steps: int = Field(6, ge=1)
    """How often height and width are halved."""
    filter_double_steps: int = Field(3, ge=0)
    """The first so many of these double the channels."""
    num_hidden_layers: int = Field(2, ge=1)
    """Convolutions at the smallest size."""
    recurrent_state_size: int = Field(64, ge=1)
    """Stochastic: channels of the recurrent state, at full size."""
    activation: Literal["relu", "belu"] = "relu"
    """belu is what upstream had at the time of the paper (1.13.1): elu, its sign turned in every other channel."""
    dropout: float = Field(0.15, ge=0.0, lt=1.0)
    """Before convolutions that change the size."""
    residual_dropout: float = Field(0.5, ge=0.0, lt=1.0)
    """Before convolutions at the smallest size."""

    discriminator_size: int = Field(128, ge=1)
    """Stochastic: channels of the first convolution that reads bits off the true next frame; the second has four times
    as many."""
    bottleneck_bits: int = Field(128, ge=8, multiple_of=8)
    """Stochastic: bits that say what will happen."""
    bottleneck_noise: float = Field(0.1, ge=0.0, le=0.5)
    """Stochastic: chance that a bit is flipped in training."""
    discretize_warmup_steps: int = Field(40_000, ge=1)
    """Stochastic: steps until all bits are rounded in training."""
    latent_rnn_warmup_steps: int = Field(40_000, ge=1)
    """Stochastic: steps over which predicted bits are mixed in more and more; within half of them examples get any."""
    latent_rnn_max_sampling: float = Field(0.5, ge=0.0, le=1.0)
    """Stochastic: share of bits, at the end of that, that are predicted ones."""
    latent_use_max_probability: float = Field(0.8, ge=0.0, le=1.0)
    """Stochastic: share of examples, in the end, that are given any bits."""
    latent_predictor_state_size: int = Field(128, ge=1)
    """Stochastic: units of the LSTM that predicts bits."""
    latent_predictor_temperature: float = Field(1.0, ge=0.0)
    """Stochastic: at which it draws them; 0 takes the likeliest."""

    batch_size: int = Field(4, ge=1)
    """Clips per update, over all learners."""
    optimizer_schedule: Literal["warmup", "warmup_rsqrt"] = "warmup"
    """The rate grows linearly over learning_rate_warmup_steps and stays, or falls as 1 / √step, scaled as upstream."""
    learning_rate: float = Field(0.002, gt=0.0)
    """Of Adafactor (upstream: learning_rate_constant)."""
    learning_rate_warmup_steps: int = Field(2_000, ge=1)
    """Steps until the learning rate is reached; that of the first is 0."""
    clip_grad_norm: float = Field(1.0, gt=0.0)
    """Largest norm of the whole gradient."""
    loss_cutoff: float = Field(0.03, ge=0.0)
    """Cross entropies below this are not learned from (upstream: video_modality_loss_cutoff)."""
    input_noise: float = Field(0.0, ge=0.0, lt=1.0)
    """Share of a training clip's pixels that are replaced by the median (upstream: video_modality_input_noise)."""
    scheduled_sampling: Literal["none", "prediction_only", "prob_inverse_lin", "prob_inverse_exp"] = "prob_inverse_lin"
    """How the model comes to see its own predictions in training: never, always, or more and more."""
    scheduled_sampling_decay_steps: int = Field(40_000, ge=1)
    """Steps until it sees nothing else; with prob_inverse_lin hardly anything of it in the first quarter."""
    scheduled_sampling_max_prob: float = Field(1.0, ge=0.0, le=1.0)
    """Share of examples, in the end, that are continued from predictions."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Numbers in the network's products, where the device multiplies bf16; weights stay fp32."""
    compile: Literal["auto", "yes", "no"] = "auto"
    """Fuse the network's kernels with torch.compile; auto: on GPUs."""


class SimpleConfig(Section):
    """The loop: collect, train the model, train the policy in it, and again."""

    epochs: int = Field(15, ge=1)
    """How often model and policy are trained; data is collected once more than that."""
    num_real_env_frames: int = Field(96_000, ge=1)
    """Decisions in real environments over all epochs; each collection, the first one too, makes 1/epochs of them."""
    stop_loop_early: bool = False
    """Leave out the last collection, from which nothing is learned."""
    version: Literal["head", "v1_13"] = "head"
    """Which epochs train longer: upstream's newest code, or that of the paper."""

    model_train_steps: int = Field(15_000, ge=0)
    """World-model updates per epoch."""
    initial_epoch_train_steps_multiplier: int = Field(3, ge=1)
    """How many times that in the first epoch (head: also in epochs 1, 4, 9 and 14)."""
    ppo_epochs_num: int = Field(1_000, ge=0)
    """PPO iterations in the world model per epoch; twice or three times as many in some, most in the last."""
    simulated_rollout_length: int = Field(50, ge=2)
    """Steps of a rollout in the world model."""
    simulated_batch_size: int = Field(16, ge=1)
    """Rollouts at once, over all learners."""
    simulation_random_starts: bool = True
    """Begin rollouts anywhere in the newest epoch's data rather than at its beginning."""
    simulation_flip_first_random_for_beginning: bool = True
    """With random starts, begin the first rollout of each batch at the beginning all the same."""
    intrinsic_reward_scale: float = Field(0.0, ge=0.0)
    """Reward in the world model for frames that it is unsure of; 0 for none."""

    learn_from_real: bool = True
    """Train the policy on what was collected, too, as upstream does; false: inside the world model only."""
    real_batch_size: int = Field(1, ge=1)
    """Real environments that all rollout workers share equally."""
    real_unrolls: int = Field(16, ge=1)
    """Unrolls of real environments in an iteration of PPO (upstream: real_ppo_effective_num_agents)."""
    real_unroll_length: int = Field(200, ge=2)
    """Rows of these (upstream: real_ppo_epoch_length is 16 · 200); with more than real_unrolls environments fewer."""

    eval_world_model: bool = True
    """Compare the world model with held-out episodes after each epoch."""
    wm_eval_batch_size: int = Field(16, ge=1)
    """Rollouts at once in that."""
    wm_eval_num_batches: int = Field(8, ge=1)
    """Batches of them."""
    wm_eval_rollout_ratios: tuple[float, ...] = (0.25, 1.0)
    """Shares of a rollout after which the rewards so far are compared."""
    load_world_from: str | None = None
    """Run or checkpoint, by name or URI, whose world model is used at the beginning."""
    eval_temperature: float = Field(0.5, ge=0.0)
    """Evaluation: temperature of the choice of actions; 0 is greedy."""

    world_model: WorldModelConfig = WorldModelConfig()
    ppo: PPOConfig = PPOConfig(learning_rate=1e-4, use_epochs=True)
