"""What an evaluation, or a play, sets for itself: KEY=VALUE of the environment and of the algorithm's section."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlsys.api import Algorithm, Policy, PolicyContext
from rlsys.config import Loaded, override
from rlsys.config.fields import described_fields
from rlsys.envs.make import env_spec
from rlsys.errors import ConfigError, RlsysError, did_you_mean
from rlsys.files.yaml_tree import at, format_value, split_override
from rlsys.runs.grid import check_env
from rlsys.terminal import as_text


def with_overrides(
    loaded: Loaded, algorithm: Algorithm, overrides: Sequence[str], options: Mapping[str, str]
) -> tuple[Loaded, dict[str, Any]]:
    """Returns what was trained with other settings, which its weights still fit, and those settings.

    Args:
      loaded: as it was trained.
      algorithm: of it.
      overrides: KEY=VALUE, as for a launch.
      options: dotted setting of another section -> the option of the command that stands for it.

    Returns:
      The experiment, and dotted setting -> value, as JSON data.

    Raises:
      RlsysError: a key or a value that cannot be; a setting of another section, one that gives the weights another
        meaning, or an environment that they do not fit.
    """
    for text in overrides:
        key, _ = split_override(text)
        if key.partition(".")[0] not in ("env", algorithm.name):
            raise _other_section(loaded, algorithm, key, options)
    changed = override(loaded, overrides)
    before, after = loaded.experiment.model_dump(mode="json"), changed.experiment.model_dump(mode="json")
    changes = {path: at(after, path) for path in changed.origin if path not in loaded.origin}
    for path, value in changes.items():
        if path.removeprefix(f"{algorithm.name}.") in algorithm.kept and value != at(before, path):
            raise ConfigError(
                f"{path} = {as_text(value)} is not the {as_text(at(before, path))} of the training; what has been "
                "learned would mean something else. Leave it out."
            )
    if changed.experiment.env != loaded.experiment.env:
        check_env(loaded.experiment.env, changed.experiment.env, env_spec(loaded.experiment.env), "KEY=VALUE of env")
    return changed, changes


def check_policy(
    make_policy: Callable[[PolicyContext], Policy], context: PolicyContext, changes: Mapping[str, Any]
) -> None:
    """Refuses settings of which no policy can be built.

    Raises:
      RlsysError: it names the settings, and why.
    """
    if not changes:
        return
    try:
        make_policy(context)
    except RlsysError:
        raise
    except Exception as error:  # noqa: BLE001 - without the settings it could be built
        reason = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        raise ConfigError(
            f"with {', '.join(words_of(changes))} no policy can be built for '{context.env.id}': {reason}. Leave out "
            "what changes its networks."
        ) from None


def words_of(changes: Mapping[str, Any]) -> list[str]:
    """Returns the settings as they would be given: KEY=VALUE each."""
    return [f"{path}={format_value(value)}" for path, value in changes.items()]


def _other_section(loaded: Loaded, algorithm: Algorithm, key: str, options: Mapping[str, str]) -> ConfigError:
    known = [path for path, _ in described_fields(type(loaded.experiment))]
    here = [path for path in known if path.startswith(("env.", f"{algorithm.name}."))]
    hint = f" Use {options[key]}." if key in options else "" if key in known else did_you_mean(key, here)
    return ConfigError(
        f"{key} cannot be changed here; only settings of env and {algorithm.name} can.{hint or ' Leave it out.'}"
    )
