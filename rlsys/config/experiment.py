"""Experiments as typed data: pydantic models ⇄ YAML ⇄ KEY=VALUE.

Layers, later ones win; `Loaded.origin` remembers which one set each field:

    default      the field's default in its model
    profile      launch/laptop.yaml, where no profile is named: it fills in what the experiment leaves open
    experiment   configs/<name>.yaml
    profile      launch/<profile>.yaml, where one is named
    debug        what `debug=true` shrinks: see `_DEBUG` and `Algorithm.debug`
    override     KEY=VALUE on the command line, dotted: `muzero.num_simulations=50`

An experiment has the sections below and one more, named after its algorithm and typed by it (of MODULE:NAME, after
NAME); its env section has the type of the environment's family.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import SerializeAsAny, create_model

from rlsys import registry
from rlsys.api import Algorithm
from rlsys.config.environment import env_type, tasks_of, with_id, without_others
from rlsys.config.fields import described_fields, explain, shortened
from rlsys.config.quantities import Text
from rlsys.config.sections import EnvConfig, RunConfig, RuntimeConfig, Section
from rlsys.config.values import given, read_as, type_at
from rlsys.errors import ConfigError, did_you_mean
from rlsys.files.yaml_tree import Tree, at, format_yaml, leaves, merge, nested, read_written, scalar, split_override
from rlsys.files.yaml_tree import read_yaml as read_yaml  # noqa: PLC0414 - part of this module's interface


class Experiment(Section):
    """One experiment, merged from its layers. `section` is the algorithm's own part."""

    algorithm: Text
    """Name of a folder in rlsys/algorithms, or in rlsys/baselines; one of your own is MODULE:NAME."""
    env: SerializeAsAny[EnvConfig] = EnvConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    run: RunConfig = RunConfig()

    @property
    def section(self) -> Any:
        """The algorithm's own configuration, an instance of `Algorithm.config_type`."""
        return getattr(self, registry.section_of(self.algorithm))


@dataclass(frozen=True)
class Loaded:
    """An experiment with its name and the layer that set each field (dotted path -> layer; absent: default).

    Attributes:
      words: what names it on a command line, before the KEY=VALUE that `origin` calls override: the experiment, the
        profile if one was named, debug=true; empty for a run that was found.
    """

    name: str
    profile: str
    experiment: Experiment
    origin: Mapping[str, str]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class FieldDescription:
    """One field of an experiment, as `rlsys show` prints it.

    Attributes:
      path: dotted, as in KEY=VALUE.
      value, default: as JSON data; `default` is None for a field that must be given.
      layer: who set the value: default, experiment, profile, debug or override.
      meaning: the field's docstring.
    """

    path: str
    value: Any
    default: Any
    layer: str
    meaning: str


def data_folder(kind: Literal["configs", "launch", "trained"]) -> Path:
    """Returns the folder of experiments, profiles or trained exports: inside the package, else of the checkout."""
    package = Path(__file__).parent.parent
    installed = package / f"_{kind}"
    return installed if installed.is_dir() else package.parent / kind


def experiment_names() -> list[str]:
    """Returns the names of all experiments, sorted."""
    return sorted(path.stem for path in data_folder("configs").glob("*.yaml"))


def profile_names() -> list[str]:
    """Returns the names of all launch profiles, sorted."""
    return sorted(path.stem for path in data_folder("launch").glob("*.yaml"))


def load(name: str, profile: str | None = None, overrides: Iterable[str] = ()) -> Loaded:
    """Merges configs/<name>.yaml, launch/<profile>.yaml and KEY=VALUE overrides.

    Args:
      name: an experiment's name, or the path of a YAML file.
      profile: a launch profile's name, or the path of a YAML file, which wins over the experiment; None takes
        `DEFAULT_PROFILE`, over which the experiment wins.
      overrides: `section.field=value` strings; a text field takes the value verbatim (null is none, where that is
        allowed), all others read it as YAML.

    Raises:
      ConfigError: an unknown name or key, one that is given twice, a wrong type, or values that exclude each other.
    """
    experiment_file = _find(name, "configs", "experiment")
    profile_file = _find(profile or DEFAULT_PROFILE, "launch", "profile")
    written = dict(_split(overrides))
    debug = scalar(written.pop("debug", "false"))
    if not isinstance(debug, bool):
        raise ConfigError(f"debug = {shortened(debug)}; it must be true or false. Write debug=true.")
    layers = {"experiment": read_written(experiment_file), "profile": read_written(profile_file)}
    if profile is None:
        layers = dict(reversed(layers.items()))
    algorithm = str(written.get("algorithm", layers["experiment"].get("algorithm")))
    if debug:
        layers["debug"] = _debug(algorithm, layers["experiment"])
    layers["override"] = _overriding(written, algorithm, *layers.values())
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for layer, tree in layers.items():
        merged = merge(merged, tree)
        origin.update(dict.fromkeys(leaves(tree), layer))
    places = {
        "experiment": f"in {experiment_file}",
        "profile": f"in {profile_file}",
        "debug": "in what debug=true sets",
        "override": _COMMAND_LINE,
    }
    where = {path: places[layer] for path, layer in origin.items()}
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    experiment = build(merged, str(experiment_file), where)
    words = [_named(name), *(["--profile", _named(profile)] if profile else []), *(["debug=true"] if debug else [])]
    return Loaded(stem, profile or DEFAULT_PROFILE, experiment, origin, tuple(words))


