"""From our sections to RLlib's configuration."""

import inspect
from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from rlsys.api import BaselineContext
from rlsys.baselines.rllib.config import RllibConfig
from rlsys.baselines.rllib.environment import RllibVectorEnv, is_picture
from rlsys.baselines.rllib.metrics import GamesCallback
from rlsys.baselines.rllib.networks import PixelCatalog
from rlsys.config import EnvConfig
from rlsys.errors import ConfigError, did_you_mean
from rlsys.types import EnvSpec

_ENVIRONMENT = "rlsys"
"""What our environments are called in RLlib's register."""
_CONFIGS: dict[str, type[AlgorithmConfig]] = {"impala": IMPALAConfig, "appo": APPOConfig, "ppo": PPOConfig}
_TRAINING = {
    "train_batch_size": "train_batch_size_per_learner",
    "learning_rate": "lr",
    "gamma": "gamma",
    "entropy_cost": "entropy_coeff",
    "value_cost": "vf_loss_coeff",
    "grad_clip": "grad_clip",
}
"""Our field -> RLlib's argument of `.training()`."""
_NATURE = [[32, 8, 4, "valid"], [64, 4, 2, "valid"], [64, 3, 1, "valid"]]
"""Mnih et al. 2015: filters, kernel, stride, padding of each layer."""
_NATURE_PIXELS = 36
"""Least height and width that the three layers leave something of."""


def check(config: RllibConfig, env: EnvSpec) -> None:
    """Refuses what RLlib cannot do.

    Raises:
      ConfigError: an unknown key in `rllib.extra`, or a network that does not fit the observations.
    """
    known = _training_arguments(_CONFIGS[config.algorithm])
    ours = {theirs: field for field, theirs in _TRAINING.items()} | {"train_batch_size": "train_batch_size"}
    for key in config.extra:
        if key in ours:
            raise ConfigError(f"rllib.extra.{key}: this is rllib.{ours[key]}. Set that instead.")
        if key not in known:
            raise ConfigError(
                f"unknown key 'rllib.extra.{key}'; {config.algorithm} in RLlib has no such argument of .training()."
                f"{did_you_mean(key, known)} Correct it or leave it out."
            )
    shape = env.policy_observation.shape
    if config.network == "nature" and not is_picture(env):
        raise ConfigError(
            f"rllib.network = nature with '{env.id}', whose observations have shape {shape}; convolutions need "
            "pictures. Set rllib.network=mlp."
        )
    if is_picture(env) and config.network == "mlp":
        raise ConfigError(f"rllib.network = mlp with '{env.id}', which shows pictures. Set rllib.network=nature.")
    if is_picture(env) and min(shape[-2:]) < _NATURE_PIXELS:
        raise ConfigError(
            f"env.frame_size = {list(shape[-2:])} with rllib.network = nature, which needs {_NATURE_PIXELS} pixels each "
            "way. Set env.frame_size=[84,84]."
        )
    if config.algorithm == "ppo" and config.train_batch_size is not None and config.rollout_fragment_length is not None:
        _check_ppo(config)


def build(context: BaselineContext) -> AlgorithmConfig:
    """Returns RLlib's configuration of the run; also registers the environments.

    Raises:
      ConfigError: values that RLlib refuses.
    """
    config: RllibConfig = context.config
    runtime = context.runtime
    settings = _CONFIGS[config.algorithm]()
    register_env(_ENVIRONMENT, _make_environment)
    with_gpu = runtime.learner_device == "cuda" or (runtime.learner_device == "auto" and context.num_gpus > 0)
    settings.environment(_ENVIRONMENT, env_config={"env": context.env.model_dump()})
    settings.env_runners(
        num_env_runners=num_env_runners(context),
        num_envs_per_env_runner=environments_per_runner(context),
        num_cpus_per_env_runner=runtime.rollout_cpus,
        gym_env_vectorize_mode="vector_entry_point",
        **_given(rollout_fragment_length=config.rollout_fragment_length),
    )
    settings.learners(
        num_learners=0 if config.algorithm == "ppo" and runtime.learners == 1 else runtime.learners,
        num_cpus_per_learner=0,
        num_gpus_per_learner=runtime.learner_gpus if with_gpu else 0,
    )
    settings.rl_module(rl_module_spec=RLModuleSpec(catalog_class=PixelCatalog), model_config=_network(context))
    settings.fault_tolerance(restart_failed_env_runners=False)  # else a broken environment is a silent standstill
    settings.callbacks(GamesCallback)
    settings.debugging(seed=context.seed, log_level="ERROR")
    settings.reporting(min_time_s_per_iteration=context.period_s)
    ours = _given(**{theirs: getattr(config, field) for field, theirs in _TRAINING.items()})
    settings.training(**ours, **config.extra)
    try:
        settings.validate()
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"RLlib refuses the rllib section: {reason} Correct what it names.") from None
    return settings


def num_env_runners(context: BaselineContext) -> int:
    """Returns how many processes step environments."""
    for wanted in (context.config.env_runners, context.runtime.rollout_workers):
        if wanted != "auto":
            return int(wanted)
    return max(1, context.num_cpus - 1)


def environments_per_runner(context: BaselineContext) -> int:
    """Returns how many environments each of them steps."""
    wanted = context.config.environments_per_runner
    return int(context.runtime.environments_per_worker if wanted == "auto" else wanted)


def _check_ppo(config: RllibConfig) -> None:
    """A sample of ppo is a part of a batch."""
    assert config.train_batch_size is not None
    assert config.rollout_fragment_length is not None
    if config.rollout_fragment_length > config.train_batch_size:
        raise ConfigError(
            f"rllib.rollout_fragment_length = {config.rollout_fragment_length} is more than rllib.train_batch_size = "
            f"{config.train_batch_size}; ppo collects a batch of whole samples. Leave rollout_fragment_length out."
        )


def _make_environment(settings: Mapping[str, Any]) -> RllibVectorEnv:
    return RllibVectorEnv(EnvConfig.model_validate(settings["env"]), settings["num_envs"])


def _network(context: BaselineContext) -> DefaultModelConfig:
    config: RllibConfig = context.config
    options: dict[str, Any] = {
        "fcnet_activation": config.activation,
        "head_fcnet_activation": config.activation,
        "vf_share_layers": config.share_layers,
    }
    if is_picture(context.env_spec):
        sizes = (512,) if config.hidden_sizes is None else config.hidden_sizes
        return DefaultModelConfig(conv_filters=_NATURE, head_fcnet_hiddens=list(sizes), **options)
    sizes = (256, 256) if config.hidden_sizes is None else config.hidden_sizes
    return DefaultModelConfig(fcnet_hiddens=list(sizes), **options)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _training_arguments(config_type: type[AlgorithmConfig]) -> list[str]:
    """Returns the named arguments of `.training()`, which hands those that it does not know to its base class."""
    arguments: set[str] = set()
    for base in config_type.__mro__:
        method = vars(base).get("training")
        if method is not None:
            parameters = inspect.signature(method).parameters.values()
            arguments |= {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    return sorted(name for name in arguments if not name.startswith("_"))
