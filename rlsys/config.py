"""Experiments as typed data: pydantic models ⇄ YAML ⇄ KEY=VALUE.

Four layers, later ones win; `Loaded.origin` remembers which one set each field:

    default      the field's default in its model
    experiment   configs/<name>.yaml
    profile      launch/<profile>.yaml
    override     KEY=VALUE on the command line, dotted: `muzero.num_simulations=50`

An experiment has the sections below and one more, named after its algorithm and typed by it.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from pydantic import BaseModel, Field, create_model

from rlsys import registry
from rlsys.errors import ConfigError, did_you_mean


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, every field described."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EnvConfig(Section):
    """The environment and its wrappers, innermost first; names are upstream's (model-based-rl)."""

    id: str = "CartPole-v1"
    """Environment id: gymnasium's, ALE's, or an old Atari id such as 'Breakout-ramNoFrameskip-v4'."""
    max_episode_steps: int | None = Field(None, ge=1)
    """Raw simulator steps after which an episode is truncated; none keeps the environment's own limit."""
    noop_reset: bool = False
    """Atari: begin each game with 0 to noop_max no-ops, uniformly."""
    noop_max: int = Field(30, ge=1)
    """Most no-ops of noop_reset."""
    sticky_actions: int = Field(1, ge=1)
    """Simulator steps per decision with the same action; rewards are summed. (Action repeat; not ALE's stickiness.)"""
    repeat_action_probability: float = Field(0.0, ge=0.0, lt=1.0)
    """Atari: chance that the emulator repeats its previous action (Machado et al. 2018 use 0.25)."""
    full_action_space: bool = False
    """Atari: all 18 actions rather than the game's own."""
    episode_life: bool = False
    """Atari: losing a life (Pong: a point) terminates the episode for learning while the game goes on."""
    fire_reset: bool = False
    """Atari: press FIRE after a reset in games that need it."""
    frame_size: tuple[int, int] = (96, 96)
    """Atari by pixels: height and width to which frames are shrunk (area interpolation)."""
    grayscale: bool = True
    """Atari by pixels: one channel rather than three."""
    frame_skip: int = Field(4, ge=1)
    """Atari by pixels: emulator frames per step, of which the last two are max-pooled. 1 for RAM observations."""
    stack_states: int = Field(1, ge=1)
    """Consecutive observations that the policy sees at once."""
    state_range: tuple[float, ...] | None = None
    """lo hi pairs, one for all features or one per feature: the range that norm_states maps to [0, 1]."""
    norm_states: bool = False
    """Rescale observations by state_range before the networks; replay keeps raw values."""
    clip_rewards: bool = False
    """Learn from the sign of the reward; returns are reported unclipped."""
    avoid_repeat: bool = False
    """After 500 raw steps without a reward, replace 5 % of the actions by random ones (while exploring)."""

    @pydantic.model_validator(mode="after")
    def _check_range(self) -> "EnvConfig":
        if self.norm_states and not self.state_range:
            raise ValueError("norm_states = true needs state_range; give lo hi, for example state_range=[0,255]")
        if self.state_range is not None:
            low, high = self.state_range[0::2], self.state_range[1::2]
            if len(low) != len(high) or not low or any(a >= b for a, b in zip(low, high, strict=True)):
                raise ValueError(
                    f"state_range = {list(self.state_range)}; it must be pairs lo hi with lo < hi. "
                    "Give one pair for all features or one per feature"
                )
        return self


