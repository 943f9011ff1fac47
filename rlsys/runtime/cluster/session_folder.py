"""The folder of a Ray cluster that a run starts for itself: its logs, its sockets, objects that went to the disk.

By itself Ray makes it below /tmp/ray, and each of its processes opens its folders to all users of the machine (0777).
So it gets a folder within one that nobody else can enter.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from rlsys.files.places import private_folder

_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
_BELOW = len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.10")
_NAME = "ray"


def session_folder() -> Path:
    """Returns where Ray shall keep its sessions, of a name that is short enough for sockets below it.

    It lies where RAY_TMPDIR says, else TMPDIR, unless that is too long, else in /tmp.

    Raises:
      OSError: it cannot be made there.
    """
    asked = os.environ.get("RAY_TMPDIR")
    if asked:
        return private_folder(Path(asked).absolute()) / _NAME
    usual = Path(os.environ.get("TMPDIR") or "/tmp").absolute()
    fits = len(os.fsencode(usual / f"rlsys-{os.getuid()}" / _NAME)) + _BELOW <= _LONGEST_SOCKET
    return private_folder(usual if fits and usual.is_dir() else Path("/tmp")) / _NAME


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Lets files that are made in this context, and by processes that begin in it, be private to the user."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
