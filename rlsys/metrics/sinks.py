"""Where rows of metrics go besides metrics.jsonl: TensorBoard and Weights & Biases; Prometheus has its own file."""

import errno
import netrc
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, cast
from urllib.parse import urlsplit

from rlsys.config import Loaded
from rlsys.errors import ConfigError
from rlsys.types import Array

WandbMode = Literal["online", "offline", "disabled"]
_MODES: tuple[WandbMode, ...] = ("online", "offline", "disabled")
_AXES = {
    "episodes": "env_steps",
    "evaluation": "env_steps",
    "mean_reward/eval": "env_steps",
    "workers": "time_s",
    "system": "time_s",
}
"""Groups that are drawn over what was experienced, or over time; all others over learner steps."""


@dataclass(frozen=True)
class Row:
    """One row on its way to the sinks.

    Attributes:
      number: of the line in metrics.jsonl, from 0; grows even when a run is rewound.
      learner_step, env_steps: where the run was.
      time_s: wall time since the run began, pauses between sessions left out.
      metrics: `group/name` -> value; None for what is not finite.
      histograms: `group/name` -> array of any shape.
      films: `group/name` -> file.
    """

    number: int
    learner_step: int
    env_steps: int
    time_s: float
    metrics: Mapping[str, float | None]
    histograms: Mapping[str, Array] = field(default_factory=dict)
    films: Mapping[str, Path] = field(default_factory=dict)

    @property
    def finite(self) -> dict[str, float]:
        """The metrics that have a value."""
        return {name: value for name, value in self.metrics.items() if value is not None}


class Sink(Protocol):
    """A place besides metrics.jsonl that rows go to; it may fail at any time, and is then left out."""

    def write(self, row: Row) -> None:
        """Takes one row."""

    def rewind(self, learner_step: int) -> None:
        """Notes that rows beyond `learner_step` are about to be repeated."""

    def close(self) -> None:
        """Writes what is buffered and ends."""


def wandb_mode(setting: Literal["auto", "online", "offline", "disabled"]) -> WandbMode:
    """Returns "online", "offline" or "disabled" for `run.wandb`; auto follows WANDB_MODE, then the login.

    Raises:
      ConfigError: online without a login.
    """
    if setting == "auto":
        asked = [mode for mode in _MODES if mode == os.environ.get("WANDB_MODE")]
        return asked[0] if asked else "online" if has_wandb_login() else "offline"
    if setting == "online" and not has_wandb_login():
        raise ConfigError(
            "run.wandb = online, but there is no Weights & Biases login. Run 'wandb login', or set run.wandb=offline."
        )
    return setting


def axis_of(metric: str) -> str:
    """Returns what a metric is drawn over: env_steps, learner_step or time_s."""
    return _AXES.get(metric.rpartition("/")[0], "learner_step")


def has_wandb_login() -> bool:
    """Returns whether W&B would find credentials: a variable, a token file, or its host in ~/.netrc."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


class TensorBoard:
    """TensorBoard event files; the x axis is the learner step."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = self._open(None)

    def write(self, row: Row) -> None:
        """Adds scalars and histograms; films are in the run's folder."""
        for name, value in {**row.finite, "progress/env_steps": row.env_steps}.items():
            self._writer.add_scalar(name, value, row.learner_step)
        for name, array in row.histograms.items():
            self._writer.add_histogram(name, array.ravel(), row.learner_step)
        self._writer.flush()
        if self._file.trouble is not None:
            raise self._file.trouble

    def rewind(self, learner_step: int) -> None:
        """Starts a file that hides the events of the steps to be repeated."""
        self._writer.close()
        self._writer = self._open(learner_step + 1)

    def close(self) -> None:
        """Writes what is buffered."""
        self._writer.close()

    def _open(self, purge_step: int | None) -> Any:
        from tensorboardX import SummaryWriter
        from tensorboardX.record_writer import register_writer_factory

        self._file = _EventFile()
        register_writer_factory(_SCHEME, self._file)
        folder = f"{_SCHEME}:{self._folder}"
        # Files are named after the second; two sessions within one would overwrite each other.
        return SummaryWriter(folder, purge_step=purge_step, filename_suffix=f".{time.time_ns()}")


_SCHEME = "rlsys"


