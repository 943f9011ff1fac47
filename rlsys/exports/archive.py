"""An export in a .zip archive, which may have been made to fill a disk: read member by member, within limits."""

import contextlib
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from rlsys.errors import CheckpointError
from rlsys.exports import manifest

ENDING = ".zip"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PLAIN_NAME = re.compile(r"(?!\.)[\w.-]+(?:/(?!\.)[\w.-]+)*/?", re.ASCII)
_ANY_RATIO_BYTES = 64 << 20
_MOST_RATIO = 100
"""Bytes that come of one, in archives that unpack to more than 64 MiB; weights shrink by a tenth or two."""
_BLOCK_BYTES = 1 << 20
_TRUST = "If you trust it, unpack it yourself and give the folder."


class Archive:
    """An archive whose members have been looked at: few, of plain names, not packed beyond measure."""

    def __init__(self, path: Path, where: str) -> None:
        """Opens it.

        Args:
          path: of the file.
          where: what errors call it.

        Raises:
          CheckpointError: it is no whole archive, or none that an export would be in.
          OSError: it cannot be read.
        """
        self._where = where
        with self._reading(""):
            self._archive = zipfile.ZipFile(path)
        try:
            self._check(path.stat().st_size)
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._archive.close()

    def member(self, name: str, size: int | None = None) -> Iterator[bytes]:
        """Yields a file of the archive, block by block.

        Args:
          name: of the member.
          size: bytes that it must have; None: any.

        Raises:
          CheckpointError: it is missing, damaged, or of another size.
        """
        with self._reading(name):
            try:
                found = self._archive.getinfo(name)
            except KeyError:
                raise CheckpointError(
                    f"{self._where}: {name} is missing, so it is no export. Make one with 'rlsys export'."
                ) from None
            if size is not None and found.file_size != size:
                raise CheckpointError(
                    f"{self._where}: {name} has {found.file_size:,} bytes, expected {size:,}; it is not used. Get the "
                    "export again."
                )
            with self._archive.open(found) as stream:
                while block := stream.read(_BLOCK_BYTES):
                    yield block

    def _check(self, packed: int) -> None:
        members = self._archive.infolist()
        if len(members) > manifest.MOST_FILES:
            raise CheckpointError(
                f"{self._where} holds {len(members):,} files; an export has {manifest.MOST_FILES:,} at most. {_TRUST}"
            )
        names = [member.filename for member in members]
        for member in members:
            if not _PLAIN_NAME.fullmatch(member.filename) or stat.S_ISLNK(member.external_attr >> 16):
                raise CheckpointError(
                    f"{self._where} names a file outside of the export: {member.filename[:100]!r}. Do not use it."
                )
            if member.compress_type not in _METHODS or member.flag_bits & 1:
                raise CheckpointError(
                    f"{self._where}: {member.filename} is encrypted, or packed in a way that exports are not. {_TRUST}"
                )
        if len(set(names)) < len(names):
            raise CheckpointError(f"{self._where} names a file twice. Do not use it.")
        unpacked = sum(member.file_size for member in members)
        if unpacked > _ANY_RATIO_BYTES and unpacked > packed * _MOST_RATIO:
            raise CheckpointError(
                f"{self._where} has {packed:,} bytes and would unpack to {unpacked:,}; weights do not shrink to a "
                f"{_MOST_RATIO}th. {_TRUST}"
            )

    @contextlib.contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        """Turns what the format's own library finds wrong into one line."""
        try:
            yield
        except CheckpointError:
            raise
        except OSError as error:
            if error.errno is not None:  # else the library tells of the content
                raise
            raise self._damaged(name) from None
        except Exception:  # noqa: BLE001 - it says in many types what is wrong with a file
            raise self._damaged(name) from None

    def _damaged(self, name: str) -> CheckpointError:
        if not name:
            return CheckpointError(f"{self._where} is no whole .zip archive. Get the export again.")
        return CheckpointError(f"{self._where}: {name} is damaged; it is not used. Get the export again.")