class RuntimeConfig(Section):
    """How many workers of each kind, where they run and how they are bounded; a launch profile sets these."""

    rollout_workers: int | Literal["auto"] = "auto"
    """Processes that step environments; auto: one per CPU core of the cluster."""
    environments_per_worker: int = Field(32, ge=1)
    """Environments that one rollout worker steps in lockstep, acting once for all of them."""
    rollout_cpus: float = Field(1.0, ge=0.0)
    """CPU cores that Ray reserves per rollout worker (0: any number fits on one machine)."""
    rollout_threads: int = Field(1, ge=1)
    """torch threads of a rollout worker."""
    replay_shards: int = Field(1, ge=1)
    """Processes that replay is spread over."""
    learners: int = Field(1, ge=1)
    """Data-parallel learner ranks (torch.distributed: NCCL on GPUs, gloo on CPUs)."""
    learner_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where learners compute; auto takes a GPU where the cluster has one."""
    learner_gpus: float = Field(1.0, gt=0.0)
    """GPUs that Ray reserves per learner when it computes on one; below 1 learners share a GPU."""
    learner_threads: int | Literal["auto"] = "auto"
    """torch threads of a learner on a CPU; auto: all cores of the machine, shared by the learners."""
    segments_in_flight: int = Field(2, ge=1)
    """Segments that a rollout worker may have on the way to replay before it waits."""
    batches_in_flight: int = Field(3, ge=1)
    """Batches that a learner asks for in advance (upstream: batches_per_fetch, 15)."""
    tick_s: float = Field(1.0, gt=0.0)
    """Longest that a worker works before it reports, in seconds."""
    max_version_lag: int = Field(0, ge=0)
    """A rollout worker waits while its weights are more than so many versions old; 0: it never waits."""
    worker_restarts: int = Field(5, ge=0)
    """Restarts of one worker within ten minutes after which the run stops with an error."""
    address: str | None = None
    """Ray cluster to join: 'auto' for the one on this machine, or host:port; none starts one here."""


class RunConfig(Section):
    """Budget, seeds, evaluation, checkpoints and tracking."""

    seed: int = 0
    """Seed of everything random; workers derive their own from it."""
    training_steps: int = Field(100_000_000, ge=1)
    """Learner steps after which the run is complete (upstream default 1e8)."""
    env_steps: int | None = Field(None, ge=1)
    """Decisions after which the run is complete; none: no limit."""
    minutes: float | None = Field(None, gt=0.0)
    """Wall time after which the run is complete, this session; none: no limit."""
    target_return: float | None = None
    """Mean evaluation return at which the run is complete; none: no target."""
    evaluate_every_learner_steps: int = Field(2_000, ge=0)
    """Learner steps between evaluations with frozen weights; 0: none."""
    evaluation_episodes: int = Field(10, ge=1)
    """Episodes of each evaluation, greedy, on fixed seeds."""
    checkpoint_every_learner_steps: int = Field(1_000, ge=0)
    """Learner steps between checkpoints (upstream: save_state_frequency); 0: only at the end."""
    keep_checkpoints: int = Field(2, ge=1)
    """Latest checkpoints kept, besides the best by evaluation."""
    log_every_s: float = Field(5.0, gt=0.0)
    """Seconds between rows of metrics."""
    directory: str = "runs"
    """Folder of all runs; a run lives in <directory>/<experiment>/<run-id>."""
    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Weights & Biases: auto is online with a login, else offline."""
    wandb_project: str = "rlsys"
    """Weights & Biases project."""
    group_tag: str = "default"
    """Groups runs in tracking (upstream: --group_tag)."""
    run_tag: str | None = None
    """The run's id; none makes one from date and time (upstream: --run_tag)."""
    tensorboard: bool = True
    """Write TensorBoard files."""
    video: bool = True
    """Record one episode of each evaluation where the environment can be drawn."""
    debug_histograms: bool = False
    """Log distributions of weights and gradients (upstream: --debug)."""


class Experiment(Section):
    """One experiment, merged from its layers. `section` is the algorithm's own part."""

    algorithm: str
    """Name of a folder in rlsys/algorithms."""
    env: EnvConfig = EnvConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    run: RunConfig = RunConfig()

    @property
    def section(self) -> Any:
        """The algorithm's own configuration, an instance of `Algorithm.config_type`."""
        return getattr(self, self.algorithm)


@dataclass(frozen=True)
class Loaded:
    """An experiment with its name and the layer that set each field (dotted path -> layer; absent: default)."""

    name: str
    profile: str
    experiment: Experiment
    origin: Mapping[str, str]


def data_folder(kind: Literal["configs", "launch"]) -> Path:
    """Returns the folder of experiments or profiles: inside the installed package, else of the checkout."""
    installed = Path(__file__).parent / f"_{kind}"
    return installed if installed.is_dir() else Path(__file__).parent.parent / kind


def experiment_names() -> list[str]:
    """Returns the names of all experiments, sorted."""
    return sorted(path.stem for path in data_folder("configs").glob("*.yaml"))


def profile_names() -> list[str]:
    """Returns the names of all launch profiles, sorted."""
    return sorted(path.stem for path in data_folder("launch").glob("*.yaml"))


