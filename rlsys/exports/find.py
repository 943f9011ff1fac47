"""Finds what was trained: a run, one of its checkpoints, an export anywhere, or one that ships with the package.

breakout/2026-11-20_10-00-00      a run, as `rlsys.runs.folder` finds it
breakout#2000  breakout#best      one checkpoint of a run
…/checkpoints/000002000           the same, by its folder
exported/  exported.zip           an export on this machine
https://host/exported.zip         … elsewhere; s3:// and gs:// likewise, and folders
pong                              … that ships, unless a run has that name
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from rlsys import __version__
from rlsys.api import Policy
from rlsys.checkpoints.checkpoint import Checkpoints, Opened
from rlsys.checkpoints.storage import STEP_NAME, is_uri
from rlsys.config import Loaded, build, experiment_names, load
from rlsys.errors import CheckpointError, ConfigError
from rlsys.exports import cache, manifest
from rlsys.exports.archive import ENDING
from rlsys.exports.settings import check_algorithm, check_environments, without_environments, without_places
from rlsys.exports.shipped import folders
from rlsys.files.yaml_tree import read_written
from rlsys.runs import folder as run_folder
from rlsys.types import Weights

_FOLDER_NAME = re.compile(r"(?!\.)[\w. +-]{1,100}")
"""Of what is played, as the folder of its results; anything else could be a path."""


@dataclass(frozen=True)
class Trained:
    """A run or an export, to be played.

    Attributes:
      name: `<experiment>/<run-id>`, or the export's.
      loaded: the experiment.
      checkpoints: where weights are.
      step: of the only checkpoint that is meant; None for a run.
      output: folder for films and results: the run's own, or for an export one below runs/exports.
      is_run: whether it is a run, which keeps results.
    """

    name: str
    loaded: Loaded
    checkpoints: Checkpoints
    step: int | None
    output: Path
    is_run: bool

    def open(self, which: str, parts: Collection[str]) -> Opened:
        """Opens a checkpoint: "latest", "best" or a learner step, of which an export has one.

        Raises:
          CheckpointError: there is no such checkpoint, or it is damaged.
        """
        if self.step is None or which not in ("latest", "best"):
            return self.checkpoints.open(which, parts)
        return self.checkpoints.open(self.step, parts)

    def open_with_world(self, which: str) -> Opened:
        """Opens a checkpoint's weights and its world model, "world".

        Raises:
          CheckpointError: there is no such checkpoint, it is damaged, or it has no world model.
        """
        opened = self.open(which, ["weights", "world"])
        if "world" not in opened.parts:
            raise CheckpointError(
                f"checkpoint {opened.learner_step} of {self.name} holds no world model; it was written without one. "
                "Name another with --checkpoint, or do without: play with --watch, evaluate with --agent policy."
            )
        return opened


def find(source: str, directory: str = "runs", *, trust: bool = False, weights_only: bool = False) -> Trained:
    """Finds what was trained; an export elsewhere is fetched.

    Args:
      source: see the module.
      directory: of all runs.
      trust: whether an export may have modules imported, of which its algorithm or its environment comes. Runs are
        one's own.
      weights_only: nothing will be played: of an export, `loaded` comes without its environments.

    Raises:
      RlsysError: there is no such thing, it is damaged, or this version cannot read it.
    """
    if is_uri(source):
        return _export(cache.fetch(source), Path(urlsplit(source).path).stem, directory, trust, weights_only)
    path = run_folder.named(source)
    if path.suffix == ENDING and path.is_file():
        return _export(cache.unpack(path), path.stem, directory, trust, weights_only)
    if (path / manifest.NAME).is_file():
        return _export(path, path.absolute().name, directory, trust, weights_only)
    is_step = STEP_NAME.fullmatch(path.absolute().name) is not None
    if is_step and (path / "manifest.json").is_file() and (path.parent.parent / "config.yaml").is_file():
        return replace(_run(path.absolute().parent.parent), step=int(path.absolute().name))
    try:
        return _find_run(source, directory)
    except CheckpointError:
        shipped = folders().get(source)
        if shipped is None:
            raise
    return _export(shipped, source, directory, trust, weights_only)


def find_or_experiment(source: str, directory: str = "runs", *, trust: bool = False) -> Trained:
    """Finds what was trained, or an experiment of which nothing need be; for whoever does without weights.

    Of an experiment, results are kept in `<directory>/<experiment>/random`, which is no run.

    Args:
      source: as for `find`, or an experiment, by name or as a YAML file.
      directory: of all runs.
      trust: as for `find`.

    Raises:
      RlsysError: as `find`.
    """
    try:
        return find(source, directory, trust=trust)
    except CheckpointError:
        is_file = source.endswith((".yaml", ".yml")) and Path(source).is_file()
        if not is_file and source not in experiment_names():
            raise
    loaded = load(source)
    output = Path(directory).absolute() / loaded.name / "random"
    return Trained(loaded.name, loaded, Checkpoints(output / "checkpoints", keep=1), None, output, is_run=False)


def find_run(source: str) -> Path:
    """Finds the folder of a run to go on with.

    Raises:
      CheckpointError: there is no such run, or it is an export.
    """
    path = run_folder.named(source)
    if is_uri(source) or path.suffix == ENDING or (path / manifest.NAME).is_file():
        raise CheckpointError(
            f"'{source}' cannot be resumed: an export has weights, but no optimizer and no replay to go on with. "
            "Resume a run, or launch a new one with run.init_from, which begins with these weights."
        )
    return run_folder.find(source)


def give_weights(policy: Policy, weights: Weights) -> None:
    """Gives a policy weights from a file.

    Raises:
      CheckpointError: they are of another network than this version of the algorithm builds.
    """
    try:
        policy.set_weights(weights)
    except (LookupError, ValueError, RuntimeError, TypeError, AttributeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the weights do not fit {type(policy).__name__} as rlsys {__version__} builds it: {reason}. "
            "Use the version of rlsys, and the settings of networks, that trained them."
        ) from None


def _find_run(source: str, directory: str) -> Trained:
    """Finds a run, or one of its checkpoints."""
    run, _, which = source.rpartition("#")
    if not run or Path(source).exists() or not (which in ("latest", "best") or which.isdecimal()):
        return _run(run_folder.find(source, directory))
    found = _run(run_folder.find(run, directory))
    return replace(found, step=found.checkpoints.open(which, ()).learner_step)


def _run(folder: Path) -> Trained:
    name = f"{folder.parent.name}/{folder.name}"
    return Trained(name, run_folder.load(folder), run_folder.checkpoints(folder), None, folder, is_run=True)


def _export(folder: Path, name: str, directory: str, trust: bool, weights_only: bool) -> Trained:
    name = name if _FOLDER_NAME.fullmatch(name) else "export"
    found = manifest.verify(folder, name)
    try:
        settings = read_written(folder / "config.yaml")
        if not trust:
            check_algorithm(settings, name)
        if weights_only:
            settings = without_environments(settings)
        elif not trust:
            check_environments(settings, name)
        experiment = build(settings, where=str(folder / "config.yaml"))
    except ConfigError as error:
        raise CheckpointError(
            f"export '{name}' was made by rlsys {found.made_by}; this is {__version__}, which cannot read it: {error}"
        ) from None
    loaded = Loaded(found.name, "saved", without_places(experiment), {})
    output = Path(directory).absolute() / "exports" / name
    return Trained(name, loaded, Checkpoints(folder / "checkpoints", keep=1), found.learner_step, output, is_run=False)
