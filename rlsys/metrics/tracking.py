"""Tracking: every row of metrics goes to metrics.jsonl and, where that works, to TensorBoard, W&B and Prometheus.

metrics.jsonl is the source of truth. One row is one line:

    {"learner_step": 1200, "env_steps": 38400, "time_s": 61.5, "loss/value": 0.31, "episodes/return": null}

A number that is not finite is null. When a run goes on from a checkpoint, the rows of the steps it will repeat stay in
the file; the line {"rewound_to": 1000, "time_s": 61.5} says so, twice, and `rows.read_metrics` leaves them out.
"""

import contextlib
import errno
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rlsys.config import Loaded
from rlsys.errors import ConfigError, WorkerError
from rlsys.metrics.rows import METRICS_FILE, Rows, log_warning
from rlsys.metrics.sinks import Row, Sink, TensorBoard, Wandb, wandb_mode
from rlsys.signals import outliving_hangup
from rlsys.types import Array

_MOST_LATE = 100_000
"""Rows that are kept in memory while the disk is full: days of them."""


class Tracker:
    """Writes rows to all sinks of one run; lives in the driver.

    A sink that fails is closed with one warning and the run goes on without it, except for metrics.jsonl, the source of
    truth: while its disk is full, rows are kept in memory.
    """

    def __init__(
        self,
        folder: Path,
        loaded: Loaded,
        run_id: str,
        *,
        resume: bool,
        exporter: Callable[[], Sink] | None = None,
        warn: Callable[[str], None] = log_warning,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens all sinks that the run's section asks for.

        Args:
          folder: the run's folder.
          loaded: the experiment; it becomes W&B's config.
          run_id: names the run in W&B.
          resume: append to what is there.
          exporter: makes the sink that shows the newest row to Prometheus; None without Ray, whose exporter it is.
          warn: shows one line when a sink is lost.
          clock: seconds from any beginning; a run's time is that of its sessions.

        Raises:
          ConfigError: `run.wandb = online` without a login, or metrics of another run in the folder.
          WorkerError: metrics.jsonl cannot be written.
        """
        run = loaded.experiment.run
        self._warn = warn
        self._histograms: dict[str, Array] = {}
        self._films: dict[str, Path] = {}
        self._sinks: dict[str, Sink] = {}
        mode = wandb_mode(run.wandb)
        self._file = _MetricsFile(folder / METRICS_FILE, resume, warn)
        self._clock = clock
        self._started = clock() - self._file.last_time_s
        if run.tensorboard:
            self._open("TensorBoard", lambda: TensorBoard(folder / "tensorboard"))
        if mode != "disabled":
            self._open("Weights & Biases", lambda: Wandb(folder, loaded, run_id, mode, warn))
        if exporter is not None:
            self._open("Prometheus", exporter)

    def log(self, row: Mapping[str, float], *, learner_step: int, env_steps: int) -> None:
        """Writes one row; histograms and films given since the last one go with it.

        Raises:
          WorkerError: the disk has been full for days.
        """
        metrics = {name: float(value) if math.isfinite(value) else None for name, value in row.items()}
        time_s = round(self._clock() - self._started, 3)
        line = {"learner_step": learner_step, "env_steps": env_steps, "time_s": time_s, **metrics}
        number = self._file.append(line)
        histograms, self._histograms = self._histograms, {}
        films, self._films = self._films, {}
        full = Row(number, learner_step, env_steps, time_s, metrics, histograms, films)
        self._each(lambda sink: sink.write(full))

    def film(self, name: str, path: Path) -> None:
        """Sends a film (GIF or MP4) along with the next row."""
        self._films[name] = path

    def histograms(self, arrays: Mapping[str, Array]) -> None:
        """Sends distributions of arrays along with the next row; the arrays must not change until then."""
        self._histograms.update(arrays)

    def rewind(self, learner_step: int) -> None:
        """Notes that the run goes on from a checkpoint of `learner_step`: later rows count no more."""
        time_s = round(self._clock() - self._started, 3)
        for _ in range(2):  # a row of which a bit flips is missing; without this line, rows would count twice
            self._file.append({"rewound_to": learner_step, "time_s": time_s})
        self._each(lambda sink: sink.rewind(learner_step))

    def close(self) -> None:
        """Closes all sinks."""
        self._each(lambda sink: sink.close())
        self._sinks.clear()
        self._file.close()

    def _open(self, name: str, make: Callable[[], Sink]) -> None:
        with self._guard(name), outliving_hangup():
            self._sinks[name] = make()

    def _each(self, call: Callable[[Sink], None]) -> None:
        for name, sink in list(self._sinks.items()):
            with self._guard(name):
                call(sink)

    @contextlib.contextmanager
    def _guard(self, name: str) -> Iterator[None]:
        """Leaves out the sink whose code fails inside."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a tracking service may fail in any way, and training goes on
            sink = self._sinks.pop(name, None)
            if sink is not None:
                with contextlib.suppress(Exception):
                    sink.close()
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._warn(f"{name} is left out from here on ({reason[:200]}); metrics.jsonl goes on.")


class _MetricsFile:
    """metrics.jsonl, open for appending; a line that a crash tore off is removed first.

    Lines that cannot be written, because the disk is full, wait in memory and go with a later one.
    """

    def __init__(self, path: Path, resume: bool, warn: Callable[[str], None]) -> None:
        self._path = path
        self._warn = warn
        self._number = 0
        self._late: list[bytes] = []
        self.last_time_s = 0.0
        try:
            if resume and path.is_file():
                self._repair()
            self._file = path.open("ab" if resume else "xb", buffering=0)
            self._size = path.stat().st_size
        except FileExistsError:
            raise ConfigError(f"{path} holds the metrics of another run. Choose another run.run_tag.") from None
        except OSError as error:
            raise self._unwritable(error) from None

    def append(self, line: Mapping[str, Any]) -> int:
        """Writes one line at once, so that a crash can tear only the last; returns its number.

        Raises:
          WorkerError: so many lines wait for room on the disk that memory would be next.
        """
        self._late.append(json.dumps(line, allow_nan=False).encode() + b"\n")
        try:
            self._write(b"".join(self._late))
        except OSError as error:
            if len(self._late) == 1:
                reason = error.strerror or str(error)
                self._warn(f"cannot write {self._path}: {reason}. Make room: rows are kept in memory until then.")
            if len(self._late) > _MOST_LATE:
                raise self._unwritable(error) from None
        else:
            if len(self._late) > 1:
                self._warn(f"{self._path} can be written again; no row is lost")
            self._late.clear()
        self._number += 1
        return self._number - 1

    def close(self) -> None:
        """Closes the file.

        Raises:
          WorkerError: lines that waited for room still cannot be written.
        """
        try:
            if self._late:
                self._write(b"".join(self._late))
        except OSError as error:
            raise self._unwritable(error) from None
        finally:
            self._file.close()

    def _write(self, data: bytes) -> None:
        """Appends all of it, or nothing."""
        written = self._file.write(data)
        if written != len(data):
            self._file.truncate(self._size)
            self._file.seek(self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += written

    def _repair(self) -> None:
        data = self._path.read_bytes()
        found = Rows.of(data)
        if found.num_bytes < len(data):
            os.truncate(self._path, found.num_bytes)
        if warning := found.warning(self._path):
            self._warn(warning)
        self._number, self.last_time_s = found.num_lines, found.last_time_s

    def _unwritable(self, error: OSError) -> WorkerError:
        reason = error.strerror or str(error)
        return WorkerError(f"cannot write {self._path}: {reason}. Make room, then continue with --resume.")
