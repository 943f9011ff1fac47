"""An export's settings: whoever made it does not decide what is imported, opened or written on another machine."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlsys import registry
from rlsys.config import EnvConfig, Experiment
from rlsys.config.location import OF_A_MACHINE
from rlsys.errors import CheckpointError

_PLACES = {
    "runtime": ("address",),
    "run": ("directory", "checkpoints", "init_from", "wandb", "wandb_project", "group_tag", "run_tag"),
}
"""Section -> its fields that say where something lies, or whose it is; of the env section, its type says so."""


def without_places(experiment: Experiment) -> Experiment:
    """Returns the experiment without the places and names of whoever trained it."""
    of_env = _places_of(experiment.env)
    changed: dict[str, Any] = {}
    for section, names in {**_PLACES, "env": of_env}.items():
        values = getattr(experiment, section)
        fields = type(values).model_fields
        changed[section] = values.model_copy(update={name: fields[name].default for name in names})
    run = changed["run"]
    final = [one.model_copy(update={"env": _without(one.env, of_env)}) for one in run.final_evaluation]
    evaluation = {"evaluation_env": _without(run.evaluation_env, of_env), "final_evaluation": tuple(final)}
    changed["run"] = run.model_copy(update=evaluation)
    own = registry.section_of(experiment.algorithm)
    changed[own] = experiment.section
    for name in ("run", own):  # another run's weights were read once, where it began
        begun_from = dict.fromkeys(field for field in type(changed[name]).model_fields if field.endswith("_from"))
        changed[name] = changed[name].model_copy(update=begun_from)
    return experiment.model_copy(update=changed)


def _places_of(env: EnvConfig) -> tuple[str, ...]:
    return tuple(name for name, field in type(env).model_fields.items() if OF_A_MACHINE in field.metadata)


def _without(env: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in env.items() if name not in names}


def check_algorithm(settings: Mapping[str, Any], name: str) -> None:
    """Refuses an algorithm of a module, unless this process has imported that by itself, as a run of it does.

    Args:
      settings: of the export, as they are written: reading them as an experiment would import the module.
      name: of the export.

    Raises:
      CheckpointError: it is of one that has not been imported.
    """
    algorithm = str(settings.get("algorithm", ""))
    module, colon, _ = algorithm.partition(":")
    if colon and module not in sys.modules:
        raise CheckpointError(
            f"export '{name}' is of '{algorithm}', which would import the module '{module}' on this machine. Give "
            "--trust if you trust whoever made it; a run begins with it if it is of the same algorithm."
        )


def check_environments(settings: Mapping[str, Any], name: str) -> None:
    """Refuses environments whose id has a module imported, or whose constructor is told of a file.

    Args:
      settings: of the export, as they are written: reading them as an experiment would import the module.
      name: of the export.

    Raises:
      CheckpointError: there is one.
    """
    for env in _environments(settings):
        module, colon, _ = str(env.get("id", "")).partition(":")
        if colon:
            raise CheckpointError(
                f"export '{name}' plays '{env['id']}', which would import the module '{module}' on this machine. Give "
                "--trust if you trust whoever made it."
            )
        path = next((text for text in _texts(env.get("kwargs", {})) if set(text) & {"/", "\\", "~"}), None)
        if path is not None:
            raise CheckpointError(
                f"export '{name}' gives its environment env.kwargs with {path!r}, which may name a file on this "
                "machine. Give --trust if you trust whoever made it."
            )


def without_environments(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns written settings without what says what is played."""
    run = settings.get("run")
    kept = {name: value for name, value in settings.items() if name != "env"}
    if isinstance(run, Mapping):
        kept["run"] = _without(run, ("evaluation_env", "final_evaluation"))
    return kept


def _environments(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    run = _section(settings, "run")
    final = run.get("final_evaluation")
    places = [(settings, "env"), (run, "evaluation_env")]
    places += [(one, "env") for one in final] if isinstance(final, list) else []
    for tree, name in places:
        env = _section(tree, name)
        yield env
        tasks = env.get("tasks")
        for task in tasks if isinstance(tasks, list) else ():
            yield task if isinstance(task, Mapping) else {"id": task}


def _section(tree: Any, name: str) -> Mapping[str, Any]:
    section = tree.get(name) if isinstance(tree, Mapping) else None
    return section if isinstance(section, Mapping) else {}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)
