"""Exports that ship with the package: folders in `trained/`, each named as it is played."""

from pathlib import Path

from rlsys import config
from rlsys.exports import manifest


def folders() -> dict[str, Path]:
    """Returns them by name, sorted."""
    return {path.parent.name: path.parent for path in sorted(config.data_folder("trained").glob(f"*/{manifest.NAME}"))}


def rows() -> list[tuple[str, str, str, str]]:
    """Returns name, algorithm, environment and a few words about each, as `rlsys list` shows them.

    Raises:
      CheckpointError: the manifest of one cannot be read.
    """
    found = {name: manifest.read(folder) for name, folder in folders().items()}
    return [
        (name, one.algorithm, one.environment, f"learner step {one.learner_step:,}, {one.num_bytes / 1e3:,.0f} kB")
        for name, one in found.items()
    ]
