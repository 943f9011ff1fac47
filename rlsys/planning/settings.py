"""Settings of a planner, and which of them fits an environment's actions."""

from typing import Literal, Self

from pydantic import Field, model_validator

from rlsys.api.spaces import action_kind, actions_of
from rlsys.config import Section
from rlsys.config.quantities import Count, Flag, Probability, Rate, Repeats, Temperature
from rlsys.errors import ConfigError
from rlsys.types import EnvSpec


class PlannerConfig(Section):
    """How a sequence of actions is looked for; upstream's names (PlaNet) stand in brackets."""

    kind: Literal["cem", "icem", "mppi", "tree"] = "cem"
    """The cross-entropy method, iCEM (Pinneri et al. 2020), MPPI (Williams et al. 2017), or tree search, which needs
    discrete actions."""
    horizon: Count = 12
    """Steps that are planned (collect_horizons); of a tree, steps of the random play that values its leaves."""
    discount: Probability = 0.99
    """Of rewards a step later; upstream's later releases have 1."""
    candidates: Count = 1_000
    """Sequences that each iteration tries (cem_amount)."""
    elites: Count = 100
    """The best of them, which the next are drawn around (cem_topk)."""
    iterations: Repeats = 10
    """How often that is done (cem_iterations)."""
    warm_start: Flag = False
    """Begin from the last plan, one step later, rather than from nothing; never from that of another episode."""
    discrete_select: Literal["best", "belief"] = "best"
    """Discrete actions: do what the best sequence of the last iteration begins with, or what most elites begin with."""
    icem_select: Literal["best", "belief"] = "best"
    """icem, actions that are numbers: do what the best sequence of the last iteration begins with, as in the paper, or
    the elites' mean, which is deceived less by a model that draws its states."""
    initial_std: Rate = Field(1.0, gt=0.0)
    """Deviation that numbers within [-1, 1] are drawn with at first; iCEM's paper has 0.5."""
    initial_uniform: Probability = 0.7
    """Discrete actions, with warm_start: share of uniform draws of a plan's first iteration, the others being of the
    last plan; at 0, as upstream, what elites once agreed on is all that is ever drawn."""
    min_std: Rate = 0.05
    """mppi: deviations stay above this."""
    momentum: Probability = Field(0.1, lt=1.0)
    """icem, mppi: share of the belief that an iteration keeps."""
    temperature: Temperature = Field(2.0, ge=1e-6)
    """mppi: returns are divided by this before the softmax that weighs elites (λ of Williams et al.; TD-MPC multiplies
    by 0.5)."""
    noise_exponent: Rate = Field(1.0, le=10.0)
    """icem: how much slow changes of the actions along the horizon outweigh fast ones (β); 0 is white noise. Discrete
    actions are drawn without it. The paper has 0.25 to 4, by task."""
    candidates_decay: Rate = Field(1.25, ge=1.0)
    """icem: each iteration tries so many times fewer candidates than the last, at least twice the elites."""
    kept_elites: Probability = 0.3
    """icem: share of the elites that the next iteration tries again and, with warm_start, the next decision."""
    simulations: Count = 50
    """tree: calls of the model per decision."""
    search: Literal["gumbel", "puct"] = "gumbel"
    """tree: rule of the search."""

    @model_validator(mode="after")
    def _check_elites(self) -> Self:
        if self.kind != "tree" and self.elites > self.candidates:
            raise ValueError(
                f"elites = {self.elites} of candidates = {self.candidates}; there are at most as many. Lower "
                "elites, or raise candidates"
            )
        return self

    def action_size(self, env: EnvSpec, section: str) -> int:
        """Returns how many numbers say an action: A, which a planner for this environment is made with.

        Args:
          env: the environment.
          section: name of this section of the experiment, for the error.

        Raises:
          ConfigError: the planner does not fit the environment's actions.
        """
        kind = action_kind(env)
        if kind == "choices":
            raise ConfigError(
                f"'{env.id}' acts with {actions_of(env)}; planners choose one of several actions, or numbers. "
                "Choose another environment."
            )
        if self.kind == "tree" and kind != "discrete":
            raise ConfigError(
                f"{section}.kind = 'tree' with '{env.id}', which acts with {actions_of(env)}; tree search needs "
                "discrete actions. Choose cem, icem or mppi."
            )
        return env.num_actions or len(env.action_low)