class _EventFile:
    """A file of TensorBoard's; tensorboardX writes it from a thread, where what fails would be a traceback.

    Attributes:
      trouble: what went wrong first; nothing is written after that.
    """

    def __init__(self) -> None:
        self.trouble: OSError | None = None
        self._file: BinaryIO | None = None

    def directory_check(self, path: str) -> None:
        """Makes the folder."""
        Path(path.removeprefix(f"{_SCHEME}:")).mkdir(parents=True, exist_ok=True)

    def open(self, path: str) -> "_EventFile":
        """Begins the file."""
        self._file = Path(path.removeprefix(f"{_SCHEME}:")).open("wb", buffering=0)  # noqa: SIM115 - until `close`
        return self

    def write(self, data: bytes) -> None:
        """Appends to it."""
        assert self._file is not None
        if self.trouble is None:
            try:
                if self._file.write(data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self.trouble = error

    def flush(self) -> None:
        """Does nothing: what is written is there."""

    def close(self) -> None:
        """Ends it."""
        if self._file is not None:
            self._file.close()


class Wandb:
    """A Weights & Biases run, one for all workers, of whom rows hold sums by kind.

    W&B makes a section of each group of metrics. Its own step is the row's number, because learner steps may repeat or
    stand still.
    """

    def __init__(self, folder: Path, loaded: Loaded, run_id: str, mode: WandbMode, warn: Callable[[str], None]) -> None:
        import wandb

        self._wandb = wandb
        self._warn = warn
        try:
            self._run = self._init(folder, loaded, run_id, mode)
        except wandb.errors.Error as error:
            if mode != "online":
                raise
            warn(f"Weights & Biases cannot be reached ({error}); it goes on offline: later, 'wandb sync' uploads it.")
            self._run = self._init(folder, loaded, run_id, "offline")
        for axis in ("learner_step", "env_steps", "time_s"):
            self._run.define_metric(axis)
        self._groups: set[str] = set()

    def write(self, row: Row) -> None:
        """Sends the row in one call."""
        data: dict[str, Any] = dict(row.finite)
        for name, array in row.histograms.items():
            data[name] = self._wandb.Histogram(array.ravel().tolist())
        for name, path in row.films.items():
            try:
                data[name] = self._wandb.Video(str(path), format=cast(Any, path.suffix[1:]))
            except Exception as error:  # noqa: BLE001 - a film that cannot be sent is no reason to send nothing more
                self._warn(f"the film {name} is not sent to Weights & Biases: {error or type(error).__name__}")
        self._choose_axes(data)
        axes = {"learner_step": row.learner_step, "env_steps": row.env_steps, "time_s": row.time_s}
        self._run.log({**data, **axes}, step=row.number)

    def rewind(self, learner_step: int) -> None:
        """Leaves what was sent: W&B cannot take rows back, but its x axis shows the repetition."""

    def close(self) -> None:
        """Ends the run and W&B's own process, which has written, or uploaded, everything by then."""
        self._run.finish()
        self._wandb.teardown()

    def _choose_axes(self, names: Iterable[str]) -> None:
        """Gives each group its x axis when it is first seen; two patterns must not match one name."""
        for group in {name.rpartition("/")[0] for name in names} - self._groups:
            self._run.define_metric(f"{group}/*", step_metric=axis_of(f"{group}/"))
            self._groups.add(group)

    def _init(self, folder: Path, loaded: Loaded, run_id: str, mode: WandbMode) -> Any:
        """Starts the run; what is sent is the experiment, metrics and films, never environment variables or code."""
        run = loaded.experiment.run
        return self._wandb.init(
            project=run.wandb_project,
            group=run.group_tag,
            job_type=loaded.experiment.algorithm,
            id=re.sub(r"[^\w.-]", "-", f"{loaded.name}.{run_id}"),
            name=f"{loaded.name} {run_id}",
            dir=str(folder),
            mode=mode,
            resume="allow",
            config={"name": loaded.name, "profile": loaded.profile, **loaded.experiment.model_dump(mode="json")},
            settings=self._wandb.Settings(console="off", silent=True, save_code=False, init_timeout=60),
        )


def gauge_name(metric: str) -> str:
    """Returns what a metric, or a step of the run, is called as a gauge for Prometheus; `.*` in it stays."""
    return "rlsys_" + re.sub(r"[^\w.*]|\.(?!\*)", "_", metric)


def series_name(metric: str) -> str:
    """Returns what Ray's exporter makes of that name."""
    return f"ray_{gauge_name(metric)}"
