"""What PPO asks of the runtime: unrolls collected in turns, and which settings cannot work."""

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.api import SegmentSpec, TableSpec, ValueSpec
from rlsys.errors import ConfigError
from rlsys.types import ArraySpec, EnvSpec

LOG_PROBABILITY, VALUE = "log_probability", "value"
"""Extras `[]` float32: of the chosen action, and of the observation, by the policy that acted."""

_SMALLEST_IMAGE = 16
_SMALLEST_FOR_NATURE = 36


def is_image(env: EnvSpec) -> bool:
    """Tells whether one observation is a picture `[H, W]` or `[C, H, W]`."""
    shape = env.observation.shape
    return len(shape) in (2, 3) and min(shape[-2:]) >= _SMALLEST_IMAGE


def network_of(config: PPOConfig, env: EnvSpec) -> str:
    """Returns the network that "auto" stands for."""
    if config.policy_network != "auto":
        return config.policy_network
    return "cnn_small" if is_image(env) else "mlp"


def segments(config: PPOConfig, env: EnvSpec) -> SegmentSpec:
    """Returns unrolls with what the acting policy said."""
    extras = {LOG_PROBABILITY: ArraySpec((), "float32"), VALUE: ArraySpec((), "float32")}
    return SegmentSpec(length=config.epoch_length, extras=extras, unroll=True, on_policy=config.unrolls)


def table(config: PPOConfig, env: EnvSpec) -> TableSpec:
    """Returns a queue, which the runtime gives room for one iteration."""
    return TableSpec(max_size=1, sampler="fifo")


def values(config: PPOConfig) -> ValueSpec:
    """Returns what values are of."""
    return ValueSpec(config.gae_gamma, VALUE)


def check(config: PPOConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    """Refuses a section that cannot work with this environment and these workers.

    Raises:
      ConfigError: it says which setting, and what to do.
    """
    network = network_of(config, env)
    smallest = {"mlp": 0, "cnn_nature": _SMALLEST_FOR_NATURE}.get(network, _SMALLEST_IMAGE)
    if network != "mlp" and not (is_image(env) and min(env.observation.shape[-2:]) >= smallest):
        raise ConfigError(
            f"ppo.policy_network = {network} with observations of shape {env.observation.shape}; it needs images of at "
            f"least {smallest}×{smallest}. Set ppo.policy_network=auto."
        )
    rows = config.epoch_length * config.optimization_epochs
    if config.optimization_batch_size > rows:
        raise ConfigError(
            f"ppo.optimization_batch_size = {config.optimization_batch_size} time steps; an iteration has {rows} "
            f"(epoch_length = {config.epoch_length}, learned from optimization_epochs = {config.optimization_epochs} "
            "times). Lower it."
        )
