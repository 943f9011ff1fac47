"""Settings of the dreamer."""

from pydantic import Field

from rlsys.config.quantities import Count, Items, Norm, Number, Probability, Rate, Repeats, Temperature, Units, Weight
from rlsys.nets.distributions.spaces import GaussianConfig


class DreamerConfig(GaussianConfig):
    """Networks, replay and losses."""

    units: Units = 64
    """Of the world model's memory, and of the policy's hidden layer."""
    batch_size: Count = 32
    """Windows per update, over all learners; one dream begins where each of them ends."""
    length: Count = Field(16, ge=2)
    """Rows of a window, over which the model is unrolled."""
    horizon: Repeats = 10
    """Steps of a dream."""
    context: Repeats = 16
    """The most rows of real history that play and planner begin the model from."""
    discount: Probability = 0.95
    """Per decision."""
    entropy_weight: Weight = 1e-3
    """Weight of the entropy."""
    learning_rate: Rate = Field(1e-3, gt=0.0)
    """Of both networks, by Adam."""
    clip_grad_norm: Norm = 10.0
    """Largest norm of each network's gradient."""

    window_size: Items = 100_000
    """Decisions kept in replay."""
    stored_before_train: Items = 1_000
    """Decisions in replay before the first update."""
    samples_per_insert: Number | None = 8.0
    """Windows learned from per decision stored; none: both run free."""
    eval_temperature: Temperature = 0.0
    """Evaluation: temperature of the choice of actions; 0 is greedy."""
