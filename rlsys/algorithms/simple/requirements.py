"""What SimPLe asks of the runtime: turns of collecting, and which settings cannot work."""

from rlsys.algorithms.ppo import requirements as ppo
from rlsys.algorithms.ppo.config import PPOConfig
from rlsys.algorithms.simple.config import SimpleConfig
from rlsys.algorithms.simple.phases import rows_per_turn, turns_of_epoch, unrolls_of_turn
from rlsys.api import Segments, TableSpec, Turns, ValueSpec
from rlsys.errors import ConfigError
from rlsys.nets.observations.kinds import sees_image
from rlsys.types import ArraySpec, EnvSpec

_INPUT_FRAMES = 4
_SEGMENT_ROWS = 50
"""Each segment has a frame more than rows, and those before it that its first row is stacked with."""
_OF_PPO_ALONE = {
    "num_environments": "real_batch_size and simulated_batch_size",
    "unrolls": "real_unrolls",
    "epoch_length": "real_unroll_length and simulated_rollout_length",
    "eval_temperature": "eval_temperature",
}
"""Fields of PPO's section that nobody reads here -> those of SimPLe's in their place."""


def cut(config: SimpleConfig, env: EnvSpec) -> Segments:
    """Returns segments with what the acting policy said."""
    extras = {ppo.LOG_PROBABILITY: ArraySpec((), "float32"), ppo.VALUE: ArraySpec((), "float32")}
    return Segments(length=min(unrolls_of_turn(config)[1], _SEGMENT_ROWS), extras=extras)


def store(config: SimpleConfig, env: EnvSpec) -> TableSpec:
    """Returns a table that keeps whatever is collected, in whole episodes."""
    rows = (config.epochs + 1) * turns_of_epoch(config) * rows_per_turn(config)
    return TableSpec(max_size=rows, sampler="uniform", keeps_episodes=True)


def turns(config: SimpleConfig, env: EnvSpec) -> Turns:
    """Returns the real decisions of a turn: workers rest while model and policy learn from them."""
    return Turns(rows=rows_per_turn(config))


def values(config: SimpleConfig) -> ValueSpec:
    """Returns what values are of: the policy's."""
    return ppo.values(config.ppo)


def check(config: SimpleConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    """Refuses a section that cannot work with this environment and these workers.

    Raises:
      ConfigError: it says which setting, and what to do.
    """
    if not sees_image(env, ppo.SMALLEST_IMAGE) or env.observation.dtype != "uint8":
        raise ConfigError(
            f"'{env.id}' observes {env.observation.dtype} of shape {env.observation.shape}; simple predicts "
            "pictures of bytes, at least 16×16. Choose an environment by pixels."
        )
    if env.num_stack not in (1, _INPUT_FRAMES):
        raise ConfigError(
            f"env.stack_states = {env.num_stack}; simple's model begins from {_INPUT_FRAMES} frames, of which its "
            f"policy sees all or the last. Set env.stack_states={_INPUT_FRAMES} or 1."
        )
    if not env.clips_rewards:
        raise ConfigError(
            "env.clip_rewards = false; simple foretells rewards of -1, 0 and 1. Set env.clip_rewards=true."
        )
    for name, instead in _OF_PPO_ALONE.items():
        if (value := getattr(config.ppo, name)) != PPOConfig.model_fields[name].default:
            raise ConfigError(
                f"simple.ppo.{name} = {value} has no effect within SimPLe; simple.{instead} say that. Leave it out."
            )
    ppo.check(config.ppo, env, num_environments, num_ranks)
    _check_lengths(config)
    for name in ("simulated_batch_size", "wm_eval_batch_size"):
        _check_divisible(f"simple.{name}", getattr(config, name), num_ranks)
    _check_divisible("simple.world_model.batch_size", config.world_model.batch_size, num_ranks)


def _check_lengths(config: SimpleConfig) -> None:
    for name in ("real_unroll_length", "simulated_rollout_length"):
        rows = getattr(config, name) * config.ppo.optimization_epochs
        if config.ppo.optimization_batch_size > rows:
            raise ConfigError(
                f"simple.ppo.optimization_batch_size = {config.ppo.optimization_batch_size} time steps; simple.{name} "
                f"gives {rows} in optimization_epochs = {config.ppo.optimization_epochs}. Lower it."
            )
    wrong = [ratio for ratio in config.wm_eval_rollout_ratios if not 0.0 < ratio <= 1.0]
    if wrong:
        raise ConfigError(
            f"simple.wm_eval_rollout_ratios has {wrong[0]}; shares of a rollout are above 0 and at most 1. Correct it."
        )
    if config.load_world_from is None and not config.model_train_steps and config.ppo_epochs_num:
        raise ConfigError(
            "simple.model_train_steps = 0 without simple.load_world_from; the policy would learn in a model that knows "
            "nothing. Name a run whose world model is used, or train one."
        )


def _check_divisible(name: str, value: int, num_ranks: int) -> None:
    if value % num_ranks:
        raise ConfigError(f"{name} = {value} is not divisible by runtime.learners = {num_ranks}. Change either.")
