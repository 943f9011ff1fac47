"""PlaNet's section of an experiment. Names are upstream's, and defaults those of its second release ("camera ready").

README.md in this folder maps every parameter of upstream and of its fork to its field, here or in another section.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from rlsys.config import Section
from rlsys.config.quantities import (
    Count,
    Flag,
    HeldOutEvery,
    Items,
    Layers,
    Norm,
    Number,
    Probability,
    Rate,
    Repeats,
    Steps,
    Units,
    Weight,
)
from rlsys.planning.settings import PlannerConfig


def _listed(value: Any) -> Any:
    """Takes one number for a list of it."""
    return (value,) if isinstance(value, int | float) and not isinstance(value, bool) else value


OneOrMore = Annotated[tuple[Units, ...], BeforeValidator(_listed), Field(min_length=1, max_length=8)]
"""A number, or one for each of several cells."""


class PlanetConfig(Section):
    """The model, its losses, what it learns from, and how it is planned in."""

    model: Literal["rssm", "ssm", "rssm_ma"] = "rssm"
    """Transition model: rssm (Hafner et al. 2019, section 3); ssm, purely stochastic; or rssm_ma, two RSSMs of which
    one moves slowly (the fork's moving-average RSSM)."""
    model_size: OneOrMore = (200,)
    """Units of the belief that is remembered, and of the hidden layers around it; of each cell where cw_tau has
    several, or of all."""
    state_size: OneOrMore = (30,)
    """Numbers of the stochastic state, likewise."""
    cw_tau: OneOrMore = (1,)
    """Frames from one tick of each cell to the next, 1 of the first; several, as [1, 4], make a clockwork."""
    cw_action: Literal["last", "mean", "concat"] = "concat"
    """What a cell that ticks seldom is told of the actions in between: the last one (the fork), their mean, or all."""
    cell_as_prior: Weight = 0.0
    """Weight of the divergence of each cell's posterior from that of the next slower cell (the fork: 0.1)."""
    tap_cell: Literal["rssm"] | None = None
    """A second cell that foretells the likeliest of the frames to come (the fork's time-agnostic losses)."""
    tap_horizon: Repeats = 12
    """Frames ahead that it may foretell."""
    tap_scale: Weight = 1.0
    """How much less, in deviations of all candidates' rewards, planning counts what it did not foretell; 0: nothing."""
    ma_ppn: Probability = 0.25
    """rssm_ma: share of states and units that are the slow cell's."""
    ma_alpha: Probability = 0.25
    """rssm_ma: share of the slow cell's state that is new with each step."""
    future_rnn: Flag = True
    """The prior sees the belief of its own moment; false: only what goes into that, as upstream's first release."""
    mean_only: Flag = False
    """States are their means: nothing is drawn (upstream's purely deterministic model)."""
    min_stddev: Annotated[Number, Field(gt=0.0, le=10.0)] = 0.1
    """Smallest deviation of a state."""
    image_depth: Units = 32
    """Channels of the encoder's first convolution; each one after it has twice as many."""
    image_bits: Annotated[int, Field(ge=1, le=8)] = 5
    """Bits to which pictures are quantised; noise fills the steps between."""
    normalize_pictures: Flag = False
    """Networks see and draw how pictures differ from their running mean, in units of that; what is small, as a pole of
    a pixel's width, is learned several times sooner."""
    head_layers: Layers = 3
    """Hidden layers of what foretells rewards, values and other parts of observations (first release: 2)."""
    head_units: Units = 300
    """Units of those (first release: 100)."""

    image_loss_scale: Weight = 1.0
    """Weight of what is seen, summed over pixels."""
    reward_scale: Weight = 10.0
    """Weight of rewards."""
    divergence_scale: Weight = 1.0
    """Weight of the divergence of the posterior from the prior."""
    global_divergence_scale: Weight = 0.0
    """Weight of the posterior's divergence from a standard normal distribution (first release: 0.1)."""
    free_nats: Weight = 3.0
    """Divergence per frame that costs nothing more (first release: 2)."""
    overshooting: Annotated[int, Field(ge=0, le=1_000)] = 0
    """Latent overshooting: steps ahead that the prior is trained for; 0 or 1 for none (first release: length - 1)."""
    overshooting_reward_scale: Weight = 0.0
    """Weight of the rewards that are foretold there (first release: 100)."""

    batch_size: Count = 50
    """Windows per update, over all learners."""
    length: Annotated[Count, Field(ge=2)] = 50
    """Frames of a window."""
    learning_rate: Annotated[Rate, Field(gt=0.0)] = 1e-3
    """Of Adam."""
    learning_rate_ramp: Steps = 0
    """Updates in which the learning rate grows from 0 (first release: 10,000 windows)."""
    learning_rate_half_life: Steps = 0
    """Updates in which the learning rate falls by half, again and again; 0: it stays."""
    adam_epsilon: Annotated[Number, Field(gt=0.0, le=1.0)] = 1e-4
    """Of Adam, after the root."""
    gradient_clipping: Norm = 1000.0
    """Largest norm of the gradient."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Numbers in products of encoder, decoder and heads, and in those of an RSSM that is planned in on a CPU, where the
    device multiplies bf16 natively."""
    compiles: Literal["auto", "yes", "no"] = "auto"
    """torch.compile for the model; auto: on GPUs."""
    discount: Probability = 0.99
    """Of values, per decision."""
    value_lambda: Probability = 0.95
    """Mixes returns of all lengths into the targets of values."""

    window_size: Items = 1_000_000
    """Decisions kept in replay."""
    stored_before_train: Items = 1_250
    """Decisions in replay before the first update: upstream's seed episodes, in which all that is done is random."""
    samples_per_insert: Annotated[Number, Field(gt=0.0)] | None = 1_000.0
    """Frames learned from per decision stored; none: both run free. Upstream's 100 updates per episode of 1,000 / r
    decisions are 250 r; 1e9 collects 100 decisions more than the seed episodes, its random data set."""

    exploration_noise: Annotated[Number, Field(ge=0.0, le=10.0)] = 0.3
    """While collecting: deviation of noise on actions that are numbers, in halves of their range; of discrete ones how
    often one is random instead (the fork: 0.1)."""
    exploration_ramp: Steps = 0
    """Updates in which that grows from 0."""
    planner: PlannerConfig = PlannerConfig(discount=1.0)
    """How a decision is looked for in the model."""
    bootstraps: Flag = False
    """What a plan is worth includes the value of where it ends."""
    held_out_every: HeldOutEvery = 20
    """Of each environment's episodes one in so many is not learned from, its second first; 0 learns from all."""
    compare_every: Steps = 500
    """Updates after which losses of such episodes are computed, and dreams from five known frames compared with what
    happened there, and filmed; 0 never does."""
    context: Repeats = 50
    """The most rows of real history that play, planner and films begin the model from."""

    @property
    def cells(self) -> tuple[tuple[int, int, int], ...]:
        """Units, numbers of the state and frames between ticks of each cell; the lists fit (`requirements.check`)."""
        count = len(self.cw_tau)
        sizes = (listed * count if len(listed) == 1 else listed for listed in (self.model_size, self.state_size))
        return tuple(zip(*sizes, self.cw_tau, strict=True))
