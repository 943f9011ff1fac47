"""Checkpoints in a folder that all writers share: a draft is a folder, and a rename makes a checkpoint of it.

    checkpoints/
      000002000/               a checkpoint, whole
        manifest.json          its files, sizes and checksums
        score.json             mean evaluation return, once it is known
        <part>.json, <part>.safetensors
      .tmp-000003000/          a draft
      .replaced-000002000/     the former holder of a name, for the moment in which the new one moves in

A file that has not changed is a hard link to that of the checkpoint before: each checkpoint is complete by itself, and
its bytes are gone when the last one that needs them is. All files are private to the user.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from rlsys.checkpoints.storage import STEP_NAME, Blocks, Fetched, FileRecord, Place, Storage, write_hashed
from rlsys.errors import CheckpointError
from rlsys.files.content import read_content
from rlsys.files.json_tree import MOST_BYTES

_DRAFT = ".tmp-"
_REPLACED = ".replaced-"
_ADVICE = "Make room or give permission there, or set run.directory or run.checkpoints to another folder."


class LocalPlace(Place):
    """A draft's folder."""

    advice = _ADVICE

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, path: str, blocks: Blocks) -> FileRecord:
        """Creates a private file and waits until it is on the disk."""
        target = self._new(path)
        target.unlink(missing_ok=True)  # it may be a link to a file of another checkpoint
        with os.fdopen(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "wb") as file:
            record = write_hashed(path, blocks, file.write)
            file.flush()
            os.fsync(file.fileno())
        return record

    def reuse(self, record: FileRecord, step: int) -> FileRecord | None:
        """Makes a hard link, where the filesystem has such."""
        try:
            os.link(self._folder.parent / f"{step:09d}" / record.path, self._new(record.path))
        except OSError:
            return None
        return record

    def _new(self, path: str) -> Path:
        target = self._folder / path
        if target.parent != self._folder:
            target.parent.mkdir(mode=0o700, exist_ok=True)
        return target


class LocalStorage(Storage):
    """One folder with a folder per checkpoint."""

    advice = _ADVICE

    def __init__(self, root: Path) -> None:
        self._root = root

    def begin(self, step: int) -> str:
        """See `Storage`."""
        self._recover()
        folder = self._root / f"{_DRAFT}{step:09d}"
        self._root.mkdir(
            mode=0o700, exist_ok=True
        )  # in a run's folder that is there: one that was moved is not made anew
        folder.mkdir(mode=0o700)
        return str(folder)

    def discard(self, place: str) -> None:
        """See `Storage`."""
        shutil.rmtree(place, ignore_errors=True)

    def commit(self, place: str, step: int, manifest: str, records: Sequence[FileRecord]) -> None:
        """See `Storage`."""
        draft = Path(place)
        for record, size in zip(records, _sizes(draft, records), strict=True):
            if size != record.size:
                raise CheckpointError(
                    f"{record.path} was written but is not in {draft}; workers on other machines need that folder too. "
                    "Set run.checkpoints to a folder that all machines share, or to a URI such as s3://bucket/path."
                )
        LocalPlace(draft).write("manifest.json", [manifest.encode()])
        for folder in {(draft / record.path).parent for record in records} | {draft}:
            _sync(folder)
        self._install(draft, step)

    def remove(self, steps: Iterable[int]) -> None:
        """See `Storage`."""
        for step in steps:
            doomed = self._root / f"{_DRAFT}{step:09d}"
            self._path(step).rename(doomed)  # a checkpoint that is half deleted must not look like one
            shutil.rmtree(doomed, ignore_errors=True)

    def steps(self) -> tuple[int, ...]:
        """See `Storage`."""
        if not self._root.is_dir():
            return ()
        names = {path.name.removeprefix(_REPLACED) for path in self._root.iterdir()}
        return tuple(sorted(int(name) for name in names if STEP_NAME.fullmatch(name)))

    def read(self, step: int, name: str) -> bytes:
        """See `Storage`."""
        return read_content(self._path(step) / name, MOST_BYTES)

    def note(self, step: int, name: str, text: str) -> None:
        """See `Storage`."""
        folder = self._path(step)
        LocalPlace(folder).write(f"{_DRAFT}{name}", [text.encode()])
        (folder / f"{_DRAFT}{name}").replace(folder / name)

    def sizes(self, step: int, records: Sequence[FileRecord]) -> list[int | None]:
        """See `Storage`."""
        return _sizes(self._path(step), records)

    def fetch(self, step: int, records: Sequence[FileRecord]) -> Fetched:
        """Does nothing: they are here."""
        return Fetched(self._path(step))

    def probe(self) -> None:
        """See `Storage`."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        LocalPlace(self._root).write(f"{_DRAFT}probe", [b"0"])
        (self._root / f"{_DRAFT}probe").unlink()

    def _path(self, step: int) -> Path:
        name = f"{step:09d}"
        replaced = self._root / f"{_REPLACED}{name}"
        return self._root / name if (self._root / name).exists() or not replaced.exists() else replaced

    def _recover(self) -> None:
        for path in self._root.glob(f"{_DRAFT}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self._root.glob(f"{_REPLACED}*"):
            place = self._root / path.name.removeprefix(_REPLACED)
            if place.exists():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.rename(place)

    def _install(self, draft: Path, step: int) -> None:
        """Moves a finished draft to its name, in place of a checkpoint of the same step."""
        place = self._root / f"{step:09d}"
        replaced = self._root / f"{_REPLACED}{place.name}"
        if place.exists():
            place.rename(replaced)
        draft.rename(place)
        with contextlib.suppress(FileNotFoundError):
            (replaced / "score.json").rename(place / "score.json")
        _sync(self._root)
        shutil.rmtree(replaced, ignore_errors=True)


def _sizes(folder: Path, records: Sequence[FileRecord]) -> list[int | None]:
    paths = [folder / record.path for record in records]
    inside = folder.resolve()
    for path, record in zip(paths, records, strict=True):
        if not path.resolve().is_relative_to(inside):
            raise CheckpointError(f"{record.path} is a link to a file outside of the checkpoint")
    return [path.stat().st_size if path.is_file() else None for path in paths]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
