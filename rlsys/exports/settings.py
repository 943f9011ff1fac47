"""An export's settings: whoever made it does not decide what is imported, opened or written on another machine."""

from collections.abc import Iterator, Mapping
from typing import Any

from rlsys.config import Experiment
from rlsys.errors import CheckpointError

_PLACES = {
    "runtime": ("address",),
    "run": ("directory", "checkpoints", "init_from", "wandb", "wandb_project", "group_tag", "run_tag"),
    "env": ("dmlab_level_cache",),
}
"""Section -> its fields that say where something lies, or whose it is."""


def without_places(experiment: Experiment) -> Experiment:
    """Returns the experiment without the places and names of whoever trained it."""
    changed: dict[str, Any] = {}
    for section, names in _PLACES.items():
        values = getattr(experiment, section)
        fields = type(values).model_fields
        changed[section] = values.model_copy(update={name: fields[name].default for name in names})
    run = changed["run"]
    final = [one.model_copy(update={"env": _elsewhere(one.env)}) for one in run.final_evaluation]
    evaluation = {"evaluation_env": _elsewhere(run.evaluation_env), "final_evaluation": tuple(final)}
    changed["run"] = run.model_copy(update=evaluation)
    changed[experiment.algorithm] = experiment.section
    for name in ("run", experiment.algorithm):  # another run's weights were read once, where it began
        begun_from = dict.fromkeys(field for field in type(changed[name]).model_fields if field.endswith("_from"))
        changed[name] = changed[name].model_copy(update=begun_from)
    return experiment.model_copy(update=changed)


def _elsewhere(env: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in env.items() if name not in _PLACES["env"]}


def check_environments(experiment: Experiment, name: str) -> None:
    """Refuses environments whose id has a module imported.

    Args:
      experiment: of the export.
      name: of the export.

    Raises:
      CheckpointError: there is one.
    """
    for env_id in _environments(experiment):
        module, colon, _ = str(env_id).partition(":")
        if colon:
            raise CheckpointError(
                f"export '{name}' plays '{env_id}', which would import the module '{module}' on this machine. Give "
                "--trust if you trust whoever made it."
            )


def _environments(experiment: Experiment) -> Iterator[Any]:
    yield experiment.env.id
    yield experiment.run.evaluation_env.get("id", "")
    for final in experiment.run.final_evaluation:
        yield final.env.get("id", "")
