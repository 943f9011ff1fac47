"""A run of the command line that is measured while it trains, and that is still training when that is over."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from processes import cpu_seconds
from rows import Implausible

from rlsys import config
from rlsys.config import RunConfig
from rlsys.errors import RlsysError
from rlsys.metrics.rows import read_metrics
from rlsys.runs import heartbeat

COMMAND = (sys.executable, "-c", "from rlsys.cli import main; main()")
_LEAST_START_S = 60.0
"""Seconds that a run takes at least until it can be measured, whatever it is."""
_LOOK_EVERY_S = 1.0
_STALL_ROWS = 5
"""Periods of logging after which a run whose counts stand still has stopped."""

Metrics = dict[str, Any]
"""A row of metrics.jsonl."""


@dataclass(frozen=True)
class Window:
    """What a run did meanwhile.

    Attributes:
      first, last: rows of its metrics at the beginning and at the end.
      wall_s: seconds between.
      cpu: CPU seconds by kind of process.
    """

    first: Metrics
    last: Metrics
    wall_s: float
    cpu: dict[str, float]

    def per_s(self, name: str) -> float:
        """Returns by how much a count grew each second."""
        grown: float = (self.last[name] - self.first[name]) / (self.last["time_s"] - self.first["time_s"])
        return grown


class LiveRun:
    """A run, its folder, and the process that leads it."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, output: Path, log_every_s: float) -> None:
        self.process = process
        self.folder = folder
        self._output = output
        self._log_every_s = log_every_s

    def rows(self, counts: Callable[[Metrics], bool]) -> list[Metrics]:
        """Returns those rows of its metrics so far that count."""
        if not (self.folder / "metrics.jsonl").exists():
            return []
        return [row for row in read_metrics(self.folder) if counts(row)]

    def wait(self, counts: Callable[[Metrics], bool]) -> None:
        """Waits for the first row that counts.

        Raises:
          Implausible: the run ended before.
        """
        while not self.rows(counts):
            self.check("before it could be measured")
            time.sleep(_LOOK_EVERY_S)

    def measure(self, seconds: float, counts: Callable[[Metrics], bool]) -> Window:
        """Returns what the run does in so many seconds.

        Raises:
          Implausible: it did not train all the time.
        """
        first, cpu, started = self.rows(counts)[-1], self._cpu("before it was measured"), time.monotonic()
        deadline = started + seconds
        newest, advanced = first, started
        while (left := deadline - time.monotonic()) > 0.0:
            time.sleep(min(left, _LOOK_EVERY_S))
            self.check(f"after {time.monotonic() - started:.0f} of {seconds:.0f} measured seconds")
            row = self.rows(counts)[-1]
            if row["env_steps"] > newest["env_steps"] and row["learner_step"] > newest["learner_step"]:
                newest, advanced = row, time.monotonic()
        used = self._cpu("while it was measured")
        wall_s, stood_s = time.monotonic() - started, time.monotonic() - advanced
        if newest is first or stood_s > max(0.25 * seconds, _STALL_ROWS * self._log_every_s):
            raise Implausible(
                f"{self._name} stood still for {stood_s:.0f} of {seconds:.0f} measured seconds: decisions and updates "
                "did not both go on. Nothing is kept: give more --seconds or more cores."
            )
        return Window(first, newest, wall_s, {kind: used[kind] - cpu.get(kind, 0.0) for kind in used})

    def check(self, when: str) -> None:
        """Sees whether it still trains.

        Raises:
          Implausible: it has ended, or is ending.
        """
        status, seen = self.process.poll(), heartbeat.look(self.folder)
        state = None if seen is None else seen.state
        if status is None and state in (None, "starting", "training"):
            return
        lines = self._output.read_text(errors="replace", encoding="utf-8").splitlines() or [""]
        how = f"ended with status {status}" if status is not None else f"is {state}"
        raise Implausible(f"{self._name} {how} {when}; nothing is kept. It said last: {lines[-1]}")

    def _cpu(self, when: str) -> dict[str, float]:
        self.check(when)
        try:
            return cpu_seconds(self.process.pid)
        except psutil.NoSuchProcess:
            self.process.wait()
            self.check(when)
            raise

    @property
    def _name(self) -> str:
        return f"{self.folder.parent.name}"


def run_to_the_end(arguments: Sequence[str], timeout_s: float | None = None) -> None:
    """Runs the command line until it ends by itself.

    Raises:
      Implausible: it failed or took longer than it may.
    """
    try:
        done = subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False, encoding="utf-8"
        )
    except subprocess.TimeoutExpired:
        raise Implausible(f"rlsys {arguments[0]} {arguments[1]} had not ended after {timeout_s:.0f} s.") from None
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines() or [""]
        raise Implausible(f"rlsys {arguments[0]} {arguments[1]} ended with status {done.returncode}: {lines[-1]}")


@contextmanager
def launched(
    experiment: str, settings: Sequence[str], directory: Path, *, seconds: float, steps: int = 0, tag: str = "here"
) -> Iterator[LiveRun]:
    """Launches a run as a user does, and ends it by SIGINT.

    Args:
      experiment: its name.
      settings: what differs.
      directory: of runs.
      seconds: for which it is going to be measured.
      steps: of the learner after which that begins.
      tag: name of the run's folder.

    Raises:
      Implausible: the settings are wrong, or end the run too early.
    """
    limits = check_limits(experiment, settings, seconds=seconds, steps=steps)
    output = directory / f"{tag}.txt"
    where = [f"run.directory={directory}", f"run.run_tag={tag}"]
    with output.open("wb") as file:
        command = [*COMMAND, "launch", experiment, *settings, *where]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield LiveRun(process, directory / experiment / tag, output, limits.log_every_s)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait()


def check_limits(experiment: str, settings: Sequence[str], *, seconds: float, steps: int = 0) -> RunConfig:
    """Returns a run's limits, all of which it reaches only after it has been measured, as far as can be foreseen.

    Raises:
      Implausible: the settings are wrong, or one of them ends the run too early.
    """
    if not seconds > 0.0:
        raise Implausible(f"{seconds:g} seconds are nothing to measure in. Give a positive number.")
    try:
        limits = config.load(experiment, overrides=list(settings)).experiment.run
    except RlsysError as error:
        raise Implausible(str(error)) from None
    least_s = _LEAST_START_S + seconds
    if limits.minutes is not None and 60.0 * limits.minutes < least_s:
        raise Implausible(
            f"run.minutes = {limits.minutes:g} ends {experiment} before it has started and been measured for "
            f"{seconds:g} s. Leave it out, or give at least {least_s / 60.0:.1f}."
        )
    if limits.training_steps <= steps + 1:
        raise Implausible(
            f"run.training_steps = {limits.training_steps} ends {experiment} before it is measured, from step {steps}. "
            "Leave it out."
        )
    return limits
