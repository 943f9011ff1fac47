"""Places that something will be written to, tried before the work that is to be written begins."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rlsys.errors import ConfigError


def check_outputs(files: Mapping[str, Path | None], folders: Mapping[str, Path | None]) -> None:
    """Refuses places that cannot be written, each under the name of the option or setting that names it.

    What is missing above them is made; the files themselves are not.

    Raises:
      ConfigError: the first of them, and why.
    """
    for name, path in files.items():
        if path is not None:
            make_writable(path, name)
    for name, folder in folders.items():
        if folder is not None:
            make_folder(folder, name)


def make_writable(path: Path, name: str) -> None:
    """Makes the folder of a file, and makes sure that the file can be made there, or written over.

    Raises:
      ConfigError: it cannot; `name` is what names it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        existed = os.path.lexists(path)
        with path.open("ab"):
            pass
        if not existed:
            path.unlink()
    except (OSError, ValueError) as error:
        raise unwritable(path, name, error) from None


def make_folder(folder: Path, name: str, mode: int = 0o777) -> None:
    """Makes a folder, where it is not there, that files can be made in.

    Raises:
      ConfigError: it cannot be; `name` is what names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise unwritable(folder, name, error) from None


def unwritable(path: Path, name: str, error: OSError | ValueError) -> ConfigError:
    """Returns what to say of a place that an error came from."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    shown = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}…"
    return ConfigError(f"{name} = {shown!r} cannot be written: {reason}. Choose another place.")
