"""IRIS's section of an experiment; upstream's keys stand in brackets (IRIS, and the thesis's fork of it).

Defaults are upstream's, Micheli et al. 2023, appendix A, https://arxiv.org/abs/2209.00588: 600 epochs, in the first 500
of which 200 decisions are made: Atari 100k. README.md in this folder maps every key to its field.
"""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from rlsys.algorithms.iris.tokenizer.config import TokenizerConfig
from rlsys.algorithms.iris.world_models.config import WorldModelConfig
from rlsys.config import Section
from rlsys.config.location import Location
from rlsys.config.quantities import (
    Count,
    Flag,
    HeldOutEvery,
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


def _some(weights: tuple[float, ...]) -> tuple[float, ...]:
    """Refuses weights by which nothing would be drawn."""
    if weights and not any(weights):
        raise ValueError("one of them has to be above 0; without any, all episodes are as likely")
    return weights


class Training(Section):
    """How one component learns in each epoch."""

    steps_per_epoch: Annotated[Steps, Field(ge=1)] = 200
    """Updates per epoch (training.*.steps_per_epoch)."""
    start_after_epochs: Steps = 0
    """Epochs without any at the beginning (training.*.start_after_epochs)."""
    batch_size: Count = 64
    """Windows of episodes at once, over all learners (training.*.batch_num_samples)."""
    gradient_accumulation: Repeats = 1
    """Batches whose gradients make an update (training.*.grad_acc_steps)."""
    learning_rate: Annotated[Rate, Field(gt=0.0)] = 1e-4
    """Of Adam (training.learning_rate)."""
    gradient_clipping: Norm = 10.0
    """Largest norm of the gradient (training.*.max_grad_norm)."""


class TokenizerTraining(Training):
    """How the tokenizer learns, from single frames."""

    start_after_epochs: Steps = 5
    """Epochs without any at the beginning (training.tokenizer.start_after_epochs)."""
    batch_size: Count = 256
    """Frames at once, over all learners (training.tokenizer.batch_num_samples)."""


class WorldModelTraining(Training):
    """How the world model learns, from windows of episodes."""

    start_after_epochs: Steps = 25
    """Epochs without any at the beginning (training.world_model.start_after_epochs)."""
    length: Annotated[Repeats, Field(ge=2)] = 20
    """Frames of a window, each with its action (common.sequence_length)."""
    prioritized: Probability = 0.0
    """Share of a batch's windows that begin at rows as likely as the loss of the last window that began there, what is
    new first (Cohen et al. 2025, https://arxiv.org/abs/2502.11537); the others are drawn by age_weights."""
    weight_decay: Weight = 0.01
    """Of a transformer's dense layers: decoupled, as AdamW's (training.world_model.weight_decay)."""


class ActorCriticTraining(Training):
    """How the actor-critic learns, in imagination alone."""

    start_after_epochs: Steps = 50
    """Epochs without any at the beginning (training.actor_critic.start_after_epochs)."""


class ActorCriticConfig(Section):
    """What acts: its network, what it sees, and how it is taught in imagination."""

    channels: Annotated[tuple[Units, ...], Field(min_length=1, max_length=8)] = (32, 32, 64, 64)
    """Of convolutions, each of which is followed by a pooling that halves height and width."""
    units: Units = 512
    """Of the LSTM."""
    use_original_frames: Flag = False
    """In real environments, see frames as they are, and not as their tokens tell them (use_original_obs)."""
    horizon: Annotated[Repeats, Field(ge=2)] = 20
    """Frames that are imagined in an episode, the real one that it begins with counted (imagine_horizon)."""
    burn_in: Annotated[int, Field(ge=0, le=1_000)] = 20
    """Real frames before that one which the LSTM has seen then (burn_in)."""
    gamma: Probability = 0.995
    """Discount per decision (gamma)."""
    lambda_: Probability = 0.95
    """Mixes returns of all lengths into those that values and advantages are measured by (lambda_)."""
    entropy_weight: Weight = 0.001
    """Of the policy's entropy (entropy_weight)."""
    values: Literal["scalar", "two_hot"] = "scalar"
    """What is said of a value: the number, or a distribution on a logarithmic scale (Hafner et al. 2023)."""


class IrisConfig(Section):
    """The loop: collect, then train tokenizer, world model and actor-critic, and again."""

    epochs: Count = 600
    """How often all that is done (common.epochs)."""
    collect_epochs: Count = 500
    """Epochs that collect; in those after them nothing new is seen (collection.train.stop_after_epochs)."""
    rows_per_epoch: Count = 200
    """Decisions in real environments per epoch (collection.train.config.num_steps)."""
    environments: Workers = 1
    """Real environments that all rollout workers share equally (collection.train.num_envs)."""
    epsilon: Probability = 0.01
    """While collecting: how often an action is a uniformly random one (collection.train.config.epsilon)."""
    temperature: Temperature = 1.0
    """While collecting: of the choice of actions (collection.train.config.temperature)."""
    eval_temperature: Temperature = 0.5
    """Evaluation: the same; 0 is greedy (collection.test.config.temperature)."""

    age_weights: Annotated[tuple[Probability, ...], Field(max_length=16), AfterValidator(_some)] = (
        0.125,
        0.125,
        0.25,
        0.5,
    )
    """How likely equal shares of the episodes are to be learned from, the oldest first; none: all are as likely
    (training.sampling_weights)."""
    returns_gamma: Probability = 0.99
    """Discount of what the tokenizer's critic foretells (training.returns_gamma)."""
    returns_rows: Count = 200
    """Decisions whose rewards count there; later ones do not (ignore_last_of_incomplete)."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Numbers in products of tokenizer and actor-critic, where the device multiplies bf16 natively."""

    held_out_every: HeldOutEvery = 20
    """Of each environment's episodes one in so many is not learned from, its second first; 0 learns from all."""
    compare_every: Steps = 5
    """Epochs after which losses of such episodes are computed, and what the world model foretells is compared with what
    happened there, and filmed; 0 never does (evaluation.every)."""
    context: Repeats = 4
    """The most rows of real history that play and films begin the world model from; training begins from one."""

    load_tokenizer_from: Location | None = None
    """Run or checkpoint, by name or URI, whose tokenizer this one begins as (initialization.load_tokenizer)."""
    load_world_model_from: Location | None = None
    """The same for the world model (initialization.load_world_model)."""
    load_actor_critic_from: Location | None = None
    """Run, checkpoint or export, for the actor-critic (initialization.load_actor_critic)."""

    tokenizer: TokenizerConfig = TokenizerConfig()
    tokenizer_training: TokenizerTraining = TokenizerTraining()
    world_model: WorldModelConfig = WorldModelConfig()
    world_model_training: WorldModelTraining = WorldModelTraining()
    actor_critic: ActorCriticConfig = ActorCriticConfig()
    actor_critic_training: ActorCriticTraining = ActorCriticTraining()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.collect_epochs > self.epochs:
            raise ValueError(f"collect_epochs = {self.collect_epochs} of epochs = {self.epochs}. Lower collect_epochs")
        if not self.tokenizer.train and self.tokenizer.initial is None and self.load_tokenizer_from is None:
            raise ValueError(
                "tokenizer.train = false without tokenizer.initial or load_tokenizer_from; tokens of random weights "
                "say nothing. Name a pretrained tokenizer, or set tokenizer.train=true"
            )
        if self.tokenizer.deltas and self.world_model.kind != "transformer":
            raise ValueError(
                f"tokenizer.deltas = true with world_model.kind = {self.world_model.kind}, which does not see frames. "
                "Choose world_model.kind=transformer, or tokenizer.deltas=false"
            )
        if self.tokenizer.deltas and not self.actor_critic.use_original_frames:
            raise ValueError(
                "tokenizer.deltas = true with actor_critic.use_original_frames = false; deltas show no frame without "
                "the one before it. Set actor_critic.use_original_frames=true, or tokenizer.deltas=false"
            )
        return self
