"""MuZero's section of an experiment. Options keep the names of upstream (model-based-rl), and its defaults.

README.md in this folder maps every upstream option to its field, here or in another section.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rlsys.config import Section
from rlsys.config.quantities import (
    Atom,
    Count,
    Flag,
    Items,
    Norm,
    Number,
    Probability,
    Rate,
    Repeats,
    Steps,
    Temperature,
    Weight,
)


class MuZeroConfig(Section):
    """Options of networks, search, self-play, replay and training. Defaults are upstream's unless said otherwise."""

    architecture: Literal["FCNetwork", "MuZeroNetwork", "TinyNetwork", "EfficientZeroNetwork"] = "FCNetwork"
    """Networks: FCNetwork flattens observations; the others need images, such as 96×96 pixels."""
    num_channels: Annotated[Count, Field(ge=4, le=1_024, multiple_of=4)] = 64
    """Channels of EfficientZeroNetwork's states. Not upstream's."""
    num_action_channels: Annotated[Steps, Field(le=1_024)] = 0
    """Channels into which EfficientZeroNetwork embeds an action (EfficientZero V2 has 16); 0: an action is its own
    plane. Not upstream's."""
    value_support: tuple[Atom, Atom] = (-15, 15)
    """First and last atom of the value, after the target transform: ±15 there is about ±247 in returns."""
    reward_support: tuple[Atom, Atom] = (-15, 15)
    """First and last atom of the reward, after the target transform."""
    no_support: Flag = False
    """Predict values and rewards as numbers rather than distributions; scalar_loss trains them."""
    no_target_transform: Flag = False
    """Leave out the transform h(x) that squashes values and rewards."""

    search: Literal["puct", "gumbel"] = "puct"
    """Tree search: puct (Schrittwieser et al. 2020) or gumbel (Danihelka et al. 2022). Not upstream's: it has puct."""
    num_simulations: Annotated[Count, Field(le=100_000)] = 30
    """Simulations per decision; the root's own evaluation is not counted."""
    root_dirichlet_alpha: Weight = Field(0.25, gt=0.0)
    """Concentration of the Dirichlet noise at the root, while exploring (puct)."""
    root_exploration_fraction: Probability = 0.25
    """Share of that noise in the root's prior."""
    pb_c_base: Norm = 19_652.0
    """Visits at which the weight of the prior begins to grow (puct)."""
    pb_c_init: Weight = 1.25
    """Weight of the prior against the value (puct)."""
    init_value_score: Annotated[Number, Field(ge=-1e6, le=1e6)] = 0.0
    """Value of a child without a visit, on the normalised scale from 0 to 1 (puct)."""
    max_num_considered_actions: Count = 16
    """Actions of the root among which simulations are shared out (gumbel); source: mctx."""
    c_visit: Norm = 50.0
    """Visits that are added to those of the most visited action where values are weighed against logits (gumbel)."""
    c_scale: Weight = 0.1
    """Weight of values against logits (gumbel): 0.1 in Atari's games, 1 on boards."""
    players: Literal[1, 2] = 1
    """Who decides: one player, or two by turns, each against the other, as in `openspiel/connect_four`. Not upstream's:
    it has one."""
    visit_softmax_temperatures: tuple[Temperature, ...] = (1.0, 0.5, 0.25)
    """Temperatures of the choice among visited actions, one after the other in the course of training."""
    visit_softmax_steps: tuple[Steps, ...] = (15_000, 30_000)
    """Last learner step of each of those temperatures but the last, increasing."""
    fixed_temperatures: tuple[Temperature, ...] = ()
    """Instead: environment i always plays with temperature i modulo their number. 0 is greedy."""
    sampled_actions: Count | None = None
    """Actions that a search branches to in each node, drawn by the policy (Hubert et al. 2021), where there are too
    many to try them all: needed for actions that are numbers (Box). None: all discrete actions. Not upstream's."""
    action_bins: Annotated[Count, Field(ge=2)] = 7
    """Values, at equal distances from bound to bound, of each number of an action (Box)."""
    sampling_temperature: Temperature = Field(1.0, gt=0.0)
    """Temperature of those draws; above 1 they bring more of what the policy finds unlikely. Priors make up for it."""
    use_q_max: Flag = False
    """Bootstrap from the best action's value at the root instead of the mean over visits."""
    max_history_length: Count = 500
    """Decisions after which an unfinished episode's segment goes to replay."""
    acting_precision: Literal["fp32", "bf16"] = "fp32"
    """Numbers in the networks while acting; bf16 where the device multiplies it, else fp32. Not upstream's."""

    reanalyse_fraction: Probability = 0.0
    """Share of all searches that begin at stored decisions, whose targets they make anew with the newest weights
    (Reanalyze, Schrittwieser et al. 2020, appendix H, Unplugged 2021). Not upstream's: it has none."""

    window_size: Items = 100_000
    """Decisions kept in replay."""
    window_step: Items | None = None
    """Decisions by which the window grows each time it has been filled once, from this size on; none: no growth."""
    epsilon: Weight = Field(0.01, gt=0.0)
    """Added to the error of a value before it becomes a priority."""
    alpha: Annotated[Weight, Field(le=10.0)] = 1.0
    """Exponent of the priority: 0 samples uniformly."""
    beta: Probability = 1.0
    """Exponent of the correction for the sampling bias, at first; 1 corrects it fully."""
    beta_increment_per_sampling: Probability = 0.001
    """Growth of beta per learner step, up to 1."""

    batch_size: Count = 256
    """Windows per update, over all learner ranks."""
    num_unroll_steps: Repeats = 5
    """Steps K that the model is unrolled in training."""
    td_steps: Count = 10
    """Rewards n in a value target before it bootstraps."""
    auto_td_steps: Annotated[Items, Field(ge=1)] | None = None
    """Decisions by which a window has to age for its returns to have one reward less, down to one, since they were
    earned by an older policy (EfficientZero has 30,000); none: all have td_steps. Not upstream's."""
    mixed_value_after: Steps | None = None
    """Updates after which values of all but the newest windows are those of the searches from each of their rows
    (EfficientZero V2 has 30,000 to 40,000); none: never. Not upstream's."""
    mixed_value_newest: Items = 5_000
    """Decisions, the newest, whose windows keep their returns then (V2: mixed_value_threshold, 5,000 to 20,000)."""
    discount: Probability = Field(0.997, gt=0.0)
    """Discount per decision."""
    stored_before_train: Items = 50_000
    """Decisions in replay before the first update."""
    sampling_ratio: Annotated[Weight, Field(gt=0.0)] | None = None
    """Samples per insert: windows per decision stored, held by slowing down whoever is ahead; none: both run free."""
    scalar_loss: Literal["MSE", "Huber"] = "MSE"
    """Loss of value and reward under no_support."""
    value_loss_weight: Weight = 1.0
    """Weight of the value loss; the later papers have 0.25."""
    consistency_weight: Weight = 0.0
    """Weight of the loss that draws imagined states to what their observations are represented by (EfficientZero has
    2); 0 has none. Not upstream's."""
    value_prefix: Count | None = None
    """Imagined steps of a window within which the sum of rewards is foretold, by an LSTM that begins anew with each
    (EfficientZero has 5), and of which a search takes differences; none: the reward of each step. Not upstream's."""
    chance_codes: Annotated[Count, Field(ge=2)] | None = None
    """Things that chance can do after an action (Stochastic MuZero has 32 in 2048 and backgammon): a search takes
    actions and these codes by turns, and what they stand for is learned. None: what happens depends on actions alone,
    as upstream."""
    augmentation: tuple[Literal["shift", "intensity"], ...] = ()
    """How pictures to learn from are changed: moved by up to 4 pixels, or brighter and darker (EfficientZero has both).
    Not upstream's."""
    clip_grad: Norm | None = None
    """Largest norm of the gradient; none: not clipped."""
    optimizer: Literal["SGD", "RMSprop", "Adam", "AdamW"] = "AdamW"
    """Optimizer. Adam and AdamW have eps = 1.5e-4, RMSprop 0.01."""
    momentum: Probability = Field(0.9, lt=1.0)
    """Momentum of SGD and RMSprop."""
    weight_decay: Rate = 1e-4
    """Weight decay."""
    lr_init: Rate = Field(8e-4, gt=0.0)
    """Learning rate at the beginning."""
    lr_scheduler: Literal["none", "ExponentialLR", "MuZeroLR", "WarmUpLR"] = "none"
    """MuZeroLR decays smoothly, ExponentialLR once every lr_decay_steps, WarmUpLR rises for lr_warmup_steps."""
    lr_decay_rate: Rate = Field(0.01, gt=0.0)
    """Factor of the learning rate after lr_decay_steps."""
    lr_decay_steps: Steps = Field(100_000, ge=1)
    """Learner steps until that factor is reached."""
    lr_warmup_steps: Steps = Field(5_000, ge=1)
    """Learner steps over which WarmUpLR rises to lr_init; the first two are made with its first step above 0."""
    learning_precision: Literal["fp32", "bf16"] = "fp32"
    """Numbers in products while learning, likewise; weights and the optimizer stay fp32. Not upstream's."""

    eval_temperature: Temperature = 0.0
    """Evaluation: temperature of the choice of actions; 0 is greedy."""
    only_prior: Flag = False
    """Evaluation: act by the policy network, without a search."""
    only_value: Flag = False
    """Evaluation: act by reward + discount × value of each action, without a search."""
    use_exploration_noise: Flag = False
    """Evaluation: noise at the root as while exploring."""
    apply_mcts_steps: Repeats = 1
    """Evaluation: actions taken from one search, down its tree, before the next."""

    @property
    def signed_discount(self) -> float:
        """Discount of what is seen a decision later: where two play by turns, by whoever loses what the other wins."""
        return self.discount if self.players == 1 else -self.discount

    @model_validator(mode="after")
    def _check_supports(self) -> Self:
        for name in ("value_support", "reward_support"):
            low, high = getattr(self, name)
            if low >= high:
                raise ValueError(f"{name} = [{low}, {high}]; the first atom must be below the last. Swap or widen them")
        return self

    @model_validator(mode="after")
    def _check_prefix(self) -> Self:
        if self.value_prefix is not None and self.value_prefix > self.num_unroll_steps:
            raise ValueError(
                f"value_prefix = {self.value_prefix} is larger than num_unroll_steps = {self.num_unroll_steps}; a "
                "search would go on where nothing was learned of a window. Lower the first or raise the second"
            )
        return self

    @model_validator(mode="after")
    def _check_chance(self) -> Self:
        if self.chance_codes is None:
            return self
        for name in ("sampled_actions", "value_prefix", "players", "apply_mcts_steps"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} = {getattr(self, name)} with chance_codes = {self.chance_codes}; with chance, one player "
                    "decides, by a search from each observation among all actions, and each reward is foretold. Leave "
                    "one of the two out"
                )
        return self

    @model_validator(mode="after")
    def _check_window(self) -> Self:
        if self.window_size < self.stored_before_train:
            raise ValueError(
                f"window_size = {self.window_size} is smaller than stored_before_train = {self.stored_before_train}; "
                "the learner would wait for ever. Raise the first or lower the second"
            )
        if self.window_step is not None and self.window_step > self.window_size:
            raise ValueError(
                f"window_step = {self.window_step} is larger than window_size = {self.window_size}; the window grows "
                "from the first to the second. Lower window_step or leave it out"
            )
        if self.window_step is not None and self.window_step < self.stored_before_train:
            raise ValueError(
                f"window_step = {self.window_step} is smaller than stored_before_train = {self.stored_before_train}; "
                f"the first update would find about {self.window_step} decisions. Raise the first or lower the second"
            )
        return self

    @model_validator(mode="after")
    def _check_temperatures(self) -> Self:
        temperatures, steps = self.visit_softmax_temperatures, self.visit_softmax_steps
        if len(temperatures) != len(steps) + 1:
            raise ValueError(
                f"visit_softmax_temperatures has {len(temperatures)} entries and visit_softmax_steps {len(steps)}; "
                "there must be one step less than temperatures. Add or remove one"
            )
        if list(steps) != sorted(set(steps)):
            raise ValueError(f"visit_softmax_steps = {list(steps)}; they must increase. Sort them")
        if self.search == "gumbel" and (self.fixed_temperatures or self.eval_temperature):
            raise ValueError(
                "search = gumbel draws actions by itself, without a temperature; fixed_temperatures and "
                "eval_temperature must be left out. Set fixed_temperatures=[], or search=puct"
            )
        return self

    @model_validator(mode="after")
    def _check_evaluation(self) -> Self:
        if self.only_prior and self.only_value:
            raise ValueError("only_prior and only_value are both true; they exclude each other. Leave one out")
        if self.apply_mcts_steps > 1 and (self.only_prior or self.only_value):
            raise ValueError(
                f"apply_mcts_steps = {self.apply_mcts_steps} without a search; only a search has a tree to walk down. "
                "Leave out only_prior and only_value, or apply_mcts_steps"
            )
        return self
