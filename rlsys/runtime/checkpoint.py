"""Checkpoints: all that a run needs to go on exactly from where it was, written aside and renamed into place.

    checkpoints/
      000002000/               one per learner step; appears whole or not at all
        manifest.json          learner step, metrics, every file with size and SHA-256, and its own SHA-256
        <part>.safetensors     the arrays of a part, keyed by their place in it (a JSON pointer, RFC 6901)
        <part>.json            the rest of the part; {"$array": key} where an array belongs
        score.json             mean evaluation return, once it is known
        extra.json             there if the checkpoint is never pruned
      .tmp-000003000/          a draft: parts are written here, by any process that sees the folder
      .replaced-000002000/     the former holder of a name, for the moment in which the new one moves in

A part is a `Saved`. Reading one parses JSON and copies bytes: it never runs code. All files are private to the user.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from rlsys.api import Saved
from rlsys.errors import CheckpointError
from rlsys.runtime.saved import decode, encode
from rlsys.types import Array

_VERSION = 1
_MANIFEST = "manifest.json"
_SCORE = "score.json"
_EXTRA = "extra.json"
_DRAFT = ".tmp-"
_REPLACED = ".replaced-"
_STEP_NAME = re.compile(r"\d{9,}")
_PART_NAME = re.compile(r"(?!(manifest|score|extra)$)[\w-]+(/[\w-]+)?")


@dataclass(frozen=True)
class FileRecord:
    """One file of a checkpoint: its path in the folder, its bytes, and their SHA-256 in hex."""

    path: str
    size: int
    sha256: str


def write_part(folder: Path, name: str, saved: Saved) -> list[FileRecord]:
    """Writes one part of a checkpoint to disk, durably, and says what it wrote.

    Args:
      folder: a draft's folder (`Draft.folder`). The process may be another than the draft's.
      name: letters, digits, "_" and "-"; one slash puts it into a subfolder.
      saved: what to write. Tuples come back as lists and numpy scalars as Python's; all else comes back exactly.

    Raises:
      CheckpointError: the files cannot be written, for want of space for example.
      TypeError: something in `saved` is no array, JSON scalar, list or dict with string keys.
    """
    assert _PART_NAME.fullmatch(name), f"'{name}' cannot name a part of a checkpoint"
    arrays: dict[str, Array] = {}
    text = json.dumps(encode(saved, arrays), allow_nan=False, separators=(",", ":"))
    target = folder / name
    with _writing(target):
        if target.parent != folder:
            target.parent.mkdir(mode=0o700, exist_ok=True)
        records = [_write(folder, f"{name}.json", lambda path: path.write_text(text))]
        if arrays:
            records.append(_write(folder, f"{name}.safetensors", lambda path: save_file(arrays, path)))
    return records


@dataclass(frozen=True)
class Opened:
    """A checkpoint whose files have been found whole.

    Attributes:
      learner_step: updates done when it was written.
      folder: where it lies.
      metrics: what it was committed with.
      parts: names of its parts, sorted.
    """

    learner_step: int
    folder: Path
    metrics: Mapping[str, Any]
    parts: tuple[str, ...]

    def read(self, part: str) -> dict[str, Any]:
        """Returns a part; its arrays are the caller's own.

        Raises:
          CheckpointError: the checkpoint has no such part.
        """
        if part not in self.parts:
            raise CheckpointError(
                f"checkpoint {self.folder} has no part '{part}'; it has {', '.join(self.parts)}. "
                "It was written with other settings: resume with those, or start a new run."
            )
        tensors = self.folder / f"{part}.safetensors"
        arrays = load_file(tensors) if tensors.exists() else {}
        decoded: dict[str, Any] = decode(json.loads((self.folder / f"{part}.json").read_text()), arrays)
        return decoded


class Checkpoints:
    """The checkpoints of one run. One process at a time may write them; any number may read.

    Kept are the last `keep`, the best by score, one whose score is still expected, and extra ones. A run that went back
    to an earlier step gives up, with its first checkpoint from there, those of later steps: its metrics lead to them no
    more.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        assert keep >= 1, keep
        self._folder = folder
        self._keep = keep
        self._expected: int | None = None

    def begin(self, learner_step: int, *, extra: bool = False) -> "Draft":
        """Opens an empty draft and clears away earlier ones that were left unfinished.

        An extra checkpoint is never pruned.
        """
        self._recover()
        folder = self._folder / f"{_DRAFT}{learner_step:09d}"
        with _writing(folder):
            folder.mkdir(mode=0o700, parents=True)
            if extra:
                _write(folder, _EXTRA, lambda path: path.write_text("{}"))
        return Draft(self, folder, learner_step)

    def list(self) -> tuple[int, ...]:
        """Returns the learner steps of all checkpoints, oldest first; drafts do not count."""
        if not self._folder.is_dir():
            return ()
        names = {path.name.removeprefix(_REPLACED) for path in self._folder.iterdir()}
        return tuple(sorted(int(name) for name in names if _STEP_NAME.fullmatch(name)))

    def latest(self) -> int | None:
        """Returns the learner step of the newest checkpoint, None if there is none."""
        return max(self.list(), default=None)

    def best(self) -> int | None:
        """Returns the learner step of the highest score, the newest of equals; None while there are no scores."""
        scores = [(score, step) for step in self.list() if (score := self._score(step)) is not None]
        return max(scores)[1] if scores else None

    def expect_score(self, learner_step: int) -> None:
        """Keeps a checkpoint until `mark_best` names it, or until the score of another one is expected."""
        self._expected = learner_step

    def mark_best(self, learner_step: int, score: float) -> bool:
        """Notes a checkpoint's score, higher is better; returns whether it is the best now.

        A score that is not finite, or of a checkpoint that is gone, is not noted.
        """
        if learner_step == self._expected:
            self._expected = None
        folder = self._path(learner_step)
        if not folder.is_dir() or not math.isfinite(score):
            return False
        with _writing(folder / _SCORE):
            _write(folder, f"{_DRAFT}{_SCORE}", lambda path: path.write_text(json.dumps({"score": float(score)})))
            (folder / f"{_DRAFT}{_SCORE}").replace(folder / _SCORE)
        return self.best() == learner_step

    def open(self, which: int | str, parts: Collection[str] | None = None) -> Opened:
        """Checks a checkpoint and opens it.

        Args:
          which: a learner step, "latest" or "best".
          parts: whose contents to check; by default all. The manifest and all sizes are checked in any case.

        Raises:
          CheckpointError: there is no such checkpoint, or a file of it is missing or damaged; the message names the
            file and the nearest earlier checkpoint that is whole.
        """
        step = self._find(which)
        try:
            return _verify(self._path(step), step, parts)
        except CheckpointError as damage:
            raise CheckpointError(
                f"checkpoint {step} in {self._folder} is damaged: {damage}. {self._alternative(step)}"
            ) from None

    def _find(self, which: int | str) -> int:
        steps = self.list()
        named = {"latest": self.latest, "best": self.best}
        step = named[which]() if isinstance(which, str) and which in named else which
        if step is not None and str(step).isdecimal() and int(step) in steps:
            return int(step)
        known = f"there are {', '.join(map(str, steps))}" if steps else "there is none yet"
        advice = "Name one of these, latest or best." if steps else "Let the run write one first."
        if which == "best" and steps:
            advice = "None has been evaluated: name one of these, or latest."
        raise CheckpointError(f"no checkpoint '{which}' in {self._folder}; {known}. {advice}")

    def _alternative(self, damaged: int) -> str:
        steps = self.list()
        for step in sorted(steps, key=lambda step: (step > damaged, -step)):
            with contextlib.suppress(CheckpointError):
                if step != damaged:
                    _verify(self._path(step), step, None)
                    return f"Checkpoint {step} is whole: use that one."
        return "No other checkpoint of this run is whole: start a new run."

    def _path(self, learner_step: int) -> Path:
        name = f"{learner_step:09d}"
        replaced = self._folder / f"{_REPLACED}{name}"
        return self._folder / name if (self._folder / name).exists() or not replaced.exists() else replaced

    def _score(self, learner_step: int) -> float | None:
        try:
            return float(json.loads((self._path(learner_step) / _SCORE).read_text())["score"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _recover(self) -> None:
        for path in self._folder.glob(f"{_DRAFT}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self._folder.glob(f"{_REPLACED}*"):
            place = self._folder / path.name.removeprefix(_REPLACED)
            if place.exists():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.rename(place)

    def _install(self, draft: Path, learner_step: int) -> Path:
        """Moves a finished draft to its name, in place of a checkpoint of the same step, and prunes."""
        place = self._folder / f"{learner_step:09d}"
        replaced = self._folder / f"{_REPLACED}{place.name}"
        if place.exists():
            place.rename(replaced)
        draft.rename(place)
        with contextlib.suppress(FileNotFoundError):
            (replaced / _SCORE).rename(place / _SCORE)
        _sync(self._folder)
        shutil.rmtree(replaced, ignore_errors=True)
        self._remove([step for step in self.list() if step > learner_step])
        steps = self.list()
        extra = {step for step in steps if (self._path(step) / _EXTRA).exists()}
        self._remove(set(steps) - {*steps[-self._keep :], self.best(), self._expected} - extra)
        return place

    def _remove(self, steps: Iterable[int]) -> None:
        for step in steps:
            doomed = self._folder / f"{_DRAFT}{step:09d}"
            self._path(step).rename(doomed)  # a checkpoint that is half deleted must not look like one
            shutil.rmtree(doomed, ignore_errors=True)


class Draft:
    """A checkpoint in the making; as a context it discards itself unless it was committed.

        with checkpoints.begin(learner_step) as draft:
            draft.write("learner", learner.save())
            draft.add(records)                          # what another process wrote with write_part(draft.folder, …)
            draft.commit({"env_steps": env_steps})

    Attributes:
      folder: where parts are written.
      learner_step: updates done.
    """

    def __init__(self, checkpoints: Checkpoints, folder: Path, learner_step: int) -> None:
        self.folder = folder
        self.learner_step = learner_step
        self._checkpoints = checkpoints
        self._records: dict[str, FileRecord] = {}

    def __enter__(self) -> "Draft":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, name: str, saved: Saved) -> None:
        """Writes a part; see `write_part`. If that fails, the draft is gone and earlier checkpoints are untouched."""
        with self._discarding():
            self.add(write_part(self.folder, name, saved))

    def add(self, records: Iterable[FileRecord]) -> None:
        """Takes in files that `write_part` has written to `folder`."""
        self._records.update({record.path: record for record in records})

    def commit(self, metrics: Mapping[str, Any]) -> Path:
        """Makes a checkpoint of the draft; returns its folder.

        Args:
          metrics: counters and other scalars to remember, given back in `Opened.metrics`.

        Raises:
          CheckpointError: a file is missing, or the disk is full; the draft is gone, earlier checkpoints are untouched.
        """
        with self._discarding(), _writing(self.folder):
            files = sorted(self._records.values(), key=lambda record: record.path)
            for record in files:
                self._check_arrived(record)
            body = {
                "version": _VERSION,
                "learner_step": self.learner_step,
                "metrics": encode(metrics, {}),
                "files": [asdict(record) for record in files],
            }
            text = json.dumps({**body, "sha256": _digest_of(body)}, indent=1)
            _write(self.folder, _MANIFEST, lambda path: path.write_text(text))
            for folder in {(self.folder / record.path).parent for record in files} | {self.folder}:
                _sync(folder)
            return self._checkpoints._install(self.folder, self.learner_step)

    def discard(self) -> None:
        """Removes what was written; does nothing after `commit`."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.discard()
            raise

    def _check_arrived(self, record: FileRecord) -> None:
        path = self.folder / record.path
        if not path.is_file() or path.stat().st_size != record.size:
            raise CheckpointError(
                f"{record.path} was written but is not in {self.folder}; workers on other machines need the run's "
                "folder too. Set run.directory to a folder that all machines share."
            )


def _verify(folder: Path, learner_step: int, parts: Collection[str] | None) -> Opened:
    """Opens a checkpoint, or raises a CheckpointError with the bare fact that is wrong."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        found = manifest.pop("sha256")
        if found != _digest_of(manifest):
            raise ValueError
    except FileNotFoundError:
        raise CheckpointError(f"{_MANIFEST} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{_MANIFEST} does not match its checksum") from None
    if manifest["version"] != _VERSION or manifest["learner_step"] != learner_step:
        raise CheckpointError(
            f"{_MANIFEST} is of format {manifest['version']} and step {manifest['learner_step']}, "
            f"expected format {_VERSION} and step {learner_step}"
        )
    records = [FileRecord(**entry) for entry in manifest["files"]]
    for record in records:
        path = folder / record.path
        if not path.is_file():
            raise CheckpointError(f"{record.path} is missing")
        if (size := path.stat().st_size) != record.size:
            raise CheckpointError(f"{record.path} has {size:,} bytes, expected {record.size:,}")
        if (parts is None or _part_of(record) in parts) and _digest(path) != record.sha256:
            raise CheckpointError(f"{record.path} does not match its checksum")
    names = tuple(sorted({_part_of(record) for record in records}))
    return Opened(learner_step, folder, decode(manifest["metrics"], {}), names)


def _part_of(record: FileRecord) -> str:
    return record.path.rpartition(".")[0]


def _write(folder: Path, name: str, write: Callable[[Path], object]) -> FileRecord:
    """Creates a private file, has it written, and waits until it is on the disk."""
    path = folder / name
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    write(path)
    _sync(path)
    return FileRecord(name, path.stat().st_size, _digest(path))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turns what an operating system says about a failed write into one line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CheckpointError(
            f"cannot write {path}: {reason}; earlier checkpoints are untouched. "
            "Make room or give permission there, or set run.directory to another folder."
        ) from error
