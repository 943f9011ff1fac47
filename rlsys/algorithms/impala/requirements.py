"""What IMPALA asks of the runtime: unrolls from a queue, and which settings cannot work."""

from math import prod

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.api import QueueSpec, Unrolls, ValueSpec
from rlsys.api.spaces import action_kind
from rlsys.errors import ConfigError
from rlsys.nets.distributions.spaces import check_gaussian, drawn_extras, num_parameters
from rlsys.nets.observations.kinds import has_parts, sees_image, sees_numbers
from rlsys.types import ArraySpec, EnvSpec

LOGITS = "behaviour_logits"
"""Extra `[P]` float32: what the acting policy's actions were drawn from, where they are choices."""
PARAMETERS = "behaviour_parameters"
"""Extra `[P]` float32: the same, where they are numbers."""
VALUE = "value"
"""Extra `[]` float32 of evaluations: what was expected."""
REWARD_BOUND = 1.0
"""Rewards count as clamped to ± this, unless reward_clipping is none."""
LAST_REWARD = "last_reward"
"""State `[]` float32: the reward of the last action in the episode, 0 at its beginning."""

_SMALLEST_IMAGE = 36
_EXACT = ("elstm", "rtu", "linear_rtu")


def behaviour_name(env: EnvSpec) -> str:
    """Returns what the parameters of the acting policy are called in replay."""
    return PARAMETERS if action_kind(env) == "numbers" else LOGITS


def state_sizes(config: ImpalaConfig) -> dict[str, int]:
    """Returns name -> numbers of each part of the core's memory."""
    match config.network:
        case "feedforward":
            return {}
        case "lstm":
            return {"hidden": config.hidden_size, "cell": config.hidden_size}
        case "elstm":
            return {f"cell_{layer}": config.hidden_size for layer in range(config.num_layers)}
        case "rtu" | "linear_rtu":
            return {f"pair_{layer}": 2 * config.hidden_size for layer in range(config.num_layers)}


def carries_sensitivities(config: ImpalaConfig) -> bool:
    """Tells whether sensitivities travel with the policy's state."""
    return config.gradient == "rtrl" and config.sensitivities == "actor"


def sensitivity_shapes(config: ImpalaConfig, env: EnvSpec) -> dict[tuple[int, str], tuple[int, ...]]:
    """Returns (layer, parameter) -> shape of an environment's sensitivities by it; for cores with an exact gradient."""
    shapes: dict[tuple[int, str], tuple[int, ...]] = {}
    vector = (2, config.hidden_size)
    num_inputs = stem_features(config, env) + 1
    for layer, num_outputs in enumerate(state_sizes(config).values()):
        if config.network == "elstm":
            matrices = {"weight": (*vector, num_inputs), "recurrent": vector, "bias": vector}
        else:
            matrices = {"weight": (2, *vector, num_inputs), "log_decay": vector, "log_angle": vector}
        shapes |= {(layer, name): shape for name, shape in matrices.items()}
        num_inputs = num_outputs
    return shapes


def sensitivity_name(layer: int, parameter: str) -> str:
    """Returns what a sensitivity is called in the policy's state."""
    return f"sensitivity_{layer}_{parameter}"


def state_specs(config: ImpalaConfig, env: EnvSpec) -> dict[str, ArraySpec]:
    """Returns all parts of the policy's state."""
    specs = {name: ArraySpec((size,), "float32") for name, size in state_sizes(config).items()}
    if carries_sensitivities(config):
        for key, shape in sensitivity_shapes(config, env).items():
            specs[sensitivity_name(*key)] = ArraySpec(shape, "float32")
    return {**specs, LAST_REWARD: ArraySpec((), "float32")}


def stem_of(config: ImpalaConfig, env: EnvSpec) -> str:
    """Returns the stem that "auto" stands for."""
    if config.stem != "auto":
        return config.stem
    return "deep" if sees_image(env, _SMALLEST_IMAGE) else "mlp"


