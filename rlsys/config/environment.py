"""The env section: what every environment has and, flat beside it, what the family of its id brings along.

Families are above this package: which type an id means is asked of the registry, as it is with algorithms' sections.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from rlsys import registry
from rlsys.config.fields import explain, shortened
from rlsys.config.sections import EnvConfig
from rlsys.config.values import field_type
from rlsys.errors import ConfigError, EnvError


def read_env(fields: Mapping[str, Any]) -> EnvConfig:
    """Returns an env section of the type that its id means.

    Raises:
      pydantic.ValidationError: an unknown field, or a value that it cannot have.
      ConfigError: a field that only other families have, or the module that the id names cannot be imported.
    """
    fields = with_id(fields)
    model = env_type(fields)
    return model.model_validate(without_others(fields, model))


def with_id(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns an env section with an id: where none is written, that of the first of its tasks."""
    tasks = fields.get("tasks")
    if "id" in fields or not isinstance(tasks, list | tuple) or not tasks:
        return fields
    first = tasks[0].get("id") if isinstance(tasks[0], Mapping) else tasks[0]
    return {**fields, "id": first} if isinstance(first, str) else fields


def tasks_of(config: EnvConfig) -> list[EnvConfig]:
    """Returns the environments of `env.tasks`, each by itself; the one environment where there are none.

    Raises:
      ConfigError: a field that one of them cannot have; it is named with its number.
    """
    if not config.tasks:
        return [config]
    shared = config.model_dump(exclude={"tasks", "task", "task_in_observation"})
    found = []
    for number, task in enumerate(config.tasks):
        try:
            fields = {**shared, **({"id": task} if isinstance(task, str) else task)}
            found.append(read_env(fields))
        except ValidationError as error:
            raise ConfigError(f"env.tasks[{number}]: {explain(error, env_type(fields), fields, 'there', {})}") from None
        except ConfigError as error:
            raise ConfigError(f"env.tasks[{number}]: {error}") from None
        if found[-1].tasks:
            raise ConfigError(f"env.tasks[{number}] has tasks of its own; name those in its place.")
    return found


def env_type(fields: Any) -> type[EnvConfig]:
    """Returns the type that an env section has with this id; for an unknown one, what every environment has.

    Raises:
      ConfigError: the module that the id names cannot be imported.
    """
    env_id = fields.get("id", EnvConfig().id) if isinstance(fields, Mapping) else None
    try:
        family = registry.family_of(env_id) if isinstance(env_id, str) else None
    except EnvError as error:
        raise ConfigError(str(error)) from error
    return EnvConfig if family is None else family.config_type


def without_others(fields: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Returns an env section without what only other families have, as long as that says nothing.

    Raises:
      ConfigError: something else than its default is given for such a field.
    """
    kept = {}
    for name, value in fields.items():
        owners = [] if name in model.model_fields else _owners(name)
        if not owners:
            kept[name] = value
        elif not any(_is_default(owner.config_type, name, value) for owner in owners):
            names = " and ".join(dict.fromkeys(owner.name for owner in owners))
            env_id = shortened(fields.get("id", EnvConfig().id))
            raise ConfigError(f"env.{name} = {shortened(value)} with {env_id}; only {names} have it. Leave it out.")
    return kept


def _owners(name: str) -> Sequence[registry.Family]:
    return [family for family in registry.families() if name in family.config_type.model_fields]


def _is_default(model: type[BaseModel], name: str, value: Any) -> bool:
    try:
        checked = TypeAdapter(field_type(model, name)).validate_python(value)
    except ValidationError:
        return False
    return bool(checked == model.model_fields[name].get_default(call_default_factory=True))
