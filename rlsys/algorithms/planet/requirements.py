"""What PlaNet asks of the runtime, and which settings cannot work."""

import numpy as np

from rlsys.algorithms.planet.config import PlanetConfig
from rlsys.algorithms.planet.seen import SMALLEST_IMAGE, decoder_layers, picture_in, seen_part, told_parts
from rlsys.api import Segments, TableSpec, ValueSpec
from rlsys.api.spaces import check_bounds
from rlsys.errors import ConfigError
from rlsys.types import EnvSpec

VALUE = "value"
"""What a policy says of each observation: what it expects from there on."""
_SEGMENT = 50


def cut(config: PlanetConfig, env: EnvSpec) -> Segments:
    """Returns segments; windows run on from one to the next."""
    return Segments(length=_SEGMENT)


def store(config: PlanetConfig, env: EnvSpec) -> TableSpec:
    """Returns a table of whole episodes; all frames of a window count as samples."""
    ratio = config.samples_per_insert
    rows = config.batch_size * (config.length - 1)
    return TableSpec(
        max_size=max(config.window_size, config.stored_before_train),
        sampler="uniform",
        min_size_to_sample=config.stored_before_train,
        samples_per_insert=ratio,
        error_buffer=4.0 * rows + 2.0 * _SEGMENT * (ratio or 1.0),
        batch_size=rows,
        keeps_episodes=True,
    )


def values(config: PlanetConfig) -> ValueSpec:
    """Returns what values are of."""
    return ValueSpec(config.discount, VALUE)


def check(config: PlanetConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    """Refuses a section that cannot work with this environment and these workers.

    Raises:
      ConfigError: it says which setting, and what to do.
    """
    if env.num_stack > 1:
        raise ConfigError(
            f"env.stack_states = {env.num_stack} with planet, which remembers by itself. Set env.stack_states=1."
        )
    config.planner.action_size(env, "planet.planner")
    _check_cells(config)
    _check_seen(env, normalizes_pictures=config.normalize_pictures)
    check_bounds(env, "planet plans between finite bounds")
    if env.max_steps is not None and config.length > (frames := env.max_steps + 1):
        raise ConfigError(
            f"planet.length = {config.length} with '{env.id}', whose episodes have {frames} frames at most; no window "
            f"would ever fit. Set planet.length={frames} or less, or let episodes be longer."
        )
    if config.batch_size % num_ranks:
        raise ConfigError(
            f"planet.batch_size = {config.batch_size} is not divisible by {num_ranks} learners. Change either."
        )


def _check_cells(config: PlanetConfig) -> None:
    """Refuses cells that cannot stand side by side."""
    count = len(config.cw_tau)
    for name in ("model_size", "state_size"):
        listed = getattr(config, name)
        if len(listed) not in (1, count):
            raise ConfigError(
                f"planet.{name} = {list(listed)} with planet.cw_tau = {list(config.cw_tau)}, which makes {count} "
                f"cell{'s' * (count > 1)}. Give one number for all cells, or {count}."
            )
    if config.cw_tau[0] != 1:
        raise ConfigError(
            f"planet.cw_tau = {list(config.cw_tau)}; the first cell ticks with every frame. Let it begin with 1."
        )
    states = [state for _, state, _ in config.cells]
    if config.cell_as_prior and (count == 1 or len(set(states)) > 1):
        raise ConfigError(
            f"planet.cell_as_prior = {config.cell_as_prior:g} with cells whose states have {states} numbers; it "
            "compares two cells or more with states of one size. Set several planet.cw_tau and one planet.state_size, "
            "or leave cell_as_prior out."
        )
    if config.tap_cell is not None and (count > 1 or config.model == "ssm"):
        raise ConfigError(
            f"planet.tap_cell = {config.tap_cell} with planet.model = {config.model} and planet.cw_tau = "
            f"{list(config.cw_tau)}; it stands beside one cell with a belief. Leave it out, or set "
            "planet.model=rssm and planet.cw_tau=[1]."
        )
    if config.model == "rssm_ma":
        _check_shares(config)


def _check_shares(config: PlanetConfig) -> None:
    for size, state, _ in config.cells:
        for name, whole in (("model_size", size), ("state_size", state)):
            if not 0 < (slow := int(whole * config.ma_ppn)) < whole:
                raise ConfigError(
                    f"planet.ma_ppn = {config.ma_ppn:g} of planet.{name} = {whole} leaves {slow} for the slow cell and "
                    f"{whole - slow} for the fast one; both need at least 1. Change either."
                )


def _check_seen(env: EnvSpec, *, normalizes_pictures: bool) -> None:
    """Refuses observations of which planet would not know what to see."""
    part = seen_part(env)
    if part is None:
        raise ConfigError(
            f"'{env.id}' shows {', '.join(part.name or 'integers' for part in env.parts)}; planet sees one array of "
            "numbers, or exactly one picture among named parts. Choose what it observes, or another environment."
        )
    wrong = next((told.name for told in told_parts(env) if told.choices), None)
    if wrong is not None:
        raise ConfigError(
            f"'{env.id}' shows integers as '{wrong}'; beside its picture planet foretells numbers only. Choose "
            "another environment."
        )
    picture = picture_in(part)
    if picture is None and normalizes_pictures:
        raise ConfigError(
            f"planet.normalize_pictures = true with '{env.id}', which shows numbers. Leave it out, or choose what "
            "shows pictures."
        )
    if picture is not None and part.spec.dtype != "uint8":
        raise ConfigError(
            f"'{env.id}' shows pictures of {np.dtype(part.spec.dtype)}; planet quantises bytes (uint8). Choose "
            "another environment."
        )
    if picture is not None and (min(picture[1:]) < SMALLEST_IMAGE or decoder_layers(*picture[1:]) is None):
        raise ConfigError(
            f"'{env.id}' shows {picture[1]} × {picture[2]} pixels; planet's decoder draws {SMALLEST_IMAGE} to 156 on a "
            "side, of which one is not far above twice the other. Set env.frame_size=[64,64]."
        )