def override(loaded: Loaded, overrides: Iterable[str]) -> Loaded:
    """Returns the experiment with more KEY=VALUE strings on top, as for a run that is resumed.

    Raises:
      ConfigError: as `load`.
    """
    written = dict(_split(overrides))
    saved = loaded.experiment.model_dump()
    tree = _overriding(written, written.get("algorithm", loaded.experiment.algorithm), saved)
    paths = dict.fromkeys(leaves(tree), "override")
    where = dict.fromkeys(paths, _COMMAND_LINE)
    experiment = build(merge(saved, tree), f"experiment '{loaded.name}'", where)
    return replace(loaded, experiment=experiment, origin={**loaded.origin, **paths})


def describe(loaded: Loaded) -> list[FieldDescription]:
    """Returns every field of an experiment in the order of its models."""
    values = loaded.experiment.model_dump(mode="json")
    algorithm = loaded.experiment.algorithm
    defaults = {
        **Experiment(algorithm="", env=type(loaded.experiment.env)()).model_dump(mode="json"),
        "algorithm": None,
        registry.section_of(algorithm): registry.get(algorithm).config_type().model_dump(mode="json"),
    }
    return [
        FieldDescription(path, at(values, path), at(defaults, path), _layer(loaded, path), meaning)
        for path, meaning in described_fields(type(loaded.experiment))
    ]


def build(tree: Mapping[str, Any], where: str, places: Mapping[str, str] | None = None) -> Experiment:
    """Builds an experiment from plain data.

    Args:
      tree: nested sections.
      where: names the source of `tree` in errors, such as "configs/a.yaml".
      places: a phrase for single fields (dotted path -> "on the command line") that come from elsewhere.

    Raises:
      ConfigError: an unknown key, a wrong type, or values that exclude each other.
    """
    algorithm = tree.get("algorithm")
    if not isinstance(algorithm, str) or not algorithm:
        raise ConfigError(
            f"{where} has no 'algorithm'; it must name one of {', '.join(registry.names())}. Add algorithm: NAME."
        )
    if isinstance(tree.get("env"), dict):
        tree = {**tree, "env": with_id(tree["env"])}
    section = env_type(tree.get("env", {}))
    model = experiment_type(algorithm, section)
    typed = read_as(model, dict(tree))
    env = typed.get("env", {})
    if isinstance(env, dict):
        typed["env"] = env = without_others(env, section)
    context = {"env": lambda changes: env_type({**env, **changes}) if isinstance(env, dict) else section}
    try:
        experiment = model.model_validate(typed, context=context)
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, model, typed, f"in {where}", places or {})) from None
    tasks_of(experiment.env)  # refuses fields that one of them cannot have
    return experiment


