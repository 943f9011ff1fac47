"""What IMPALA asks of the runtime: unrolls from a queue, and which settings cannot work."""

from math import prod

from rlsys.algorithms.impala.config import ImpalaConfig
from rlsys.api import SegmentSpec, TableSpec, ValueSpec
from rlsys.errors import ConfigError
from rlsys.types import ArraySpec, EnvSpec

LOGITS = "behaviour_logits"
"""Extra `[A]` float32: what the acting policy's actions were drawn from."""
VALUE = "value"
"""Extra `[]` float32 of evaluations: what was expected."""
REWARD_BOUND = 1.0
"""Rewards count as clamped to ± this, unless reward_clipping is none."""
LAST_REWARD = "last_reward"
"""State `[]` float32: the reward of the last action in the episode, 0 at its beginning."""

_SMALLEST_IMAGE = 36
_EXACT = ("elstm", "rtu", "linear_rtu")


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
    return "deep" if is_image(env) else "mlp"


def stem_features(config: ImpalaConfig, env: EnvSpec) -> int:
    """Returns D, the numbers that the stem makes of an observation."""
    return prod(env.policy_observation.shape) if stem_of(config, env) == "none" else config.fc_size


def is_image(env: EnvSpec) -> bool:
    """Tells whether one observation is a picture `[H, W]` or `[C, H, W]`."""
    shape = env.observation.shape
    return len(shape) in (2, 3) and min(shape[-2:]) >= _SMALLEST_IMAGE


def segments(config: ImpalaConfig, env: EnvSpec) -> SegmentSpec:
    """Returns unrolls with the policy's logits, which begin with its memory and the last reward."""
    return SegmentSpec(
        length=config.unroll_length,
        extras={LOGITS: ArraySpec((env.num_actions,), "float32")},
        unroll=True,
        state=state_specs(config, env),
        encoded=ArraySpec((stem_features(config, env),), "float32") if config.freeze_fc else None,
    )


def table(config: ImpalaConfig, env: EnvSpec) -> TableSpec:
    """Returns a queue."""
    size = config.max_learner_queue_size or config.batch_size
    return TableSpec(max_size=size, sampler="fifo", batch_size=config.batch_size)


def values(config: ImpalaConfig) -> ValueSpec:
    """Returns what values are of."""
    return ValueSpec(config.discounting, VALUE, REWARD_BOUND if config.reward_clipping == "abs_one" else None)


def check(config: ImpalaConfig, env: EnvSpec, num_environments: int, num_ranks: int) -> None:
    """Refuses a section that cannot work with this environment and these workers.

    Raises:
      ConfigError: it says which setting, and what to do.
    """
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
    if stem_of(config, env) in ("deep", "nature") and not is_image(env):
        raise ConfigError(
            f"impala.stem = {config.stem} with observations of shape {env.observation.shape}; it needs images of at "
            f"least {_SMALLEST_IMAGE}×{_SMALLEST_IMAGE}. Set impala.stem=mlp."
        )
    if config.freeze_fc and not config.freeze_conv:
        raise ConfigError(
            "impala.freeze_fc = True with impala.freeze_conv = False; the dense layer reads what the convolutions say. "
            "Set impala.freeze_conv=true, too."
        )
    if config.batch_size % num_ranks:
        raise ConfigError(
            f"impala.batch_size = {config.batch_size} cannot be divided among runtime.learners = {num_ranks}; each "
            "rank takes an equal share. Change either."
        )
