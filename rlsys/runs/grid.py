"""The grid of an evaluation: sampling temperatures × no-ops at the start of a game; each cell is played by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic

from rlsys.config import EnvConfig
from rlsys.envs.make import max_noops, with_max_noops
from rlsys.errors import ConfigError, did_you_mean

_TEMPERATURE = "eval_temperature"


@dataclass(frozen=True)
class Cell:
    """One way to evaluate.

    Attributes:
      how: what acts, as metrics name it.
      max_noops: decisions for which games may begin with no-ops.
      section: the algorithm's, with the cell's temperature.
      env: the environment, with the cell's no-ops.
    """

    how: str
    max_noops: float
    section: Any
    env: EnvConfig

    @property
    def name(self) -> str:
        """Names it among all cells."""
        return f"{self.how}_max_noops_{self.max_noops:g}"

    def metrics(self, mean: float, mean_clipped: float) -> dict[str, float]:
        """Returns mean returns of raw and of clipped rewards by their names in the metrics."""
        name = f"mean_reward/eval/{self.name}"
        return {f"{name}_unclipped": mean, f"{name}_clipped": mean_clipped}


def temperature_of(section: Any) -> float:
    """Returns the temperature at which evaluations choose actions; 0 is greedy."""
    return float(getattr(section, _TEMPERATURE, 0.0))


def with_temperature(section: Any, temperature: float) -> Any:
    """Returns the section with a temperature of evaluations.

    Raises:
      ConfigError: the algorithm is always greedy in evaluations.
    """
    if _TEMPERATURE in type(section).model_fields:
        return section.model_copy(update={_TEMPERATURE: temperature})
    if temperature:
        raise ConfigError(
            f"{_TEMPERATURE} = {temperature:g} cannot be used here; the algorithm has no such option. Leave it out."
        )
    return section


def cells(section: Any, env: EnvConfig, temperatures: Sequence[float], noops: Sequence[int]) -> list[Cell]:
    """Returns the grid, row by row: for each temperature all no-ops.

    Args:
      section: the algorithm's; decides the temperature where none is given.
      env: decides the no-ops where none are given.
      temperatures: of the choice of actions.
      noops: most decisions of no-ops.

    Raises:
      ConfigError: the algorithm has no temperature.
      EnvError: the environment has no no-ops.
    """
    sections = [with_temperature(section, value) for value in temperatures or (temperature_of(section),)]
    envs = environments(env, noops)
    return [
        Cell(f"sampling_temp_{temperature_of(changed)}", most, changed, begun)
        for changed in sections
        for most, begun in envs
    ]


def environments(env: EnvConfig, noops: Sequence[int]) -> list[tuple[float, EnvConfig]]:
    """Returns the environment with each choice of no-ops, and how many decisions those take at most.

    Raises:
      EnvError: it has no no-ops.
    """
    return [(float(most), with_max_noops(env, most)) for most in noops] or [(max_noops(env), env)]


def changed_env(env: EnvConfig, changes: Mapping[str, Any], where: str) -> EnvConfig:
    """Returns the environment with some fields changed.

    Raises:
      ConfigError: there is no such field, or it cannot have that value; `where` names the setting.
    """
    try:
        changed = EnvConfig.model_validate({**env.model_dump(), **changes})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "values"
        raise ConfigError(
            f"{where}: {field}: {first['msg']}.{did_you_mean(field, EnvConfig.model_fields)} Only fields of the env "
            "section can differ there."
        ) from None
    if changed.clip_rewards != env.clip_rewards:
        raise ConfigError(
            f"{where}: clip_rewards = {changed.clip_rewards}; evaluations count raw rewards, and tell a policy of them "
            "as it learned from them. Leave it out."
        )
    return changed
