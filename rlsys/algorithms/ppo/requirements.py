"""What PPO asks of the runtime: unrolls collected in turns, and which settings cannot work."""

from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.api import QueueSpec, Turns, Unrolls, ValueSpec
from rlsys.api.spaces import action_kind
from rlsys.errors import ConfigError
from rlsys.nets.distributions.spaces import check_gaussian, drawn_extras
from rlsys.nets.observations.kinds import sees_image, sees_numbers
from rlsys.types import ArraySpec, EnvSpec

LOG_PROBABILITY, VALUE = "log_probability", "value"
"""Extras `[]` float32: of the chosen action, and of the observation, by the policy that acted."""

SMALLEST_IMAGE = 16
"""Pixels on each side of what is seen as a picture."""
_SMALLEST_FOR_NATURE = 36


def network_of(config: PPOConfig, env: EnvSpec) -> str:
    """Returns the network that "auto" stands for."""
    if config.policy_network != "auto":
        return config.policy_network
    return "cnn_small" if sees_image(env, SMALLEST_IMAGE) else "mlp"


def smallest_image(config: PPOConfig, env: EnvSpec) -> int | None:
    """Returns the pixels on each side of what is seen as a picture; None where nothing is."""
    return None if network_of(config, env) == "mlp" else SMALLEST_IMAGE


def cut(config: PPOConfig, env: EnvSpec) -> Unrolls:
    """Returns unrolls with what the acting policy said."""
    extras = {LOG_PROBABILITY: ArraySpec((), "float32"), VALUE: ArraySpec((), "float32"), **drawn_extras(env)}
    return Unrolls(length=config.epoch_length, extras=extras)


def store(config: PPOConfig, env: EnvSpec) -> QueueSpec:
    """Returns a queue, which the runtime gives room for one iteration."""
    return QueueSpec()


def turns(config: PPOConfig, env: EnvSpec) -> Turns:
    """Returns what each environment collects for an iteration."""
    return Turns(unrolls=config.unrolls)


def values(config: PPOConfig) -> ValueSpec:
    """Returns what values are of."""
    return ValueSpec(config.gae_gamma, VALUE)


def check(config: PPOConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    """Refuses a section that cannot work with this environment and these workers.

    Raises:
      ConfigError: it says which setting, and what to do.
    """
    check_gaussian(config, env, "ppo")
    if config.logits_clip and action_kind(env) == "numbers":
        raise ConfigError(
            f"ppo.logits_clip = {config.logits_clip:g} with '{env.id}', whose actions are numbers and have no "
            "logits. Leave it out."
        )
    network = network_of(config, env)
    smallest = _SMALLEST_FOR_NATURE if network == "cnn_nature" else SMALLEST_IMAGE
    if network != "mlp" and not sees_image(env, smallest):
        raise ConfigError(
            f"ppo.policy_network = {network} with observations of shape {env.observation.shape}; it needs images "
            f"of at least {smallest}×{smallest}. Set ppo.policy_network=auto."
        )
    if config.normalize_observations and not sees_numbers(env, smallest_image(config, env)):
        raise ConfigError(
            f"ppo.normalize_observations = True with '{env.id}', which shows no numbers; pictures and integers are not "
            "normalised. Leave it out."
        )
    rows = config.epoch_length * config.optimization_epochs
    if config.optimization_batch_size > rows:
        raise ConfigError(
            f"ppo.optimization_batch_size = {config.optimization_batch_size} time steps; an iteration has {rows} "
            f"(epoch_length = {config.epoch_length}, learned from optimization_epochs = {config.optimization_epochs} "
            "times). Lower it."
        )
