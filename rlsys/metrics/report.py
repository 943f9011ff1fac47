"""What a run leaves for people: report.html, and the results of its last evaluation."""

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rlsys.errors import CheckpointError, RlsysError
from rlsys.files.content import replace_content
from rlsys.files.json_tree import read_json
from rlsys.files.yaml_tree import read_yaml
from rlsys.metrics.rows import METRICS_FILE, log_warning, read_metrics
from rlsys.metrics.timing import mean_row, shares_in
from rlsys.metrics.worker_table import time_rows
from rlsys.runs.heartbeat import look
from rlsys.terminal import print_table
from rlsys.viewer.report import Table, render_report

T = TypeVar("T")

EVALUATION_FILE = "eval.json"
REPORT_FILE = "report.html"


def write_evaluation(folder: Path, evaluation: Mapping[str, Any]) -> None:
    """Prints the table of an evaluation and writes eval.json in place of an earlier one.

    Args:
      folder: the run's folder; it is made if it is not there.
      evaluation: "environment", "checkpoint" (its learner step; None without one), "seed", of `rlsys eval` "overrides"
        (dotted setting -> value where it is not the run's), and "results", a list with
        "label", "episodes", "mean", "median", "std", "interval", "mean_clipped", "mean_length", "mean_frames",
        "reported" (name -> mean of what the policy told), "returns", "clipped" and "lengths" in each, and "normalized"
        (`rlsys.envs.scores`) where an environment has it.

    Raises:
      CheckpointError: it cannot be written.
    """
    table = evaluation_table(evaluation)
    step = evaluation["checkpoint"]
    played = evaluation["environment"] + ("" if step is None else f" at learner step {step:,}")
    caption = f"{folder.parent.name}/{folder.name}: {played}, seeds from {evaluation['seed']}"
    print_table(caption, table.header, table.rows)
    with _writing(EVALUATION_FILE, folder):
        folder.mkdir(parents=True, exist_ok=True)
        replace_content(folder / EVALUATION_FILE, json.dumps(evaluation, indent=1) + "\n")


def write_report(folder: Path, warn: Callable[[str], None] = log_warning) -> Path:
    """Writes report.html from what lies in a run's folder: metrics, configuration, versions and the last evaluation.

    What cannot be read of them is left out, and `warn` is told.

    Raises:
      CheckpointError: the report cannot be written; an earlier one is still there.
    """

    def readable(name: str, read: Callable[[Path], T]) -> T | None:
        try:
            return read(folder / name) if (folder / name).exists() else None
        except RlsysError as error:
            warn(f"{REPORT_FILE} goes without {name}: {error}")
            return None

    rows = read_metrics(folder, warn) if (folder / METRICS_FILE).exists() else []
    sighting = look(folder)
    page = render_report(
        f"{folder.parent.name}/{folder.name}",
        rows=rows,
        config=readable("config.yaml", read_yaml) or {},
        versions=readable("versions.json", lambda path: read_json(path, dict[str, str])) or {},
        evaluation=readable(EVALUATION_FILE, _read_evaluation),
        times=_times(rows),
        advice="" if sighting is None or sighting.status is None else sighting.status.advice,
    )
    path = folder / REPORT_FILE
    with _writing(REPORT_FILE, folder):
        replace_content(path, page)
    return path


@contextlib.contextmanager
def _writing(name: str, folder: Path) -> Iterator[None]:
    """Turns what an operating system says about a failed write into one line."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{name} cannot be written into {folder}: {error.strerror or error}. Make room or give permission."
        ) from None


def _read_evaluation(path: Path) -> Table:
    try:
        return evaluation_table(read_json(path, dict[str, Any]))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckpointError(f"{path} is not what belongs there ({reason}). Remove it, or evaluate again.") from None


def _times(rows: Sequence[Mapping[str, float]]) -> Table | None:
    """Returns where the time of each kind of worker went, over all rows, each for as long as it stands for."""
    timed = [row for row in rows if shares_in(row)]
    spans = [(row["time_s"] - before["time_s"], row) for before, row in itertools.pairwise(timed)]
    parts = time_rows(mean_row(spans))
    return Table(("worker", "part", "share"), parts) if parts else None


def evaluation_table(evaluation: Mapping[str, Any]) -> Table:
    """Returns eval.json as a table: one row per choice of options."""
    results = evaluation["results"]
    reported = sorted({name for result in results for name in result["reported"]})
    normalized = ["normalized %"] if any("normalized" in result for result in results) else []
    header = ["options", "episodes", "mean", "95 % interval", "median", "std", "clipped", "length"]
    header += normalized + reported
    rows = [
        [
            result["label"],
            str(result["episodes"]),
            f"{result['mean']:,.2f}",
            "{:,.2f} to {:,.2f}".format(*result["interval"]),
            f"{result['median']:,.2f}",
            f"{result['std']:,.2f}",
            f"{result['mean_clipped']:,.2f}",
            f"{result['mean_length']:,.1f}",
            *(f"{result['normalized']:,.1f}" if "normalized" in result else "" for _ in normalized),
            *(f"{result['reported'][name]:,.3f}" if name in result["reported"] else "" for name in reported),
        ]
        for result in results
    ]
    return Table([name.replace("_", " ") for name in header], rows)
