"""The content of a file that somebody may have damaged or made up: read whole, but never more than is sensible."""

import errno
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
