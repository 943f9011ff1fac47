"""The configured transition model."""

from typing import Any

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.transitions.cell import Cell, Sizes
from rlsys.algorithms.planet.transitions.clockwork import Clockwork
from rlsys.algorithms.planet.transitions.moving_average import MovingAverage
from rlsys.algorithms.planet.transitions.rssm import RSSM
from rlsys.algorithms.planet.transitions.ssm import SSM
from rlsys.algorithms.planet.transitions.time_agnostic import TimeAgnostic


def make_cell(config: PlanetConfig, num_actions: int, num_embedded: int) -> Cell:
    """Builds the transition model for actions of so many numbers, and embeddings of so many."""
    cells = [
        _make(config, Sizes(_num_told(config, period, num_actions), num_embedded, state, size, size))
        for size, state, period in config.cells
    ]
    if len(cells) > 1:
        return Clockwork(cells, config.cw_tau, config.cw_action, num_actions)
    if config.tap_cell is None:
        return cells[0]
    size, state, _ = config.cells[0]
    sizes = Sizes(num_actions, num_embedded, state, size, size)
    return TimeAgnostic(cells[0], RSSM(sizes, future_rnn=config.future_rnn, min_stddev=config.min_stddev))


def _num_told(config: PlanetConfig, period: int, num_actions: int) -> int:
    """Returns how many numbers a cell is told of actions at each of its ticks."""
    return num_actions * (period if config.cw_action == "concat" and len(config.cw_tau) > 1 else 1)


def _make(config: PlanetConfig, sizes: Sizes) -> Cell:
    choices: dict[str, Any] = {"mean_only": config.mean_only, "min_stddev": config.min_stddev}
    match config.model:
        case "ssm":
            return SSM(sizes, **choices)
        case "rssm_ma":
            slow = Sizes(
                sizes.action,
                sizes.embedding,
                int(sizes.state * config.ma_ppn),
                int(sizes.belief * config.ma_ppn),
                sizes.hidden,
            )
            fast = Sizes(
                sizes.action, sizes.embedding, sizes.state - slow.state, sizes.belief - slow.belief, sizes.hidden
            )
            made = [RSSM(own, future_rnn=config.future_rnn, **choices) for own in (slow, fast)]
            return MovingAverage(made[0], made[1], config.ma_alpha)
    return RSSM(sizes, future_rnn=config.future_rnn, **choices)
