"""A run's folder: where it lies, how it is found again, and what is written there before the first step."""

import glob
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import time
from pathlib import Path

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.checkpoints.locations import checkpoints_of
from rlsys.config import Loaded, build, dump, override
from rlsys.config.fields import shortened
from rlsys.config.location import expanded
from rlsys.errors import CheckpointError, ConfigError
from rlsys.files.content import replace_content
from rlsys.files.outputs import make_folder, unwritable
from rlsys.files.yaml_tree import at, format_value, read_written
from rlsys.quoting import quoted, run_name

_PACKAGES = ("rlsys", "ray", "torch", "numpy", "gymnasium", "ale-py", "numba", "wandb")


class RunExistsError(ConfigError):
    """A run that is there already, and would be overwritten."""


def create(loaded: Loaded, *, inline: bool = False) -> Path:
    """Makes `<directory>/<experiment>/<run-id>` with config.yaml and versions.json; private to the user.

    Raises:
      RunExistsError: the run id is taken; nothing is overwritten.
      ConfigError: the folder cannot be made.
    """
    folder = path_of(loaded)
    try:
        if not folder.parent.is_dir() or os.path.lexists(folder):
            make_folder(folder.parent, "run.directory", mode=0o700)
        if os.path.lexists(folder) and loaded.experiment.run.run_tag is not None:
            raise taken(folder)
        if os.path.lexists(folder):
            folder = folder.with_name(f"{folder.name}-{os.getpid()}")
        folder.mkdir(mode=0o700)
    except FileExistsError:  # somebody else has made it meanwhile
        raise taken(folder) from None
    except (OSError, ValueError) as error:
        raise unwritable(folder, "the run's folder (run.directory, run.run_tag)", error) from None
    fill(folder, loaded, inline=inline)
    return folder


def fill(folder: Path, loaded: Loaded, *, inline: bool) -> None:
    """Writes what a run's folder holds before its first step."""
    write_config(folder, loaded, inline=inline)
    replace_content(folder / "versions.json", json.dumps(versions(), indent=2) + "\n")


def path_of(loaded: Loaded) -> Path:
    """Returns where an experiment's run would lie if it began now."""
    run = loaded.experiment.run
    run_id = run.run_tag or time.strftime("%Y-%m-%d_%H-%M-%S")
    return (Path(run.directory) / loaded.name / run_id).absolute()


def taken(folder: Path) -> RunExistsError:
    """Returns what to say of a folder that is there already."""
    return RunExistsError(
        f"run.run_tag = {folder.name}: {folder} exists already, and runs are never overwritten. "
        f"Choose another tag, or continue it with {quoted('launch', '--resume', run_name(folder))}."
    )


def write_config(folder: Path, loaded: Loaded, *, inline: bool = False) -> None:
    """Writes the merged experiment, from which `--resume`, `eval` and `play` build it again, below the command."""
    header = command_of(loaded, inline=inline)
    replace_content(folder / "config.yaml", f"# {header}\n{dump(loaded.experiment)}")


def command_of(loaded: Loaded, *, inline: bool = False) -> str:
    """Returns the command that makes the same run again: one line, quoted for a shell."""
    tree = loaded.experiment.model_dump(mode="json")
    paths = [path for path, layer in loaded.origin.items() if layer == "override"]
    overrides = [f"{path}={format_value(at(tree, path))}" for path in paths]
    words = ["rlsys", "launch", *(loaded.words or [loaded.name]), *overrides, *(["--inline"] if inline else [])]
    return " ".join(_shell_word(word) for word in words)


def _shell_word(word: str) -> str:
    """Quotes a word; one with line breaks or the like as $'…', where they are escaped."""
    if word.isprintable():
        return shlex.quote(word)
    letters = [chr(byte) if 32 <= byte < 127 and byte not in b"'\\" else f"\\x{byte:02x}" for byte in word.encode()]
    return f"$'{''.join(letters)}'"


def note_workers(folder: Path, rollout_workers: int) -> None:
    """Writes into config.yaml that the run now has so many rollout workers; its first line stays the command."""
    path = folder / "config.yaml"
    command = path.read_text(encoding="utf-8").partition("\n")[0]
    changed = override(load(folder), [f"runtime.rollout_workers={rollout_workers}"])
    aside = path.with_name("config.yaml.aside")
    aside.write_text(
        f"{command}\n# Scaled to {rollout_workers} rollout workers while it trained.\n{dump(changed.experiment)}",
        encoding="utf-8",
    )
    aside.replace(path)


def find(run: str, directory: str = "runs") -> Path:
    """Finds a run by path, `<experiment>/<run-id>`, the beginning of its id, or its experiment (then the latest).

    Raises:
      CheckpointError: there is no such run, or several begin like that.
    """
    path, below = named(run), named(directory)
    for candidate in (path, below / path):
        if (candidate / "config.yaml").is_file():
            return candidate.absolute()
    of_experiment = sorted((below / path).glob("*/config.yaml"), key=lambda path: path.stat().st_mtime)
    if of_experiment:
        return of_experiment[-1].parent.absolute()
    matches = sorted(path.parent for path in below.glob(f"*/{glob.escape(str(path))}*/config.yaml"))
    if len(matches) == 1:
        return matches[0].absolute()
    if matches:
        names = ", ".join(f"{path.parent.name}/{path.name}" for path in matches[:5])
        raise CheckpointError(f"'{run}' could be {len(matches)} runs: {names}. Write more of the id.")
    raise CheckpointError(
        f"no run '{run}' under {directory}. Give its folder, <experiment>/<run-id>, or an experiment (its latest run)."
    )


def named(run: str) -> Path:
    """Returns the path by which a run, or an export, may be named; nothing need be there.

    Raises:
      CheckpointError: no file or folder can have that name, or it may not be looked at.
    """
    try:
        path = Path(expanded(run))
        path.exists()
    except (ValueError, OSError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise CheckpointError(f"{shortened(run)} names no run or export: {reason}. Correct it.") from None
    return path


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
        found["git"] = subprocess.run(
            command, capture_output=True, text=True, timeout=5, check=True, encoding="utf-8"
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        found["git"] = "none"
    return found
