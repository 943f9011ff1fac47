"""Experiments as typed data: pydantic models ⇄ YAML ⇄ KEY=VALUE.

Layers, later ones win; `Loaded.origin` remembers which one set each field:

    default      the field's default in its model
    profile      launch/laptop.yaml, where no profile is named: it fills in what the experiment leaves open
    experiment   configs/<name>.yaml
    profile      launch/<profile>.yaml, where one is named
    debug        what `debug=true` shrinks: see `_DEBUG` and `Algorithm.debug`
    override     KEY=VALUE on the command line, dotted: `muzero.num_simulations=50`

An experiment has the sections below and one more, named after its algorithm and typed by it.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pydantic
from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, create_model

from rlsys import registry
from rlsys.errors import ConfigError, did_you_mean
from rlsys.fields import described_fields, explain
from rlsys.yaml_tree import Tree, at, format_yaml, leaves, merge, parse_overrides
from rlsys.yaml_tree import read_yaml as read_yaml  # noqa: PLC0414 - part of this module's interface


class Section(BaseModel):
    """Base of all sections: frozen, unknown keys refused, every field described."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, coerce_numbers_to_str=True, allow_inf_nan=False
    )


class EnvConfig(Section):
    """The environment and its wrappers, innermost first; names are upstream's (model-based-rl)."""

    id: str = "CartPole-v1"
    """gymnasium's or ALE's id, an old Atari id ('Breakout-ramNoFrameskip-v4'), 'procgen-chaser', 'tmaze-20', …"""
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
    """Atari: press FIRE after a reset, in games that have it: some wait for it."""
    frame_size: tuple[int, int] = (96, 96)
    """Atari by pixels: height and width to which frames are shrunk (area interpolation)."""
    grayscale: bool = True
    """Atari by pixels: one channel rather than three."""
    frame_skip: int = Field(4, ge=1)
    """Atari by pixels, DMLab: frames per step with the same action, of which the last two are max-pooled."""
    num_levels: int = 0
    """ProcGen: how many levels are played; 0 for all."""
    start_level: int = 0
    """ProcGen: the first of num_levels consecutive levels."""
    distribution_mode: Literal["easy", "hard", "extreme", "memory", "exploration"] = "hard"
    """ProcGen: how levels are drawn; the last three exist for some games only."""
    dmlab_size: tuple[int, int] = (72, 96)
    """DMLab: height and width of frames."""
    dmlab_level_cache: str | None = None
    """DMLab: folder that keeps the maps that levels build, for all workers of a machine; none builds each anew."""
    dmlab_renderer: Literal["software", "hardware"] = "software"
    """DMLab: draw on the CPU or on the GPU."""
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


ENVIRONMENTS_PER_WORKER = 32
"""What runtime.environments_per_worker = auto stands for, where nothing else says how many environments there are."""


