"""A run's folder: where it lies, how it is found again, and what is written there before the first step."""

import importlib.metadata
import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from rlsys.config import Loaded, build, dump, override
from rlsys.errors import CheckpointError, ConfigError
from rlsys.runtime.checkpoints.checkpoint import Checkpoints
from rlsys.runtime.checkpoints.storage import checkpoints_of
from rlsys.yaml_tree import at, read_written

_PACKAGES = ("rlsys", "ray", "torch", "numpy", "gymnasium", "ale-py", "numba", "wandb")


def create(loaded: Loaded) -> Path:
    """Makes `<directory>/<experiment>/<run-id>` with config.yaml and versions.json; private to the user.

    Raises:
      ConfigError: the run id is taken; nothing is overwritten.
    """
    folder = path_of(loaded)
    try:
        folder.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        if loaded.experiment.run.run_tag is not None:
            raise taken(folder) from None
        folder = folder.with_name(f"{folder.name}-{os.getpid()}")
        folder.mkdir(mode=0o700)
    write_config(folder, loaded)
    (folder / "versions.json").write_text(json.dumps(versions(), indent=2) + "\n")
    return folder


def path_of(loaded: Loaded) -> Path:
    """Returns where an experiment's run would lie if it began now."""
    run = loaded.experiment.run
    run_id = run.run_tag or time.strftime("%Y-%m-%d_%H-%M-%S")
    return (Path(run.directory) / loaded.name / run_id).absolute()


def taken(folder: Path) -> ConfigError:
    """Returns what to say of a folder that is there already."""
    return ConfigError(
        f"run.run_tag = {folder.name}: {folder} exists already, and runs are never overwritten. "
        f"Choose another tag, or continue it with --resume {folder.parent.name}/{folder.name}."
    )


def write_config(folder: Path, loaded: Loaded) -> None:
    """Writes the merged experiment, from which `--resume`, `eval` and `play` build it again, below the command."""
    tree = loaded.experiment.model_dump(mode="json")
    overrides = [f"{path}={_plain(at(tree, path))}" for path, layer in loaded.origin.items() if layer == "override"]
    header = " ".join(["# rlsys launch", loaded.name, "--profile", loaded.profile, *overrides])
    (folder / "config.yaml").write_text(f"{header}\n{dump(loaded.experiment)}")


def note_workers(folder: Path, rollouts: int) -> None:
    """Writes into config.yaml that the run now has so many rollout workers; its first line stays the command."""
    path = folder / "config.yaml"
    command = path.read_text().splitlines()[0]
    changed = override(load(folder), [f"runtime.rollout_workers={rollouts}"])
    aside = path.with_name("config.yaml.aside")
    aside.write_text(f"{command}\n# Scaled to {rollouts} rollout workers while it trained.\n{dump(changed.experiment)}")
    aside.replace(path)


def _plain(value: Any) -> str:
    """Returns a value as one word of a command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def find(run: str, directory: str = "runs") -> Path:
    """Finds a run by path, `<experiment>/<run-id>`, the beginning of its id, or its experiment (then the latest).

    Raises:
      CheckpointError: there is no such run, or several begin like that.
    """
    for candidate in (Path(run), Path(directory) / run):
        if (candidate / "config.yaml").is_file():
            return candidate.absolute()
    of_experiment = sorted((Path(directory) / run).glob("*/config.yaml"), key=lambda path: path.stat().st_mtime)
    if of_experiment:
        return of_experiment[-1].parent.absolute()
    matches = sorted(path.parent for path in Path(directory).glob(f"*/{run}*/config.yaml"))
    if len(matches) == 1:
        return matches[0].absolute()
    if matches:
        names = ", ".join(f"{path.parent.name}/{path.name}" for path in matches[:5])
        raise CheckpointError(f"'{run}' could be {len(matches)} runs: {names}. Write more of the id.")
    raise CheckpointError(
        f"no run '{run}' under {directory}. Give its folder, <experiment>/<run-id>, or an experiment (its latest run)."
    )


def load(folder: Path) -> Loaded:
    """Returns the experiment that a run's folder was made from.

    Raises:
      ConfigError: config.yaml was written by another version and no longer fits.
    """
    path = folder / "config.yaml"
    return Loaded(folder.parent.name, "saved", build(read_written(path), where=str(path)), {})


def checkpoints(folder: Path) -> Checkpoints:
    """Returns the checkpoints of the run that a folder is of, to read.

    Raises:
      ConfigError: as `load`.
    """
    return Checkpoints(checkpoints_of(load(folder).experiment.run, folder.absolute()), keep=1)


def versions() -> dict[str, str]:
    """Returns the versions of what computes, and the commit; never environment variables, which hold secrets."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "missing"
    checkout = Path(__file__).parent.parent.parent
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found["git"] = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        found["git"] = "none"
    return found
