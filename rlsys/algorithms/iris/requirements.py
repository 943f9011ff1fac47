"""What IRIS asks of the runtime, and which settings cannot work. Without torch."""

from rlsys.algorithms.iris.config import IrisConfig
from rlsys.algorithms.iris.phases import rows_of_environment
from rlsys.api import Segments, TableSpec, Turns, ValueSpec
from rlsys.errors import ConfigError
from rlsys.nets.observations.kinds import picture_of
from rlsys.types import EnvSpec

VALUE = "value"
"""What a policy says of each observation: what it expects from there on."""
_SMALLEST = 4
"""Pixels on a side of a picture."""
_SEGMENT_ROWS = 50


def cut(config: IrisConfig, env: EnvSpec) -> Segments:
    """Returns segments; windows run on from one to the next."""
    return Segments(length=min(rows_of_environment(config), _SEGMENT_ROWS))


def store(config: IrisConfig, env: EnvSpec) -> TableSpec:
    """Returns a table that keeps whatever is collected, in whole episodes."""
    rows = config.collect_epochs * rows_of_environment(config) * config.environments
    return TableSpec(
        max_size=rows,
        sampler="prioritized" if config.world_model_training.prioritized else "uniform",
        keeps_episodes=True,
        held_out_every=config.held_out_every,
    )


def turns(config: IrisConfig, env: EnvSpec) -> Turns:
    """Returns the real decisions of an epoch: workers rest while all components learn from them."""
    return Turns(rows=rows_of_environment(config) * config.environments)


def values(config: IrisConfig) -> ValueSpec:
    """Returns what values are of: the rewards that the world model foretells, which may be signs."""
    bound = 1.0 if config.world_model.rewards == "sign" else None
    return ValueSpec(config.actor_critic.gamma, VALUE, reward_bound=bound)


def frame_shape(env: EnvSpec) -> tuple[int, int, int]:
    """Returns channels, height and width of frames; the environment fits (`check`)."""
    picture = picture_of(env.parts[0], _SMALLEST)
    assert picture is not None, "refused before"
    return picture


def check(config: IrisConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    """Refuses a section that cannot work with this environment and these workers.

    Raises:
      ConfigError: it says which setting, and what to do.
    """
    if picture_of(env.parts[0], _SMALLEST) is None or env.observation.dtype != "uint8":
        raise ConfigError(
            f"'{env.id}' observes {env.observation.dtype} of shape {env.observation.shape}; iris makes tokens of "
            f"pictures of bytes, at least {_SMALLEST}×{_SMALLEST}. Choose an environment by pixels."
        )
    if env.num_stack > 1:
        raise ConfigError(
            f"env.stack_states = {env.num_stack} with iris, which remembers by itself. Set env.stack_states=1."
        )
    height, width = config.tokenizer.map_size(*frame_shape(env)[1:])
    config.world_model.check_tokens(height * width, "iris.world_model")
    model, length = config.world_model, config.world_model_training.length
    if model.kind == "transformer" and length > model.max_blocks:
        raise ConfigError(
            f"iris.world_model_training.length = {length} with iris.world_model.max_blocks = {model.max_blocks}; the "
            "transformer sees no more frames than that. Lower length, or raise max_blocks."
        )
    for name in ("tokenizer_training", "world_model_training", "actor_critic_training"):
        size = getattr(config, name).batch_size
        if size % num_ranks:
            raise ConfigError(
                f"iris.{name}.batch_size = {size} is not divisible by runtime.learners = {num_ranks}. Change either."
            )
