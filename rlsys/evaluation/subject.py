"""What of one run, or export, is evaluated: which checkpoints, with which settings."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlsys import registry
from rlsys.api import Algorithm, Policy, PolicyContext, Saved, ValueSpec, WorldContext
from rlsys.config import Experiment, Loaded
from rlsys.envs.make import env_spec
from rlsys.errors import CheckpointError, ConfigError
from rlsys.evaluation.agents.planning_policy import MakePlanningPolicy, Planning
from rlsys.evaluation.agents.random_policy import RandomPolicy
from rlsys.evaluation.episodes import MOST_ENVIRONMENTS
from rlsys.evaluation.job import Job
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.overrides import check_policy, with_overrides, words_of
from rlsys.evaluation.product import axes_of, product
from rlsys.exports.find import Trained, give_weights
from rlsys.exports.pretrained import weights_in
from rlsys.process import fastest_device
from rlsys.runs.grid import Cell, cells, changed_env
from rlsys.types import Weights
from rlsys.viewer.film import FilmLimits

_OPTIONS = {
    "run.seed": "--seed",
    "run.evaluation_episodes": "--episodes",
    "run.evaluation_max_steps": "--max-steps",
    "run.evaluation_temperatures": "--temperature",
    "run.evaluation_noops": "--noops",
    "run.evaluation_env": "KEY=VALUE of env",
    "run.video": "--video",
    "run.video_frames": "--video-frames",
    "run.video_seconds": "--video-seconds",
    "run.directory": "--directory",
    "runtime.rollout_workers": "--parallel",
}
"""What stands for a setting that cannot be changed here."""
_TEMPERATURE = "--temperature"


@dataclass(frozen=True)
class Opened:
    """What is evaluated: weights, where the run was when it had them, and its world model, if the agent plans.

    The random agent has no weights.
    """

    weights: Weights | None
    learner_step: int
    env_steps: int
    world: Saved | None = None


@dataclass(frozen=True)
class Variant:
    """What was trained, with one value of every setting that an evaluation varies.

    Attributes:
      experiment: with those values.
      changes: dotted setting -> value, where that was given.
      cells: what is played with them.
      values: what the policy's values are of.
    """

    experiment: Experiment
    changes: Mapping[str, Any]
    cells: Sequence[Cell]
    values: ValueSpec


class Subject:
    """One of what is evaluated.

    Attributes:
      variants: for each of them, and each checkpoint, there are rows.
      left_out: of each combination of settings that contradict each other, why.
      name, output, is_run: of what was trained: see `Trained`.
      loaded: its experiment, with the environment that it is evaluated in while it trains.
    """

    def __init__(self, trained: Trained, options: EvaluationOptions, seed: int) -> None:
        """Settles what is played; raises RlsysError where that cannot be."""
        self._trained, self._options, self._seed = trained, options, seed
        self.name, self.output, self.is_run = trained.name, trained.output, trained.is_run
        self.loaded = _as_evaluated(trained.loaded)
        self._algorithm = registry.get_algorithm(trained.loaded.experiment.algorithm, "rlsys eval")
        axes: dict[str, Sequence[Any]] = {_TEMPERATURE: options.temperatures or (None,)}
        axes |= axes_of(options.overrides, type(trained.loaded.experiment))
        self.variants, self.left_out = product(axes, self._variant)
        self._checkpoints = self._find_checkpoints()

    @property
    def num_checkpoints(self) -> int:
        """How many are played."""
        return len(self._checkpoints)

    @property
    def num_rows(self) -> int:
        """How many rows there will be."""
        return self.num_checkpoints * sum(len(variant.cells) for variant in self.variants)

    def opened(self) -> Iterator[Opened]:
        """Yields the weights of one checkpoint after the other."""
        if self._options.agent == "random":
            yield Opened(None, 0, 0)
            return
        for which in self._checkpoints:
            plans = self._options.agent == "planner"
            trained = self._trained
            opened = trained.open_with_world(which) if plans else trained.open(which, parts=["weights"])
            world = opened.read("world") if plans else None
            yield Opened(weights_in(opened), opened.learner_step, opened.env_steps, world)

    def check_weights(self) -> None:
        """Refuses a checkpoint that is damaged, or that does not fit what its run says, or a setting.

        Raises:
          RlsysError: it says what is wrong with it.
        """
        for opened in self.opened() if self._options.agent == "policy" else ():
            assert opened.weights is not None
            for variant in self.variants:
                context = PolicyContext(variant.experiment.section, env_spec(variant.experiment.env), self._seed)
                try:
                    give_weights(self._algorithm.make_policy(context), opened.weights)
                except CheckpointError as error:
                    raise CheckpointError(f"{self.name} at learner step {opened.learner_step:,}: {error}") from None

    def job(self, opened: Opened, variant: Variant, cell: Cell, *, several_runs: bool) -> Job:
        """Returns the episodes of a row."""
        options, run = self._options, variant.experiment.run
        batch = min(options.episodes, MOST_ENVIRONMENTS)
        context = PolicyContext(cell.section, env_spec(cell.env), self._seed, num_environments=batch)
        media = options.film_folder or self.output / "media"
        words = [f"evaluation-{opened.learner_step:09d}", cell.name]
        words += words_of(variant.changes) if len(self.variants) > 1 else []
        words = [self.name, *words] if several_runs and options.film_folder else words
        stem = re.sub(r"[^\w.=-]", "_", "-".join(words))[:200]
        return Job(
            _make_policy(self._algorithm, context, opened, options.planning or Planning()),
            context,
            cell.env,
            opened.weights,
            options.episodes,
            self._seed,
            max_steps=options.max_steps,
            debug_films={i: media / f"{stem}-{i}.mp4" for i in range(min(options.films, options.episodes))},
            limits=FilmLimits(options.video_frames or run.video_frames, options.video_seconds or run.video_seconds),
        )

    def _find_checkpoints(self) -> list[str]:
        """Returns the checkpoints by their steps, each once; of the random agent, one that there need not be."""
        options, trained = self._options, self._trained
        if options.agent == "random":
            return ["none"]
        if options.all_checkpoints:
            return [str(step) for step in trained.checkpoints.list()]
        wanted = options.checkpoints or ("latest",)
        if len(wanted) == 1:
            return [*wanted]
        return [*dict.fromkeys(str(trained.open(which, parts=[]).learner_step) for which in wanted)]

    def _variant(self, chosen: Mapping[str, Any]) -> Variant:
        options, algorithm = self._options, self._algorithm
        overrides = [f"{key}={text}" for key, text in chosen.items() if key != _TEMPERATURE]
        temperatures = [] if chosen[_TEMPERATURE] is None else [chosen[_TEMPERATURE]]
        loaded, changes = with_overrides(self.loaded, algorithm, overrides, _OPTIONS)
        _check_changes(options, algorithm, changes)
        experiment = loaded.experiment
        found = _cells(algorithm, experiment, options, temperatures)
        if options.agent != "random":
            context = PolicyContext(found[0].section, env_spec(found[0].env), self._seed)
            check_policy(algorithm.make_policy, context, changes)
        return Variant(experiment, changes, found, algorithm.values(experiment.section))


def _as_evaluated(loaded: Loaded) -> Loaded:
    experiment = loaded.experiment
    env = changed_env(experiment.env, experiment.run.evaluation_env, "run.evaluation_env")
    return replace(loaded, experiment=experiment.model_copy(update={"env": env}))


def _cells(
    algorithm: Algorithm, experiment: Experiment, options: EvaluationOptions, temperatures: Sequence[float]
) -> list[Cell]:
    found = cells(algorithm, experiment.section, experiment.env, temperatures, options.noops)
    match options.agent:
        case "random":
            return [replace(cell, how="random") for cell in found]
        case "planner":
            return [replace(cell, how=f"planner_{cell.how}") for cell in found]
    return found


def _make_policy(
    algorithm: Algorithm, context: PolicyContext, opened: Opened, planning: Planning
) -> Callable[[PolicyContext], Policy]:
    if opened.weights is None:
        return RandomPolicy
    if opened.world is None:
        return algorithm.make_policy
    assert algorithm.make_world is not None, f"{algorithm.name} saves a world model and must be able to build it"
    world = WorldContext(context.config, context.env, opened.world, fastest_device())
    value = algorithm.values(context.config).extra
    return MakePlanningPolicy(algorithm.make_policy, algorithm.make_world, world, planning, value)


def _check_changes(options: EvaluationOptions, algorithm: Algorithm, changes: Mapping[str, Any]) -> None:
    """Refuses settings that mean nothing to the agent, or that an option sets, too."""
    of_algorithm = [path for path in changes if path.startswith(f"{algorithm.name}.")]
    if options.agent == "random" and of_algorithm:
        raise ConfigError(f"agent = random with {of_algorithm[0]}; random actions have no settings. Leave it out.")
    temperature = f"{algorithm.name}.{algorithm.temperature}"
    twice = [("--temperature", temperature)] if options.temperatures and temperature in changes else []
    twice += [("--noops", path) for path in ("env.noop_reset", "env.noop_max") if options.noops and path in changes]
    if twice:
        raise ConfigError(f"{twice[0][0]} with {twice[0][1]}; both say the same. Leave one of them out.")
