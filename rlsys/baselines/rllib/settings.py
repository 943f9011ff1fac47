"""From our sections to RLlib's configuration."""

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from rlsys.baseline import BaselineContext
from rlsys.baselines.rllib.config import RllibConfig
from rlsys.baselines.rllib.environment import RllibVectorEnv, is_picture
from rlsys.baselines.rllib.metrics import GamesCallback
from rlsys.baselines.rllib.networks import PixelCatalog
from rlsys.config import ENVIRONMENTS_PER_WORKER, read_env
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
_NATURE: Any = [[32, 8, 4, "valid"], [64, 4, 2, "valid"], [64, 3, 1, "valid"]]
"""Mnih et al. 2015: filters, kernel, stride, padding of each layer."""
_NATURE_PIXELS = 36
"""Least height and width that the three layers leave something of."""


def build(context: BaselineContext) -> AlgorithmConfig:
    """Returns RLlib's configuration of the run; also registers the environments.

    Raises:
      ConfigError: what RLlib cannot do, or the cluster not hold.
    """
    config: RllibConfig = context.config
    _check_extra(config)
    _check_network(config, context.env_spec)
    _check_workers(context)
    logging.getLogger("ray.rllib").setLevel(logging.CRITICAL)  # it deprecates at length; failures are raised, too
    settings = _CONFIGS[config.algorithm]()
    register_env(_ENVIRONMENT, _make_environment)
    settings.environment(_ENVIRONMENT, env_config={"env": context.env.model_dump()})
    settings.env_runners(
        num_env_runners=num_env_runners(context),
        num_envs_per_env_runner=environments_per_runner(context),
        num_cpus_per_env_runner=context.runtime.rollout_cpus,
        gym_env_vectorize_mode="vector_entry_point",
        **_given(rollout_fragment_length=config.rollout_fragment_length),
    )
    settings.learners(
        num_learners=_num_learners(context),
        num_cpus_per_learner=0,
        num_gpus_per_learner=context.runtime.learner_gpus if _with_gpu(context) else 0,
    )
    settings.rl_module(rl_module_spec=RLModuleSpec(catalog_class=PixelCatalog), model_config=_network(context))
    settings.fault_tolerance(restart_failed_env_runners=False)  # else a broken environment is a silent standstill
    settings.callbacks(GamesCallback)
    settings.debugging(seed=context.seed, log_level="ERROR")  # of its workers
    settings.reporting(min_time_s_per_iteration=context.period_s)
    ours = _given(**{theirs: getattr(config, field) for field, theirs in _TRAINING.items()})
    settings.training(**ours, **config.extra)
    try:
        settings.validate()
    except ValueError as error:
        reason = " ".join(str(error).partition("To suppress")[0].split())
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
    for wanted in (context.config.environments_per_runner, context.runtime.environments_per_worker):
        if wanted != "auto":
            return int(wanted)
    return ENVIRONMENTS_PER_WORKER


def _check_extra(config: RllibConfig) -> None:
    known = _training_arguments(_CONFIGS[config.algorithm])
    ours = {theirs: field for field, theirs in _TRAINING.items()} | {"train_batch_size": "train_batch_size"}
    for key in config.extra:
        if key in ours:
            raise ConfigError(f"rllib.extra.{key} is what rllib.{ours[key]} sets; set that instead.")
        if key not in known:
            raise ConfigError(
                f"unknown key 'rllib.extra.{key}'; {config.algorithm} in RLlib has no such argument of .training()."
                f"{did_you_mean(key, known)} Correct it or leave it out."
            )


def _check_network(config: RllibConfig, env: EnvSpec) -> None:
    shape, found = env.policy_observation.shape, "nature" if is_picture(env) else "mlp"
    if config.network not in ("auto", found):
        raise ConfigError(
            f"rllib.network = {config.network} with '{env.id}', whose observations have shape {shape}; pictures need "
            f"nature, and all else mlp. Set rllib.network={found}."
        )
    if found == "nature" and min(shape[-2:]) < _NATURE_PIXELS:
        raise ConfigError(
            f"env.frame_size = {list(shape[-2:])} with rllib.network = nature, which needs {_NATURE_PIXELS} pixels "
            "each way. Set env.frame_size=[84,84]."
        )


def _check_workers(context: BaselineContext) -> None:
    """Refuses what RLlib would wait for without an end."""
    runners, cpus = num_env_runners(context), context.runtime.rollout_cpus
    if runners * cpus > context.num_cpus:
        raise ConfigError(
            f"{runners} environment runners with runtime.rollout_cpus = {cpus:g} need more than the cluster's "
            f"{context.num_cpus} CPU cores. Lower rllib.env_runners or set runtime.rollout_cpus=0."
        )
    if context.runtime.learner_device == "cuda" and context.num_gpus == 0:
        raise ConfigError(
            "runtime.learner_device = cuda, but the cluster has no GPU. "
            "Set runtime.learner_device=cpu or choose another profile."
        )


def _num_learners(context: BaselineContext) -> int:
    """Returns how many processes learn besides this one; ppo, which waits for its learner, has it here."""
    learners = int(context.runtime.learners)
    return 0 if context.config.algorithm == "ppo" and learners == 1 else learners


def _with_gpu(context: BaselineContext) -> bool:
    device = context.runtime.learner_device
    return bool(device == "cuda" or (device == "auto" and context.num_gpus))


def _make_environment(settings: Mapping[str, Any]) -> RllibVectorEnv:
    return RllibVectorEnv(read_env(settings["env"]), settings["num_envs"])


def _network(context: BaselineContext) -> DefaultModelConfig:
    config: RllibConfig = context.config
    picture = is_picture(context.env_spec)
    default = (512,) if picture else (256, 256)
    return DefaultModelConfig(
        conv_filters=_NATURE if picture else None,
        fcnet_hiddens=list(default if config.hidden_sizes is None else config.hidden_sizes),
        fcnet_activation=config.activation,
        vf_share_layers=config.share_layers,
    )


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
