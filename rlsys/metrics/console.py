"""What a user sees of a run: a live view on a terminal, one line per report elsewhere."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import rich.console
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rlsys.config import Loaded
from rlsys.loss_names import read_loss_name
from rlsys.metrics.formatting import duration, join, number, rate, share, sparkline
from rlsys.runs.status import Status


class Console:
    """The one place that a run writes to the terminal from; a context manager.

    On a terminal, `update` refreshes a panel and `message` prints above it. Elsewhere each becomes a line.
    """

    def __init__(
        self,
        loaded: Loaded,
        folder: Path,
        *,
        terminal: bool | None = None,
        output: rich.console.Console | None = None,
    ) -> None:
        """Prepares the view.

        Args:
          loaded: the experiment.
          folder: the run's folder.
          terminal: whether to draw a live view; by default, whether the output is a terminal.
          output: where to write, standard output by default.
        """
        self._loaded = loaded
        self._folder = folder
        self._output = output or rich.console.Console(highlight=False)
        self._is_live = self._output.is_terminal if terminal is None else terminal
        self._status: Status | None = None
        self._updated = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> "Console":
        experiment = self._loaded.experiment
        self._line(
            f"{self._loaded.name}: {experiment.algorithm} on {experiment.env.id}, profile {self._loaded.profile}\n"
            f"everything it leaves behind: {self._folder}"
        )
        if self._is_live:
            self._live = Live(console=self._output, get_renderable=self.view, refresh_per_second=2)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, status: Status) -> None:
        """Shows how the run stands."""
        self._status = status
        self._updated = time.monotonic()
        if not self._is_live:
            self._line(report_line(status))

    def message(self, text: str) -> None:
        """Shows one event, such as a checkpoint or a restart, for good."""
        self._line(f"{duration(self._elapsed_s())}  {text}")

    def finish(self, text: str) -> None:
        """Shows how the run ended; nothing follows."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._line(text)

    def _line(self, text: str) -> None:
        self._output.print(Text(text), soft_wrap=True)

    def _elapsed_s(self) -> float:
        """Returns the run's age, which goes on between two reports."""
        if self._status is None:
            return 0.0
        return self._status.elapsed_s + time.monotonic() - self._updated

    def view(self) -> Panel:
        """Returns the live view as it is now."""
        status = self._status
        if status is None:
            body: Text | Table = Text(f"starting workers … {duration(time.monotonic() - self._updated)}")
        else:
            body = Table.grid(padding=(0, 2))
            body.add_column(style="bold")
            for name, text in describe(status):
                body.add_row(name, Text(text))
        left = "" if status is None or status.time_left_s is None else f", {duration(status.time_left_s)} left"
        age = duration(self._elapsed_s())
        return Panel(body, title=f"{self._loaded.name}  {age}{left}", title_align="left", expand=False)


def describe(status: Status) -> list[tuple[str, str]]:
    """Returns the live view's rows: what it is about, and the text."""
    rows = [
        (
            "acting",
            join(
                f"{status.env_steps:,} env steps",
                rate(status.env_steps_per_s),
                f"{status.frames:,} frames",
                rate(status.frames_per_s),
                f"{status.episodes:,} episodes",
            ),
        ),
        (
            "learning",
            join(
                f"{status.learner_steps:,} updates",
                rate(status.updates_per_s),
                share(status.learner_idle_share, "idle"),
            ),
        ),
        ("return", join(number(status.mean_return) or "no episode yet", sparkline(status.returns))),
        ("evaluation", join(number(status.evaluation_return), number(status.best_return, "best"))),
        ("loss", _losses(status.losses)),
        ("replay", join(_items(status), _samples_per_insert(status), _queues(status))),
        ("weights", number(status.version_lag, "versions behind:")),
        ("checkpoint", "" if status.checkpoint_step is None else f"step {status.checkpoint_step:,}"),
        ("restarts", f"{status.restarts:,}" if status.restarts else ""),
        ("waiting", "\n".join(status.waits)),
        ("advice", status.advice),
    ]
    return [(name, text) for name, text in rows if text]


def report_line(status: Status) -> str:
    """Returns the status as one line, for logs and pipes."""
    waits = status.waits if not status.updates_per_s > 0 else ()
    evaluation = number(status.evaluation_return, "evaluation")
    return join(
        duration(status.elapsed_s),
        f"step {status.learner_steps:,}",
        rate(status.updates_per_s),
        f"env {status.env_steps:,}",
        rate(status.env_steps_per_s),
        f"episodes {status.episodes:,}",
        number(status.mean_return, "return"),
        evaluation,
        _losses(status.losses, "loss"),
        f"replay {_items(status)}" if status.replay_size else "",
        _samples_per_insert(status),
        _queues(status),
        number(status.version_lag, "lag"),
        share(status.learner_idle_share, "idle"),
        f"restarts {status.restarts}" if status.restarts else "",
        f"left {duration(status.time_left_s)}" if status.time_left_s is not None else "",
        *waits,
    )


def _losses(losses: Mapping[str, float], label: str = "") -> str:
    names = {name: read_loss_name(name) for name in losses}
    parts = [number(losses[name], found.of) for name, found in names.items() if found and not found.is_held_out]
    text = ", ".join(part for part in parts if part)
    return f"{label} {text}" if label and text else text


def _items(status: Status) -> str:
    return f"{status.replay_items:,} of {status.replay_size:,} items" if status.replay_size else ""


def _samples_per_insert(status: Status) -> str:
    """Returns samples per insert, now and as configured."""
    now, target = number(status.samples_per_insert, "samples per insert"), status.samples_per_insert_target
    return now if not now or target is None else f"{now} of {target:.3g}"


def _queues(status: Status) -> str:
    depths = dict(status.queues)
    if status.batches_in_flight is not None:
        depths["batches"] = status.batches_in_flight
    return ", ".join(f"{name} in flight {depth:,}" for name, depth in depths.items())