class RuntimeConfig(Section):
    """How many workers of each kind, where they run and how they are bounded; a launch profile sets these."""

    rollout_workers: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Processes that step environments; auto: one per CPU core of the cluster. Where all of them share a number of
    environments that the algorithm sets, there are at most so many: the most that can share them equally."""
    environments_per_worker: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Environments that one rollout worker steps in lockstep, acting once for all of them; auto: 32, or an equal share
    of those that the algorithm sets (ppo.num_environments, simple.real_batch_size), which then has to stay auto."""
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
    learner_threads: int | Literal["auto"] = 1
    """torch threads of a learner on a CPU; auto: all cores of the machine, shared by the learners, which pays for large
    networks where rollout workers rest meanwhile; small ones it makes slower."""
    inference_workers: int | Literal["auto"] = 0
    """Processes that decide for the rollout workers, batched; 0: each decides itself; auto: one if there is a GPU."""
    inference_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where inference workers compute; auto takes a GPU where the cluster has one."""
    inference_gpus: float = Field(0.5, gt=0.0)
    """GPUs that Ray reserves per inference worker when it computes on one."""
    inference_batch_size: int = Field(512, ge=1)
    """Most environments that are decided for at once (upstream: 512)."""
    segments_in_flight: int = Field(2, ge=1)
    """Segments that a rollout worker may have on the way to replay before it waits."""
    batches_in_flight: int = Field(3, ge=1)
    """Batches that a learner asks for in advance (upstream: batches_per_fetch, 15)."""
    tick_s: float = Field(1.0, gt=0.0)
    """Longest that a worker works before it reports, in seconds."""
    send_weights_frequency: int = Field(500, ge=1)
    """Learner steps between two publications of weights."""
    weight_sync_frequency: int = Field(1_000, ge=1)
    """Decisions of one rollout worker between two looks for newer weights."""
    max_version_lag: int | None = Field(None, ge=1)
    """Versions by which anybody who acts may be behind before the learner waits for them; none: no bound."""
    worker_restarts: int = Field(5, ge=0)
    """Restarts of one worker within ten minutes after which the run stops with an error."""
    rollout_timeout_s: float = Field(300.0, gt=0.0)
    """Seconds without a report after which a rollout worker counts as hanging and is restarted."""
    address: str | None = None
    """Ray cluster to join: 'auto' for the one on this machine, or host:port; none starts one here."""


class FinalEvaluation(Section):
    """One set of games that is played when a run is complete."""

    name: str = Field(pattern=r"^[\w-]+$")
    """What the results are called, in metrics as final/<name>."""
    episodes: int = Field(100, ge=1)
    """Whole games of each repetition."""
    repetitions: int = Field(1, ge=1)
    """How often, each time on other seeds; the spread of their means is reported."""
    env: dict[str, Any] = Field(default_factory=dict)
    """Fields of the env section that differ, such as start_level."""


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
    evaluate_every_env_steps: int = Field(0, ge=0)
    """Decisions between evaluations, for budgets in environment steps (upstream: validate_step_every); 0: none."""
    evaluation_episodes: int = Field(10, ge=1)
    """Episodes of each evaluation, on fixed seeds (upstream: valid_num_episodes × valid_num_runs)."""
    evaluation_max_steps: int | None = Field(None, ge=1)
    """Decisions after which a game of an evaluation is cut, and counts with what it has earned; none: at its end."""
    evaluation_explore: bool = False
    """Choose actions in evaluations as while collecting, sampled or with noise, rather than greedily."""
    evaluation_temperatures: tuple[NonNegativeFloat, ...] = ()
    """Sampling temperatures of a grid of evaluations; its first cell is the run's return. None: the section's own."""
    evaluation_noops: tuple[NonNegativeInt, ...] = ()
    """Atari: most decisions of no-ops at the start, the other side of that grid; none: as the environment has it."""
    evaluation_env: dict[str, Any] = Field(default_factory=dict)
    """Fields of the env section that differ in evaluations, such as other levels."""
    final_evaluation: tuple[FinalEvaluation, ...] = ()
    """Games played with the last weights when the run is complete."""
    checkpoint_every_learner_steps: int = Field(1_000, ge=0)
    """Learner steps between checkpoints (upstream: save_state_frequency); 0: only at the end."""
    checkpoint_every_s: float = Field(0.0, ge=0.0)
    """Seconds between checkpoints, for learners whose steps differ in size; 0: by learner steps alone."""
    keep_checkpoints: int = Field(2, ge=1)
    """Latest checkpoints kept, besides the best by evaluation."""
    save_extra_checkpoint: tuple[int, ...] = ()
    """Decisions at which one more checkpoint is written, and kept for good."""
    log_every_s: float = Field(5.0, gt=0.0)
    """Seconds between rows of metrics."""
    log_every_learner_steps: int = Field(0, ge=0)
    """Learner steps between rows of metrics; 0: by the clock. Rows at fixed steps make --inline runs comparable."""
    directory: str = "runs"
    """Folder of all runs; a run lives in <directory>/<experiment>/<run-id>."""
    checkpoints: str | None = None
    """Folder or URI (s3://bucket/path, gs://…) of all runs' checkpoints; none: each run's are in its own folder."""
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
    """Film one episode of each evaluation where the environment can be drawn, and what a world model foretells."""
    debug_histograms: bool = False
    """Log distributions of weights and gradients (upstream: --debug)."""

    @pydantic.field_validator("checkpoints")
    @classmethod
    def _check_checkpoints(cls, value: str | None) -> str | None:
        """Makes a folder absolute: workers may run elsewhere."""
        if value is None or "://" not in value:
            return None if value is None else str(Path(value).expanduser().absolute())
        uri = urlsplit(value)
        if "@" in uri.netloc:
            raise ValueError(
                "a URI with a password in it would be written down; leave it to the environment to hold it"
            )
        if uri.scheme not in _OBJECT_STORES or not uri.netloc:
            raise ValueError(
                f"'{uri.scheme}://{uri.netloc}' is none of {', '.join(_OBJECT_STORES)}; name a bucket there"
            )
        return value


_OBJECT_STORES = ("s3", "gs", "gcs")


class Experiment(Section):
    """One experiment, merged from its layers. `section` is the algorithm's own part."""

    algorithm: str
    """Name of a folder in rlsys/algorithms, or in rlsys/baselines."""
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
    installed = Path(__file__).parent / f"_{kind}"
    return installed if installed.is_dir() else Path(__file__).parent.parent / kind


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
      overrides: `section.field=value` strings; the value is read as YAML.

    Raises:
      ConfigError: an unknown name or key, a wrong type, or values that exclude each other.
    """
    experiment_file = _find(name, "configs", "experiment")
    profile_file = _find(profile or DEFAULT_PROFILE, "launch", "profile")
    overriding = parse_overrides(overrides)
    debug = overriding.pop("debug", False)
    if not isinstance(debug, bool):
        raise ConfigError(f"debug = {debug!r}; it must be true or false. Write debug=true.")
    layers = {"experiment": read_yaml(experiment_file), "profile": read_yaml(profile_file)}
    if profile is None:
        layers = dict(reversed(layers.items()))
    if debug:
        layers["debug"] = _debug(str(overriding.get("algorithm", layers["experiment"].get("algorithm"))))
    layers["override"] = overriding
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
    return Loaded(stem, profile or DEFAULT_PROFILE, experiment, origin)


def override(loaded: Loaded, overrides: Iterable[str]) -> Loaded:
    """Returns the experiment with more KEY=VALUE strings on top, as for a run that is resumed.

    Raises:
      ConfigError: as `load`.
    """
    tree = parse_overrides(overrides)
    paths = dict.fromkeys(leaves(tree), "override")
    where = dict.fromkeys(paths, _COMMAND_LINE)
    experiment = build(merge(loaded.experiment.model_dump(), tree), f"experiment '{loaded.name}'", where)
    return replace(loaded, experiment=experiment, origin={**loaded.origin, **paths})


def describe(loaded: Loaded) -> list[FieldDescription]:
    """Returns every field of an experiment in the order of its models."""
    values = loaded.experiment.model_dump(mode="json")
    algorithm = loaded.experiment.algorithm
    defaults = {
        **Experiment(algorithm="").model_dump(mode="json"),
        "algorithm": None,
        algorithm: registry.get(algorithm).config_type().model_dump(mode="json"),
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
    if not isinstance(algorithm, str):
        raise ConfigError(
            f"{where} has no 'algorithm'; it must name one of {', '.join(registry.names())}. Add algorithm: NAME."
        )
    model = experiment_type(algorithm)
    try:
        return model.model_validate(dict(tree))
    except pydantic.ValidationError as error:
        raise ConfigError(explain(error, model, tree, f"in {where}", places or {})) from None


@functools.cache
def experiment_type(algorithm: str) -> type[Experiment]:
    """Returns `Experiment` with the algorithm's section added."""
    config_type = registry.get(algorithm).config_type
    return create_model(  # type: ignore[call-overload, no-any-return]
        "Experiment", __base__=Experiment, **{algorithm: (config_type, config_type())}
    )


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
        "checkpoint_every_learner_steps": 10,
        "log_every_s": 0.5,
    },
}
"""What `debug=true` sets beneath the other overrides, together with `Algorithm.debug`."""
_DEBUG_ENVIRONMENTS = 4


_COMMAND_LINE = "on the command line"


def _debug(algorithm: str) -> Tree:
    """Returns what shrinks an experiment of this algorithm to seconds."""
    found = registry.get(algorithm)
    tree = merge(_DEBUG, {algorithm: dict(found.debug)})
    if not getattr(found, "environments", ""):
        tree["runtime"] = {**tree["runtime"], "environments_per_worker": _DEBUG_ENVIRONMENTS}
    return tree


def _find(name: str, kind: Literal["configs", "launch"], noun: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"no {noun} file '{name}'; there is no such file. 'rlsys list' shows what has a name.")
        return path
    path = data_folder(kind) / f"{name}.yaml"
    known = experiment_names() if kind == "configs" else profile_names()
    if name not in known:
        hint = did_you_mean(name, known) or f" Known: {', '.join(known)}."
        raise ConfigError(f"no {noun} '{name}'.{hint} 'rlsys list' shows all.")
    return path


def _layer(loaded: Loaded, path: str) -> str:
    """Returns the layer that set a field, or, for a field that is a mapping, the last that set a part of it."""
    layers = [layer for key, layer in loaded.origin.items() if f"{key}.".startswith(f"{path}.")]
    return layers[-1] if layers else "default"
