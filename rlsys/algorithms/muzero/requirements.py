"""What MuZero asks of the runtime: how episodes are cut, what replay keeps, and which settings cannot work."""

from rlsys.algorithms.muzero.actions import action_code
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.api import Segments, TableSpec, ValueSpec
from rlsys.api.masks import masks_actions, without_mask
from rlsys.api.spaces import action_kind, actions_of, check_bounds
from rlsys.errors import ConfigError
from rlsys.types import ArraySpec, EnvSpec

VISITS = "visit_probabilities"
"""Extra `[A]` float32: share of the root's visits that each action got; of numbers `[D, values]`, for each its own."""
ROOT_VALUE = "root_value"
"""Extra `[]` float32: the search's value of the root, in raw units."""
PREDICTED_REWARD = "predicted_reward"
"""Extra `[]` float32 of evaluations: the model's reward for the action, in raw units."""

_SMALLEST_IMAGE = 16
_SEGMENTS_OF_SLACK = 2
_BATCHES_OF_SLACK = 4


def cut(config: MuZeroConfig, env: EnvSpec) -> Segments:
    """Returns segments whose items all have complete targets, and that bootstrap after a time limit by a search."""
    return Segments(
        length=config.max_history_length,
        overlap=config.num_unroll_steps + config.td_steps,
        bootstrap_extras=True,
        extras={
            VISITS: ArraySpec(action_code(config, env).policy_shape, "float32"),
            ROOT_VALUE: ArraySpec((), "float32"),
        },
    )


def store(config: MuZeroConfig, env: EnvSpec) -> TableSpec:
    """Returns a prioritized window of the newest decisions.

    The ratio may be off by some batches and by some of the largest segments: less would let either side wait for the
    other for ever, as both come in lumps.
    """
    largest_insert = config.max_history_length + config.num_unroll_steps + config.td_steps
    ratio = config.sampling_ratio or 0.0
    return TableSpec(
        max_size=config.window_size,
        sampler="prioritized",
        min_size_to_sample=config.stored_before_train,
        samples_per_insert=config.sampling_ratio,
        error_buffer=_BATCHES_OF_SLACK * config.batch_size + _SEGMENTS_OF_SLACK * ratio * largest_insert,
        initial_size=config.window_step or 0,
        batch_size=config.batch_size,
    )


def values(config: MuZeroConfig) -> ValueSpec:
    """Returns what values are of; those of a search are no longer squashed by the target transform.

    Of two players evaluations watch one, between whose decisions the opponent moves.
    """
    return ValueSpec(config.discount**config.players, ROOT_VALUE, reward_extra=PREDICTED_REWARD)


def check(config: MuZeroConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    """Refuses a section that cannot work with this environment and these workers.

    Raises:
      ConfigError: it says which setting, and what to do.
    """
    shape = without_mask(env).observation.shape
    if config.architecture != "FCNetwork" and not _is_image(shape):
        raise ConfigError(
            f"muzero.architecture = {config.architecture} with observations of shape {shape}; it needs "
            f"images of at least {_SMALLEST_IMAGE}×{_SMALLEST_IMAGE}. Set muzero.architecture=FCNetwork."
        )
    _check_channels(config)
    if len(config.fixed_temperatures) > num_environments:
        raise ConfigError(
            f"muzero.fixed_temperatures has {len(config.fixed_temperatures)} entries, but there are "
            f"{num_environments} environments; each temperature needs one that plays it. Remove some, or raise "
            "runtime.environments_per_worker or runtime.rollout_workers."
        )
    if config.batch_size % num_ranks:
        raise ConfigError(
            f"muzero.batch_size = {config.batch_size} cannot be divided among runtime.learners = {num_ranks}; each "
            "rank takes an equal share. Change either."
        )
    if config.players != env.num_players:
        plays = "two players play by turns" if env.num_players == 2 else "one player plays"
        raise ConfigError(
            f"muzero.players = {config.players} with '{env.id}', which {plays}; values change sides with each decision "
            f"of two players only. Set muzero.players={env.num_players}."
        )
    if config.mixed_value_after is not None and not config.reanalyse_fraction:
        raise ConfigError(
            f"muzero.mixed_value_after = {config.mixed_value_after} with muzero.reanalyse_fraction = 0; values of old "
            "rows would be those of searches as old. Set muzero.reanalyse_fraction=0.8, or leave it out."
        )
    check_plans(config, env)
    _check_actions(config, env)
    if config.augmentation and not _is_image(without_mask(env).observation.shape):
        raise ConfigError(
            f"muzero.augmentation = {list(config.augmentation)} with '{env.id}', which observes no pictures. Leave it "
            "out."
        )


def _check_channels(config: MuZeroConfig) -> None:
    """Refuses sizes of EfficientZero's network where another one has its own."""
    if config.architecture == "EfficientZeroNetwork":
        return
    for name in ("num_channels", "num_action_channels"):
        if getattr(config, name) != MuZeroConfig.model_fields[name].default:
            raise ConfigError(
                f"muzero.{name} = {getattr(config, name)} with muzero.architecture = {config.architecture}, whose "
                "sizes are fixed. Leave it out, or set muzero.architecture=EfficientZeroNetwork."
            )


def check_plans(config: MuZeroConfig, env: EnvSpec) -> None:
    """Refuses to take several actions from one search where those after the first may be illegal, or the opponent's.

    Raises:
      ConfigError: it says which setting, and what to do.
    """
    if config.apply_mcts_steps > 1 and (config.players == 2 or masks_actions(env)):
        raise ConfigError(
            f"muzero.apply_mcts_steps = {config.apply_mcts_steps} with '{env.id}', where only the position says which "
            "actions are legal and what the opponent has done; a plan knows neither. Leave it out."
        )


def _check_actions(config: MuZeroConfig, env: EnvSpec) -> None:
    """Refuses numbers of which nothing says which are tried."""
    if action_kind(env) != "numbers":
        return
    if config.chance_codes is not None:
        raise ConfigError(
            f"muzero.chance_codes = {config.chance_codes} with '{env.id}', which acts with {actions_of(env)}; chance "
            "follows discrete actions only. Leave it out, or choose another environment."
        )
    if config.sampled_actions is None:
        raise ConfigError(
            f"muzero.sampled_actions = null with '{env.id}', which acts with {actions_of(env)}; a search branches to "
            "some of these only. Say to how many: muzero.sampled_actions=20."
        )
    if masks_actions(env):
        raise ConfigError(
            f"'{env.id}' acts with {actions_of(env)} and says which actions are legal; muzero masks discrete actions "
            "only. Choose another environment."
        )
    check_bounds(env, "muzero chooses between finite bounds")


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) in (2, 3) and min(shape[-2:]) >= _SMALLEST_IMAGE