def stem_features(config: ImpalaConfig, env: EnvSpec) -> int:
    """Returns D, the numbers that the stem makes of an observation."""
    return prod(env.policy_observation.shape) if stem_of(config, env) == "none" else config.fc_size


def smallest_image(config: ImpalaConfig, env: EnvSpec) -> int | None:
    """Returns the pixels on each side of what is seen as a picture; None where nothing is."""
    return _SMALLEST_IMAGE if stem_of(config, env) in ("deep", "nature") else None


def cut(config: ImpalaConfig, env: EnvSpec) -> Unrolls:
    """Returns unrolls with the policy's parameters, which begin with its memory and the last reward."""
    return Unrolls(
        length=config.unroll_length,
        extras={behaviour_name(env): ArraySpec((num_parameters(env),), "float32"), **drawn_extras(env)},
        state=state_specs(config, env),
        encoded=ArraySpec((stem_features(config, env),), "float32") if config.freeze_fc else None,
    )


def store(config: ImpalaConfig, env: EnvSpec) -> QueueSpec:
    """Returns a queue."""
    size = config.max_learner_queue_size or config.batch_size
    return QueueSpec(max_size=size, batch_size=config.batch_size)


def values(config: ImpalaConfig) -> ValueSpec:
    """Returns what values are of."""
    return ValueSpec(config.discounting, VALUE, REWARD_BOUND if config.reward_clipping == "abs_one" else None)


def check(config: ImpalaConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    """Refuses a section that cannot work with this environment and these workers.

    Raises:
      ConfigError: it says which setting, and what to do.
    """
    check_gaussian(config, env, "impala")
    _check_core(config)
    _check_stem(config, env)
    if config.batch_size % num_ranks:
        raise ConfigError(
            f"impala.batch_size = {config.batch_size} cannot be divided among runtime.learners = {num_ranks}; each "
            "rank takes an equal share. Change either."
        )


def _check_core(config: ImpalaConfig) -> None:
    if config.gradient == "rtrl" and config.network not in _EXACT:
        raise ConfigError(
            f"impala.gradient = rtrl with impala.network = {config.network}; only cores with an elementwise recurrence "
            f"({', '.join(_EXACT)}) have an exact gradient that is affordable. Set impala.gradient=tbptt or "
            "impala.network=elstm."
        )
    if config.num_layers > 1 and config.network not in _EXACT:
        raise ConfigError(
            f"impala.num_layers = {config.num_layers} with impala.network = {config.network}; only "
            f"{', '.join(_EXACT)} have layers. Set impala.num_layers=1."
        )


def _check_stem(config: ImpalaConfig, env: EnvSpec) -> None:
    smallest = smallest_image(config, env)
    if smallest is not None and not sees_image(env, smallest):
        raise ConfigError(
            f"impala.stem = {config.stem} with observations of shape {env.observation.shape}; it needs images of at "
            f"least {_SMALLEST_IMAGE}×{_SMALLEST_IMAGE}. Set impala.stem=mlp."
        )
    if config.stem == "none" and has_parts(env):
        raise ConfigError(
            f"impala.stem = none with '{env.id}', whose observations have parts or are integers; they need layers that "
            "make one vector of them. Set impala.stem=auto."
        )
    if config.normalize_observations and not sees_numbers(env, smallest):
        raise ConfigError(
            f"impala.normalize_observations = True with '{env.id}', which shows no numbers; pictures and integers are "
            "not normalised. Leave it out."
        )
    if config.normalize_observations and config.freeze_fc:
        raise ConfigError(
            "impala.normalize_observations = True with impala.freeze_fc = True; workers then send features, and nobody "
            "sees what would be normalised. Leave one of them out."
        )
    if config.freeze_fc and not config.freeze_conv:
        raise ConfigError(
            "impala.freeze_fc = True with impala.freeze_conv = False; the dense layer reads what the convolutions say. "
            "Set impala.freeze_conv=true, too."
        )
