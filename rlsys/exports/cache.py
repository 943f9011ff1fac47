"""Exports from elsewhere, kept on this machine: `$XDG_CACHE_HOME/rlsys/exports/<SHA-256 of export.json>/`.

Files arrive in `<digest>.part` and are compared with the manifest there; a rename makes an export of what is whole. A
download that was interrupted goes on, file by file, with what is not there yet; an archive is fetched anew. What is in
the cache is compared again whenever it is used, so that a damaged file is fetched again, not played with.
"""

import contextlib
import fcntl
import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from rlsys.checkpoints.storage import FileRecord, join
from rlsys.errors import CheckpointError
from rlsys.exports import manifest
from rlsys.exports.archive import ENDING, Archive
from rlsys.exports.manifest import ExportManifest
from rlsys.exports.transport import MOST_BYTES, blocks, check_scheme, shown
from rlsys.files import places

_PIN = re.compile(r"sha256=([0-9a-f]{64})")

_ContentOf = Callable[[FileRecord], Iterable[bytes]]
"""Yields the content of a file of an export."""


def cache_folder() -> Path:
    """Returns where exports are kept."""
    return places.cache_folder("exports")


def fetch(uri: str) -> Path:
    """Returns the folder of an export that a URI names: an archive, or a folder with export.json in it.

    Args:
      uri: http(s)://, s3:// or gs://; at its end `#sha256=…` pins the export, which then needs no network once it is
        here.

    Raises:
      CheckpointError: it cannot be fetched, is damaged, or is not the one that is pinned.
    """
    location, pin = _split(uri)
    check_scheme(location)
    with _keeping():
        if pin is not None and not _faults(cache_folder() / pin):
            return cache_folder() / pin
        if urlsplit(location).path.endswith(ENDING):
            return _fetch_archive(location, pin)
        text = _at_most(blocks(join(location.rstrip("/"), manifest.NAME)), shown(location))
        return _install(
            text, pin, shown(location), lambda record: blocks(join(location.rstrip("/"), *record.path.split("/")))
        )


def unpack(archive: Path, pin: str | None = None, where: str = "") -> Path:
    """Returns the folder of the export in an archive.

    Args:
      archive: a .zip file.
      pin: SHA-256 that its manifest must have.
      where: what errors call it; by default its path.

    Raises:
      CheckpointError: it is no whole archive, no export, or damaged.
    """
    where = where or str(archive)
    with _keeping(), Archive(archive, where) as opened:
        text = _at_most(opened.member(manifest.NAME), where)
        return _install(text, pin, where, lambda record: opened.member(record.path, record.size))


def _fetch_archive(uri: str, pin: str | None) -> Path:
    """Downloads an archive aside, unpacks it and removes it."""
    aside = cache_folder() / f"{hashlib.sha256(uri.encode()).hexdigest()[:32]}{ENDING}.part"
    with _locked(aside):
        try:
            _write(aside, blocks(uri))
            return unpack(aside, pin, shown(uri))
        finally:
            aside.unlink(missing_ok=True)


def _install(text: bytes, pin: str | None, where: str, content_of: _ContentOf) -> Path:
    """Brings what is not there yet of an export, and names it when it is whole."""
    digest = manifest.digest(text)
    if pin is not None and digest != pin:
        raise CheckpointError(
            f"{where} is another export than the one that is pinned: its {manifest.NAME} has sha256 {digest}, expected "
            f"{pin}. Leave out #sha256=… only if you trust it."
        )
    found = ExportManifest.parse(text, where)
    if found.num_bytes > MOST_BYTES:
        raise CheckpointError(
            f"{where} has files of {found.num_bytes:,} bytes; what comes from elsewhere has {MOST_BYTES:,} at most. If "
            "you trust it, fetch and unpack it yourself, and give the folder."
        )
    folder = cache_folder() / digest
    aside = folder.with_name(f"{digest}.part")
    with _locked(aside):
        if not _faults(folder):
            return folder
        if folder.exists():
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)  # what is whole of it is kept
        aside.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(aside / manifest.NAME, [text])
        for record in found.files:
            _bring(aside / record.path, record, content_of, where)
        manifest.verify(aside, where)
        aside.rename(folder)
    return folder


def _bring(path: Path, record: FileRecord, content_of: _ContentOf, where: str) -> None:
    if not manifest.what_is_wrong(path, record):
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write(path, _no_more_than(record.size, content_of(record)))
    wrong = manifest.what_is_wrong(path, record)
    if wrong:
        path.unlink()
        raise CheckpointError(f"{where}: {record.path} {wrong}; it is not used. Get the export again.")


def _faults(folder: Path) -> bool:
    """Tells whether an export that should lie here does not, or is damaged."""
    try:
        is_named_well = manifest.digest((folder / manifest.NAME).read_bytes()) == folder.name
        manifest.verify(folder, str(folder))
    except (OSError, CheckpointError):
        return True
    return not is_named_well


def _split(uri: str) -> tuple[str, str | None]:
    location, fragment = urldefrag(uri)
    pin = _PIN.fullmatch(fragment)
    if fragment and pin is None:
        raise CheckpointError(
            f"'#{fragment}' at the end of {shown(location)}; only #sha256=… with 64 hex digits can pin an export. "
            "Correct it, or leave it out."
        )
    return location, pin[1] if pin else None


def _at_most(content: Iterable[bytes], where: str) -> bytes:
    return b"".join(_no_more_than(manifest.MOST_MANIFEST_BYTES, content, where))


def _no_more_than(size: int, content: Iterable[bytes], where: str = "") -> Iterator[bytes]:
    """Yields content up to a size and a little more, so that an endless file is not written to the end."""
    received = 0
    for block in content:
        yield block
        received += len(block)
        if received > size:
            if where:
                raise CheckpointError(f"{where}: {manifest.NAME} is larger than any export's. Check the address.")
            return


def _write(path: Path, content: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        for block in content:
            file.write(block)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits until no other process works on the same file or folder."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _keeping() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"cannot keep an export in {cache_folder()}: {error.strerror or error}. Make room or give permission "
            "there, or set XDG_CACHE_HOME to another folder."
        ) from None
