"""The grid of an evaluation: sampling temperatures × no-ops at the start of a game; each cell is played by itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pydantic

from rlsys.api import Algorithm
from rlsys.api.spaces import actions_of, observations_of
from rlsys.config import EnvConfig, read_env, tasks_of
from rlsys.envs.make import env_spec
from rlsys.envs.table import find, settled
from rlsys.envs.tasks import each_task, names
from rlsys.errors import ConfigError, EnvError, RlsysError, did_you_mean
from rlsys.types import EnvSpec


@dataclass(frozen=True)
class Cell:
    """One way to evaluate.

    Attributes:
      how: what acts, as metrics name it.
      max_noops: decisions for which games may begin with no-ops.
      section: the algorithm's, with the cell's temperature.
      env: the environment, with the cell's no-ops.
      temperature: of the choice of actions; 0 takes the best.
      task: which of several it is that `env` plays; empty where there is one environment.
    """

    how: str
    max_noops: float
    section: Any
    env: EnvConfig
    temperature: float
    task: str = ""

    @property
    def name(self) -> str:
        """Names it among all cells."""
        return f"{self.how}_max_noops_{self.max_noops:g}{f'_{self.task}' if self.task else ''}"

    def metrics(self, mean: float, mean_clipped: float) -> dict[str, float]:
        """Returns mean returns of raw and of clipped rewards by their names in the metrics."""
        name = f"mean_reward/eval/{self.name}"
        return {f"{name}_unclipped": mean, f"{name}_clipped": mean_clipped}


def cells(
    algorithm: Algorithm, section: Any, env: EnvConfig, temperatures: Sequence[float], noops: Sequence[int]
) -> list[Cell]:
    """Returns the grid, row by row: for each temperature all no-ops, and with each of those all tasks.

    Args:
      algorithm: says whether there is a temperature.
      section: the algorithm's; decides the temperature where none is given.
      env: decides the no-ops where none are given.
      temperatures: of the choice of actions.
      noops: most decisions of no-ops.

    Raises:
      ConfigError: the algorithm has no temperature, or not that one.
      EnvError: the environment has no no-ops.
    """
    own = float(getattr(section, algorithm.temperature)) if algorithm.temperature else 0.0
    return [
        Cell(f"sampling_temp_{float(temperature)}", most, changed, one, float(temperature), task)
        for temperature, changed in [
            (temperature, _with_temperature(algorithm, section, temperature)) for temperature in temperatures or (own,)
        ]
        for most, begun in environments(env, noops)
        for task, one in played(begun)
    ]


def _with_temperature(algorithm: Algorithm, section: Any, temperature: float) -> Any:
    """Returns the section with a temperature of evaluations."""
    name = algorithm.temperature
    if not name:
        if temperature:
            raise ConfigError(
                f"temperature = {temperature:g}; {algorithm.name} always takes the best action in evaluations. "
                "Leave it out."
            )
        return section
    try:
        return type(section).model_validate({**section.model_dump(), name: temperature})
    except pydantic.ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{algorithm.name}.{name} = {temperature:g}: {reason}.") from None


def played(env: EnvConfig) -> list[tuple[str, EnvConfig]]:
    """Returns the environment, or each of its tasks with its name."""
    if not env.tasks:
        return [("", env)]
    called = names(tasks_of(env))
    return [(called[one.task or 0], one) for one in each_task(env)]


def environments(env: EnvConfig, noops: Sequence[int]) -> list[tuple[float, EnvConfig]]:
    """Returns the environment with each choice of no-ops, and how many decisions those take at most.

    Raises:
      EnvError: it has no no-ops.
    """
    family = find(env.id)
    if family.noops is not None:
        env = settled(env, family)
        own = [(family.noops.most(env), env)]
        return [(float(most), family.noops.with_most(env, most)) for most in noops] or own
    if any(noops):
        raise EnvError(f"no-ops = {max(noops)} with '{env.id}'; only Atari games have them. Leave them out, or give 0.")
    return [(float(most), env) for most in noops] or [(0.0, env)]


def changed_env(env: EnvConfig, changes: Mapping[str, Any], where: str) -> EnvConfig:
    """Returns the environment with some fields changed.

    Raises:
      ConfigError: there is no such field, or it cannot have that value; `where` names the setting.
    """
    try:
        changed = read_env({**env.model_dump(), **changes})
    except RlsysError as error:
        raise ConfigError(f"{where}: {error}") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "values"
        raise ConfigError(
            f"{where}: {field}: {first['msg']}.{did_you_mean(field, type(env).model_fields)} Only fields of the env "
            "section can differ there."
        ) from None
    _check_rewards(env, changed, where)
    return changed


def check_env(env: EnvConfig, changed: EnvConfig, trained_on: EnvSpec, where: str) -> None:
    """Refuses an environment in which a policy would see, do or be told something else than in its training.

    Args:
      env: that of the training.
      changed: the other one.
      trained_on: spec of `env`.
      where: names the setting.

    Raises:
      ConfigError: observations, actions or rewards are not the same.
      EnvError: it cannot be made.
    """
    _check_rewards(env, changed, where)
    here, there = trained_on, env_spec(changed)
    if _interface(there) != _interface(here):
        raise ConfigError(
            f"{where} gives observations {_observed(there)} and actions {actions_of(there)}; the run has "
            f"{_observed(here)} and {actions_of(here)}. Policies cannot move between them: leave out what changes that."
        )


def _interface(env: EnvSpec) -> tuple[Any, ...]:
    """Returns what a policy is built for."""
    actions = env.action, env.num_actions, env.action_choices, env.action_low, env.action_high
    return env.policy_observation, env.parts, *actions


def _observed(env: EnvSpec) -> str:
    return f"{env.num_stack} × {observations_of(env)}" if env.num_stack > 1 else observations_of(env)


def _check_rewards(env: EnvConfig, changed: EnvConfig, where: str) -> None:
    if changed.clip_rewards != env.clip_rewards:
        raise ConfigError(
            f"{where}: clip_rewards = {changed.clip_rewards}; evaluations count raw rewards, and tell a policy of them "
            "as it learned from them. Leave it out."
        )
