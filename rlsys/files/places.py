"""Places on this machine for what need not last, which nobody but the user writes to; also where there is no home."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Returns where something is kept between processes, with the right to write there.

    That is `$XDG_CACHE_HOME/rlsys/<name>`, else `~/.cache/rlsys/<name>`; where there is no such place, as in a
    container without a home, it is below the user's own folder of temporary files.

    Raises:
      OSError: nothing can be written anywhere.
    """
    with contextlib.suppress(RuntimeError):  # nobody knows a home of this user
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rlsys" / name
        if is_writable(folder):
            return folder
    folder = private_folder(Path(tempfile.gettempdir())) / name
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def private_folder(below: Path) -> Path:
    """Returns a folder that only the user can enter, in one that others may write to: the same one each time.

    Raises:
      OSError: it cannot be made.
    """
    folder = below / f"rlsys-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():  # somebody else has made it, or a link
        return Path(tempfile.mkdtemp(prefix="rlsys-", dir=below))
    folder.chmod(0o700)
    return folder


def is_writable(folder: Path) -> bool:
    """Makes a folder, private to the user, where there is none; tells whether files can be made there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
