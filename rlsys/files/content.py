"""The content of a file: read whole, but never more than is sensible, and written whole, or not at all.

Somebody may have damaged it, or made it up; and disks are full now and then.
"""

import contextlib
import errno
import os
from pathlib import Path


def read_content(path: Path, most_bytes: int) -> bytes:
    """Returns what is in a file.

    Raises:
      OSError: it is not there, no plain file (reading a pipe or a device may never end), or larger than `most_bytes`.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no plain file")
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes")
    return content


def replace_content(path: Path, text: str) -> None:
    """Writes a file aside and puts it into its place: a disk that is full leaves what was there, and nothing else.

    Raises:
      OSError: it cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


def overwrite_content(path: Path, text: str) -> None:
    """Writes into the room that a file has already; for a disk that is full, where nothing can be put aside.

    Raises:
      OSError: it has less room, or is not there.
    """
    content = text.encode()
    with path.open("r+b") as file:
        if len(content) > os.fstat(file.fileno()).st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.write(content)
        file.truncate()