def load(name: str, profile: str = "laptop", overrides: Iterable[str] = ()) -> Loaded:
    """Merges configs/<name>.yaml, launch/<profile>.yaml and KEY=VALUE overrides.

    Args:
      name: an experiment's name, or the path of a YAML file.
      profile: a launch profile's name, or the path of a YAML file.
      overrides: `section.field=value` strings; the value is read as YAML.

    Raises:
      ConfigError: an unknown name or key, a wrong type, or values that exclude each other.
    """
    override_tree: dict[str, Any] = {}
    for text in overrides:
        _set(override_tree, text)
    layers = {
        "experiment": read_yaml(_find(name, "configs", "experiment")),
        "profile": read_yaml(_find(profile, "launch", "profile")),
        "override": override_tree,
    }
    if layers["override"].pop("debug", False) is True:
        algorithm = layers["override"].get("algorithm", layers["experiment"].get("algorithm"))
        section = {algorithm: dict(registry.get(algorithm).debug)}
        layers["override"] = _merge(_merge(_DEBUG, section), layers["override"])
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for layer, tree in layers.items():
        merged = _merge(merged, tree)
        origin.update({path: layer for path in _leaves(tree)})
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    return Loaded(stem, profile, build(merged, where=f"experiment '{stem}'"), origin)


def build(tree: Mapping[str, Any], where: str) -> Experiment:
    """Builds an experiment from plain data; `where` names its source in errors."""
    algorithm = tree.get("algorithm")
    if not isinstance(algorithm, str):
        raise ConfigError(f"{where} has no 'algorithm'; it must name one of {', '.join(registry.names())}.")
    model = experiment_type(algorithm)
    try:
        return model.model_validate(dict(tree))
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error, model, where)) from None


@functools.cache
def experiment_type(algorithm: str) -> type[Experiment]:
    """Returns `Experiment` with the algorithm's section added."""
    config_type = registry.get(algorithm).config_type
    return create_model(  # type: ignore[call-overload, no-any-return]
        "Experiment", __base__=Experiment, **{algorithm: (config_type, config_type())}
    )


def dump(experiment: Experiment) -> str:
    """Returns the experiment as YAML that `build` reads back unchanged."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)


def read_yaml(path: Path) -> dict[str, Any]:
    """Reads a YAML mapping.

    Raises:
      ConfigError: the file is not YAML, or not a mapping.
    """
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}. Correct the file.") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold a mapping of sections, not {type(tree).__name__}. Correct the file.")
    return tree


_DEBUG: dict[str, Any] = {
    "runtime": {"rollout_workers": 1, "environments_per_worker": 4, "tick_s": 0.2},
    "run": {
        "training_steps": 20,
        "evaluate_every_learner_steps": 10,
        "evaluation_episodes": 1,
        "checkpoint_every_learner_steps": 10,
        "log_every_s": 0.5,
    },
}
"""What `debug=true` sets beneath the other overrides, together with `Algorithm.debug`."""


def _find(name: str, kind: Literal["configs", "launch"], noun: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
    else:
        path = data_folder(kind) / f"{name}.yaml"
    if not path.is_file():
        known = experiment_names() if kind == "configs" else profile_names()
        hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
        raise ConfigError(f"no {noun} '{name}'.{hint} 'rlsys list' shows all.")
    return path


def _set(tree: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"override '{text}' is not KEY=VALUE. Write for example run.seed=1.")
    *sections, leaf = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"override '{text}' descends into '{section}', which another override set to a value.")
    try:
        tree[leaf] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"override '{text}': '{value}' is not a YAML value. Quote it, or write a number or a list.") from None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _explain(error: pydantic.ValidationError, model: type[BaseModel], where: str) -> str:
    """Turns the first validation error into one line that names the key, the value and what is allowed."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}' in {where}.{_nearest_key(model, path)}"
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"] == "value_error":
        return f"{where}: {f'{key}: ' if key else ''}{message}."
    return f"{where}: {key} = {first['input']!r}; {message[0].lower()}{message[1:]}."


def _nearest_key(model: type[BaseModel], path: list[str]) -> str:
    for part in path[:-1]:
        annotation = model.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ""
        model = annotation
    known = list(model.model_fields)
    return did_you_mean(path[-1], known) or f" Known here: {', '.join(known)}."