def _split(overrides: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yields key and value of each KEY=VALUE; refuses a key that is given twice, of which one would be lost."""
    seen: dict[str, str] = {}
    for text in overrides:
        key, value = split_override(text)
        if key in seen:
            raise ConfigError(
                f"{key[:80]} is given twice, as {shortened(seen[key])} and as {shortened(value)}. Leave one out."
            )
        seen[key] = value
        yield key, value


def _overriding(written: Mapping[str, str], algorithm: str, *below: Tree) -> Tree:
    """Returns nested sections of what was written on the command line, over trees that may say which environment."""
    try:
        model = experiment_type(algorithm, EnvConfig)
    except ConfigError:  # `build` says so
        return _sections(written, Experiment)
    named = _sections({key: text for key, text in written.items() if key in ("env", "env.id")}, model)
    env = functools.reduce(merge, (*below, named)).get("env", {})
    return _sections(written, experiment_type(algorithm, env_type(with_id(env) if isinstance(env, dict) else env)))


def _sections(written: Mapping[str, str], model: type[Experiment]) -> Tree:
    """Returns nested sections, with each value as the type of its field reads it."""
    tree: Tree = {}
    for key, text in written.items():
        try:
            value = given(type_at(model, key), text)
        except ConfigError as error:
            raise ConfigError(
                f"{key} = {shortened(text)} is not a YAML value: {error}. Write for example 3, [1, 2] or {{a: 1}}."
            ) from None
        added = nested(key, value)
        for path in leaves(added):
            if any(f"{path}.".startswith(f"{other}.") or f"{other}.".startswith(f"{path}.") for other in leaves(tree)):
                raise ConfigError(f"{path} is given twice, once in what is around it. Leave one of them out.")
        tree = merge(tree, added)
    return tree


@functools.cache
def experiment_type(algorithm: str, env: type[EnvConfig]) -> type[Experiment]:
    """Returns `Experiment` with the algorithm's section added, and the env section of a family.

    Raises:
      ConfigError: there is no such algorithm, or its section cannot have its name.
    """
    config_type, section = registry.get(algorithm).config_type, registry.section_of(algorithm)
    if (
        not section.isidentifier()
        or section.startswith("_")
        or hasattr(Experiment, section)
        or section in Experiment.model_fields
    ):
        raise ConfigError(
            f"algorithm = {algorithm[:80]}: '{section[:80]}' cannot be the name of a section beside "
            f"{', '.join(Experiment.model_fields)}. Give the algorithm another name."
        )
    sections = {"env": (env, env()), section: (config_type, config_type())}
    return create_model("Experiment", __base__=Experiment, **sections)  # type: ignore[call-overload, no-any-return]


def dump(experiment: Experiment) -> str:
    """Returns the experiment as YAML that `build` reads back unchanged."""
    return format_yaml(experiment.model_dump(mode="json"))


DEFAULT_PROFILE = "laptop"
_DEBUG: dict[str, Any] = {
    "runtime": {"rollout_workers": 1, "tick_s": 0.2},
    "run": {
        "training_steps": 20,
        "evaluate_every_learner_steps": 10,
        "evaluation_episodes": 1,
        "evaluation_max_steps": 200,
        "checkpoint_every_learner_steps": 10,
        "log_every_s": 0.5,
    },
}
"""What `debug=true` sets beneath the other overrides, together with `Algorithm.debug`."""
_DEBUG_ENVIRONMENTS = 4


_COMMAND_LINE = "on the command line"


def _debug(algorithm: str, experiment: Tree) -> Tree:
    """Returns what shrinks an experiment with this algorithm to seconds."""
    found = registry.get(algorithm)
    tree = merge(_DEBUG, {registry.section_of(algorithm): dict(found.debug)})
    run = experiment.get("run")
    sets = run.get("final_evaluation") if isinstance(run, dict) else None
    if isinstance(sets, list) and all(isinstance(final, dict) for final in sets):
        once = [{**final, "episodes": 1, "repetitions": 1} for final in sets]
        tree["run"] = {**tree["run"], "final_evaluation": once}
    if not (isinstance(found, Algorithm) and found.environments):
        env = experiment.get("env")
        tasks = env.get("tasks") if isinstance(env, dict) else None
        least = len(tasks) if isinstance(tasks, list) else 0  # each is played
        tree["runtime"] = {**tree["runtime"], "environments_per_worker": max(least, _DEBUG_ENVIRONMENTS)}
    return tree


def _find(name: str, kind: Literal["configs", "launch"], noun: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        try:
            path.stat()
        except (OSError, ValueError):  # it is not there, or no name of a file
            raise ConfigError(
                f"no {noun} file {shortened(name)}; there is no such file. 'rlsys list' shows what has a name."
            ) from None
        return path
    path = data_folder(kind) / f"{name}.yaml"
    known = experiment_names() if kind == "configs" else profile_names()
    if name not in known:
        hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
        raise ConfigError(f"no {noun} {shortened(name)}.{hint} 'rlsys list' shows all.")
    return path


def _named(name: str) -> str:
    """Returns a name as it is, and a file so that it can be found from elsewhere."""
    return str(Path(name).absolute()) if name.endswith((".yaml", ".yml")) else name


def _layer(loaded: Loaded, path: str) -> str:
    """Returns the layer that set a field, or, for a field that is a mapping, the last that set a part of it."""
    layers = [layer for key, layer in loaded.origin.items() if f"{key}.".startswith(f"{path}.")]
    return layers[-1] if layers else "default"
