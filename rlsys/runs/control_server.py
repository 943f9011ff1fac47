"""Requests to a run that trains: files in its folder, answered by the process that leads it.

<run>/control/<id>.json      what is asked: {"command": "scale", "rollout_workers": 48}
<run>/control/<id>.answer    what came of it: {"ok": true, "text": "…"}
"""

import contextlib
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rlsys.errors import CheckpointError, ConfigError, RlsysError, WorkerError
from rlsys.files.content import read_content
from rlsys.files.json_tree import parse_json, read_json
from rlsys.quoting import quoted, run_name
from rlsys.runs.heartbeat import look

_FOLDER = "control"
_LOOK_S = 0.5
_PATIENCE_S = 60.0
_PAUSE_S = 0.1
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class _Request:
    """What is asked; of `scale`, also how many rollout workers there shall be."""

    command: str
    rollout_workers: int | None = None


@dataclass(frozen=True)
class _Answer:
    """What came of a request."""

    ok: bool
    text: str


class Controlled(Protocol):
    """What a run lets others do with it."""

    def stop(self, reason: str) -> None:
        """Asks the run to end with a checkpoint."""

    def scale(self, rollout_workers: int) -> str:
        """Changes the number of rollout workers while the run trains; says what it did."""


def ending(reason: str, rollout_workers: int) -> ConfigError:
    """Returns what to say to who wants so many rollout workers of a run that is about to end."""
    return ConfigError(
        f"it is about to end: {reason}. Go on with it afterwards, with runtime.rollout_workers={rollout_workers} "
        "behind 'rlsys launch --resume'."
    )


class ControlServer:
    """Where a run looks for requests."""

    def __init__(self, folder: Path, scaled: Callable[[int], None]) -> None:
        """Clears away what was asked of an earlier session.

        Args:
          folder: the run's.
          scaled: told the new number of rollout workers, so that the run keeps it when it is resumed.
        """
        self._folder = folder / _FOLDER
        self._scaled = scaled
        self._looked = 0.0
        for path in self._folder.glob("*"):
            path.unlink(missing_ok=True)

    def serve(self, run: Controlled) -> None:
        """Answers what was asked since the last look, at most twice a second."""
        if time.monotonic() - self._looked < _LOOK_S:
            return
        self._looked = time.monotonic()
        for path in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(OSError):
                answer = self._answer(run, path)
                path.unlink(missing_ok=True)
                _write(path.with_suffix(".answer"), answer)

    def _answer(self, run: Controlled, path: Path) -> Mapping[str, Any]:
        try:
            request = parse_json(read_content(path, _MOST_BYTES), _Request)
        except CheckpointError as error:
            return {"ok": False, "text": f"the request {error}; ask with the same version of rlsys."}
        try:
            return {"ok": True, "text": self._do(run, request)}
        except RlsysError as error:
            return {"ok": False, "text": str(error)}

    def _do(self, run: Controlled, request: _Request) -> str:
        match request.command:
            case "stop":
                run.stop("stopped on request; a checkpoint was written")
                return "it ends with a checkpoint"
            case "scale" if request.rollout_workers is not None:
                text = run.scale(request.rollout_workers)
                self._scaled(request.rollout_workers)
                return text
            case "scale":
                raise ConfigError("the request cannot be read: it does not say how many; ask with the same version.")
            case other:
                raise ConfigError(f"a run knows no command '{other}'; it knows stop and scale.")


def ask(folder: Path, command: str, **arguments: Any) -> str:
    """Asks a run for something and waits for its answer.

    Raises:
      ConfigError: nobody trains the run, or it refuses.
      WorkerError: it did not answer within a minute.
    """
    sighting = look(folder)
    name = f"{folder.parent.name}/{folder.name}"
    if sighting is None or not sighting.is_alive:
        state = "has never been trained" if sighting is None else f"is {sighting.state} ({sighting.reason})"
        raise ConfigError(
            f"{name} {state}; nobody is there to {command} it. Go on with "
            f"{quoted('launch', '--resume', run_name(folder))}."
        )
    path = folder / _FOLDER / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.json"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _write(path, {"command": command, **arguments})
    answer = path.with_suffix(".answer")
    deadline = time.monotonic() + _PATIENCE_S
    while not answer.exists():
        if time.monotonic() > deadline:
            path.unlink(missing_ok=True)
            raise WorkerError(
                f"{name} did not answer for {_PATIENCE_S:.0f} s; process {sighting.pid} on {sighting.host} leads it. "
                "See whether that machine, or the file system, is overloaded, and ask again."
            )
        time.sleep(_PAUSE_S)
    answered = read_json(answer, _Answer)
    answer.unlink(missing_ok=True)
    if not answered.ok:
        raise ConfigError(f"{name}: {answered.text}")
    return answered.text


def _write(path: Path, tree: Mapping[str, Any]) -> None:
    aside = path.with_suffix(".aside")
    aside.write_text(json.dumps(tree), encoding="utf-8")
    aside.replace(path)
