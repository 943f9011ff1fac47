"""What the dreamer asks of the runtime, and which settings cannot work."""

from dreams.config import DreamerConfig
from rlsys.api import Segments, TableSpec, ValueSpec
from rlsys.errors import ConfigError
from rlsys.nets.distributions.spaces import check_gaussian
from rlsys.types import EnvSpec

VALUE = "value"
_SEGMENT = 50


def cut(config: DreamerConfig, env: EnvSpec) -> Segments:
    """Returns segments whose items are followed by a whole window; policies need not remember anything."""
    return Segments(length=_SEGMENT, overlap=config.length)


def store(config: DreamerConfig, env: EnvSpec) -> TableSpec:
    """Returns a table of which windows are drawn evenly."""
    ratio = config.samples_per_insert
    return TableSpec(
        max_size=config.window_size,
        sampler="uniform",
        min_size_to_sample=config.stored_before_train,
        samples_per_insert=ratio,
        error_buffer=16.0 * config.batch_size + 200.0 * (ratio or 1.0),
        batch_size=config.batch_size,
    )


def values(config: DreamerConfig) -> ValueSpec:
    """Returns what values are of."""
    return ValueSpec(config.discount, VALUE)


def check(config: DreamerConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    """Refuses a section that cannot work.

    Raises:
      ConfigError: it says which setting, and what to do.
    """
    check_gaussian(config, env, "dreamer")
    if env.num_stack > 1:
        raise ConfigError(f"env.stack_states = {env.num_stack} with dreamer, which remembers by itself. Leave it out.")
    if config.batch_size % num_ranks:
        raise ConfigError(
            f"dreamer.batch_size = {config.batch_size} is not divisible by {num_ranks} learners. Change either."
        )
