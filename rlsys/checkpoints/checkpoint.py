"""Checkpoints: all that a run needs to go on exactly from where it was, whole or not at all.

A checkpoint is a set of parts (`part`), which any process writes to a draft's place, and a manifest that lists their
files with sizes and SHA-256, and has one of its own. It lies in a folder or in an object store (`storage`).
"""

import contextlib
import functools
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rlsys.api import Saved
from rlsys.checkpoints import manifest
from rlsys.checkpoints.locations import storage_at
from rlsys.checkpoints.manifest import Manifest
from rlsys.checkpoints.part import read_part, write_part
from rlsys.checkpoints.storage import Fetched, FileRecord, digest_of, writing
from rlsys.errors import CheckpointError, RlsysError
from rlsys.files.json_tree import parse_json

_SCORE = "score.json"
_SHOWN = 200


@dataclass(frozen=True)
class _Score:
    """What is in score.json."""

    score: float


@dataclass(frozen=True)
class Opened:
    """A checkpoint whose files have been found whole.

    Attributes:
      learner_step: updates done when it was written.
      metrics: what it was committed with.
      records: its files.
      fetched: where they lie on this machine; of an object store only those of the parts that were asked for.
      damaged: makes the error that says what is wrong with it.
    """

    learner_step: int
    metrics: Mapping[str, Any]
    records: Sequence[FileRecord]
    fetched: Fetched
    damaged: Callable[[str], CheckpointError]

    @property
    def env_steps(self) -> int:
        """Decisions of all environments when it was written, as far as it says.

        Raises:
          CheckpointError: what it says is no number.
        """
        count = self.metrics.get("env_steps", 0)
        if not isinstance(count, int) or count < 0:
            raise self.damaged(f"{manifest.NAME} says env_steps = {str(count)[:_SHOWN]}, which is no count")
        return count

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of its parts, sorted."""
        return tuple(sorted({_part_of(record) for record in self.records}))

    def read(self, part: str) -> dict[str, Any]:
        """Returns a part; its arrays are the caller's own.

        Raises:
          CheckpointError: the checkpoint has no such part, or its files are not what belongs there.
        """
        if part not in self.parts:
            names = dict.fromkeys(name.partition("/")[0] for name in self.parts)
            raise CheckpointError(
                f"checkpoint {self.learner_step} has no part '{part}'; it has {', '.join(names)}. "
                "It was written with other settings: resume with those, or start a new run."
            )
        try:
            return read_part(self.fetched.folder, part)
        except CheckpointError as fact:
            raise self.damaged(str(fact)) from None

    @contextlib.contextmanager
    def loading(self, part: str) -> Iterator[dict[str, Any]]:
        """Reads a part for the one who takes it over inside: what does not fit there is the checkpoint's fault.

            with opened.loading("learner") as saved:
                learner.load(saved["learner"])

        Raises:
          CheckpointError: as `read`, and in place of whatever is raised inside that the user cannot resolve.
        """
        saved = self.read(part)
        try:
            yield saved
        except RlsysError:
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
            raise CheckpointError(
                f"part '{part}' of checkpoint {self.learner_step} does not fit this run ({reason}). It was written "
                "with other settings or by another version: resume with those, or start a new run."
            ) from error


class Checkpoints:
    """The checkpoints of one run. One process at a time may write them; any number may read.

    Kept are the last `keep`, the best by score, those whose score is still expected, and extra ones. A run that went
    back to an earlier step gives up, with its first checkpoint from there, those of later steps: its metrics lead to
    them no more.
    """

    def __init__(self, location: str | Path, keep: int) -> None:
        """Looks at a folder or a URI.

        Raises:
          CheckpointError: the URI cannot be understood.
        """
        assert keep >= 1, keep
        self.location = str(location)
        self._storage = storage_at(location)
        self._keep = keep
        self._expected: set[int] = set()
        self._given_up: set[int] = set()

    def move_to(self, location: str | Path) -> None:
        """Goes on with the same checkpoints where they lie now."""
        self.location = str(location)
        self._storage = storage_at(location)

    def check_writable(self) -> None:
        """Writes something and removes it again.

        Raises:
          CheckpointError: that cannot be.
        """
        with self._writing():
            self._storage.probe()

    def begin(self, learner_step: int, *, extra: bool = False) -> "Draft":
        """Opens an empty draft and clears away earlier ones that were left unfinished.

        An extra checkpoint is never pruned.
        """
        with self._writing():
            return Draft(self, self._storage.begin(learner_step), learner_step, extra=extra)

    def list(self) -> tuple[int, ...]:
        """Returns the learner steps of all checkpoints, oldest first; drafts do not count.

        Raises:
          CheckpointError: the network is away.
        """
        with self._reading():
            return self._storage.steps()

    def latest(self) -> int | None:
        """Returns the learner step of the newest checkpoint, None if there is none."""
        return max(self._valid(), default=None)

    def best(self) -> int | None:
        """Returns the learner step of the highest score, the newest of equals; None while there are no scores."""
        return self._best_of(self._valid())

    def score(self, learner_step: int) -> float | None:
        """Returns the score of a checkpoint; None while it has none, or if there is no such checkpoint."""
        return self._score(learner_step) if learner_step in self._valid() else None

    def best_score(self) -> float:
        """Returns the highest score of all checkpoints; minus infinity while there are none."""
        best = self.best()
        score = None if best is None else self._score(best)
        return -math.inf if score is None else score

    def expect_score(self, learner_step: int) -> None:
        """Keeps a checkpoint until `mark_best` or `expect_no_score` names it."""
        self._expected.add(learner_step)

    def expect_no_score(self, learner_step: int) -> None:
        """Keeps a checkpoint no longer because its score is expected."""
        self._expected.discard(learner_step)

    def go_back(self, learner_step: int) -> None:
        """Counts checkpoints of later steps no more; the first that is committed from here on removes them."""
        self._given_up = {step for step in self.list() if step > learner_step}
        self._expected = {step for step in self._expected if step <= learner_step}

    def mark_best(self, learner_step: int, score: float) -> bool:
        """Notes a checkpoint's score, higher is better; returns whether it is the best now.

        A score that is not finite, or of a checkpoint that is gone, is not noted.
        """
        self._expected.discard(learner_step)
        if learner_step not in self._valid() or not math.isfinite(score):
            return False
        with self._writing():
            self._storage.note(learner_step, _SCORE, json.dumps({"score": float(score)}))
        return self.best() == learner_step

    def open(self, which: int | str, parts: Collection[str] | None = None) -> Opened:
        """Checks a checkpoint and opens it.

        Args:
          which: a learner step, "latest" or "best".
          parts: what is wanted, with what lies below it; by default all. The manifest and all sizes are checked in any
            case, contents where they are wanted.

        Raises:
          CheckpointError: there is no such checkpoint, or a file of it is missing or damaged; the message names the
            file and the nearest earlier checkpoint that is whole.
        """
        step = self._find(which)
        with self._reading():
            try:
                return self._verify(step, parts)
            except CheckpointError as damage:
                raise self._damaged(step, parts, str(damage)) from None

    def _damaged(self, step: int, parts: Collection[str] | None, fact: str) -> CheckpointError:
        """Returns what to say of a checkpoint of which a bare fact is known."""
        return CheckpointError(
            f"checkpoint {step} in {self.location} is damaged: {fact}. {self._alternative(step, parts)}"
        )

    def _find(self, which: int | str) -> int:
        steps = self.list()
        named = {"latest": self.latest, "best": self.best}
        step = named[which]() if isinstance(which, str) and which in named else which
        if step is not None and re.fullmatch("[0-9]{1,18}", str(step)) and int(step) in steps:
            return int(step)
        known = f"there are {', '.join(map(str, steps))}" if steps else "there is none yet"
        advice = "Name one of these, latest or best." if steps else "Let the run write one first."
        if which == "best" and steps:
            advice = "None has been evaluated: name one of these, or latest."
        raise CheckpointError(f"no checkpoint '{which}' in {self.location}; {known}. {advice}")

    def _alternative(self, damaged: int, parts: Collection[str] | None) -> str:
        steps = self.list()
        for step in sorted(steps, key=lambda step: (step > damaged, -step)):
            with contextlib.suppress(CheckpointError):
                if step != damaged:
                    other = self._verify(step, parts)
                    for record in other.records:
                        if record.path.endswith(".json") and (parts is None or _is_wanted(record, parts)):
                            read_part(other.fetched.folder, _part_of(record))
                    return f"Use --checkpoint {step}, which is whole."
        return "No other checkpoint of this run is whole: start a new run."

    def _verify(self, step: int, parts: Collection[str] | None) -> Opened:
        """Opens a checkpoint, or raises a CheckpointError with the bare fact that is wrong."""
        found = self._manifest(step)
        for record, size in zip(found.files, self._storage.sizes(step, found.files), strict=True):
            if size is None:
                raise CheckpointError(f"{record.path} is missing")
            if size != record.size:
                raise CheckpointError(f"{record.path} has {size:,} bytes, expected {record.size:,}")
        wanted = [record for record in found.files if parts is None or _is_wanted(record, parts)]
        fetched = self._storage.fetch(step, wanted)
        for record in wanted:
            if digest_of(fetched.folder / record.path) != record.sha256:
                raise CheckpointError(f"{record.path} does not match its checksum")
        return Opened(step, found.metrics, found.files, fetched, functools.partial(self._damaged, step, parts))

    def _manifest(self, step: int) -> Manifest:
        try:
            return Manifest.parse(self._storage.read(step, manifest.NAME), step)
        except FileNotFoundError:
            raise CheckpointError(f"{manifest.NAME} is missing") from None

    def _valid(self) -> tuple[int, ...]:
        """Returns the learner steps of all checkpoints but those that the run, which went back, has given up."""
        return tuple(step for step in self.list() if step not in self._given_up)

    def _best_of(self, steps: Iterable[int]) -> int | None:
        scores = [(score, step) for step in steps if (score := self._score(step)) is not None]
        return max(scores)[1] if scores else None

    def _score(self, step: int) -> float | None:
        try:
            score = parse_json(self._storage.read(step, _SCORE), _Score).score
        except (OSError, CheckpointError):
            return None
        return score if math.isfinite(score) else None

    def _is_extra(self, step: int) -> bool:
        try:
            return self._manifest(step).extra
        except CheckpointError:
            return False

    def _commit(self, place: str, new: Manifest) -> None:
        with self._writing():
            if new.learner_step in self._given_up:  # whose score the new one would take over
                self._storage.note(new.learner_step, _SCORE, "null")
            self._storage.commit(place, new.learner_step, new.format(), new.files)
        with contextlib.suppress(OSError, CheckpointError):  # what cannot be removed now is removed after the next one
            self._prune(new.learner_step)

    def _prune(self, learner_step: int) -> None:
        """Removes what is not kept once a checkpoint has been committed."""
        self._given_up.discard(learner_step)
        steps = self.list()
        valid = [step for step in self._valid() if step <= learner_step]
        kept = {*valid[-self._keep :], self._best_of(valid), *tuple(self._expected)}
        kept |= {step for step in valid if step not in kept and self._is_extra(step)}
        self._storage.remove([step for step in steps if step not in kept or step not in valid])

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return writing(self.location, self._storage.advice)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = " ".join((error.strerror or str(error)).split())[:_SHOWN]
            raise CheckpointError(f"cannot read {self.location}: {reason}. {self._storage.advice}") from error


class Draft:
    """A checkpoint in the making; as a context it discards itself unless it was committed.

        with checkpoints.begin(learner_step) as draft:
            draft.write("learner", learner.save())
            draft.add(records)                          # what another process wrote with write_part(draft.place, …)
            draft.commit({"env_steps": env_steps})

    Attributes:
      place: where parts are written.
      learner_step: updates done.
    """

    def __init__(self, checkpoints: Checkpoints, place: str, learner_step: int, *, extra: bool) -> None:
        self.place = place
        self.learner_step = learner_step
        self._checkpoints = checkpoints
        self._extra = extra
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
            self.add(write_part(self.place, name, saved))

    def add(self, records: Iterable[FileRecord]) -> None:
        """Takes in files that `write_part` has written to `place`."""
        self._records.update({record.path: record for record in records})

    def commit(self, metrics: Mapping[str, Any]) -> None:
        """Makes a checkpoint of the draft.

        Args:
          metrics: counters and other scalars to remember, given back in `Opened.metrics`.

        Raises:
          CheckpointError: a file is missing, or the disk is full; the draft is gone, earlier checkpoints are untouched.
        """
        with self._discarding():
            self._checkpoints._commit(
                self.place, Manifest(self.learner_step, metrics, self._extra, tuple(self._records.values()))
            )

    def discard(self) -> None:
        """Removes what was written; does nothing after `commit`."""
        self._checkpoints._storage.discard(self.place)

    @contextlib.contextmanager
    def _discarding(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.discard()
            raise


def _is_wanted(record: FileRecord, parts: Collection[str]) -> bool:
    part = _part_of(record)
    return part in parts or part.partition("/")[0] in parts


def _part_of(record: FileRecord) -> str:
    return record.path.rpartition(".")[0]
