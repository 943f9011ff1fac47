"""From settings to a planner over sequences."""

import math

from rlsys.planning.settings import PlannerConfig
from rlsys.planning.shooting.cem import CEM
from rlsys.planning.shooting.icem import ICEM, decaying
from rlsys.planning.shooting.mppi import MPPI
from rlsys.planning.shooting.sequences import CategoricalSequences, NormalSequences, Sequences, coloured_noise


def make_planner(config: PlannerConfig, action_size: int, *, discrete: bool) -> CEM:
    """Returns a planner over sequences; of tree search, see `rlsys.planning.latent`.

    Args:
      config: its settings, of any kind but tree.
      action_size: A, numbers of an action or actions to choose from (`PlannerConfig.action_size`).
      discrete: whether actions are one of A.
    """
    size, counts = (config.horizon, action_size), (config.candidates,) * config.iterations
    family = _family(config, discrete)
    select = config.discrete_select if discrete else "belief"
    match config.kind:
        case "cem":
            return CEM(family, size, counts, config.elites, config.warm_start, select)
        case "icem":
            counts = decaying(config.candidates, config.iterations, config.candidates_decay, config.elites)
            num_kept = math.ceil(config.kept_elites * config.elites)
            select = config.discrete_select if discrete else config.icem_select
            return ICEM(family, size, counts, config.elites, config.warm_start, select, num_kept)
        case "mppi":
            return MPPI(family, size, counts, config.elites, config.warm_start, select, config.temperature)
    raise AssertionError(config.kind)


def _family(config: PlannerConfig, discrete: bool) -> Sequences:
    momentum = 0.0 if config.kind == "cem" else config.momentum
    if discrete:
        return CategoricalSequences(momentum, config.initial_uniform)
    min_std = config.min_std if config.kind == "mppi" else 0.0
    mixing_HH = coloured_noise(config.horizon, config.noise_exponent) if config.kind == "icem" else None
    return NormalSequences(config.initial_std, min_std, momentum, mixing_HH)
