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
from rlsys.metrics.row_settings import columns_of, short_labels
from rlsys.metrics.rows import METRICS_FILE, log_warning, read_metrics
from rlsys.metrics.timing import mean_row, shares_in
from rlsys.metrics.worker_table import time_rows
from rlsys.runs.heartbeat import look
from rlsys.terminal import print_table
from rlsys.viewer import plots
from rlsys.viewer.report import Table, render_report

T = TypeVar("T")

EVALUATION_FILE = "eval.json"
EVALUATION_PICTURE = "eval.png"
REPORT_FILE = "report.html"


def write_evaluation(folder: Path, evaluation: Mapping[str, Any]) -> None:
    """Prints the table of an evaluation of one run and keeps it in the run's folder: see `keep_evaluation`.

    Raises:
      CheckpointError: it cannot be written.
    """
    print_evaluation(f"{folder.parent.name}/{folder.name}", evaluation)
    keep_evaluation(folder, evaluation)


def print_evaluation(played: str, evaluation: Mapping[str, Any]) -> None:
    """Prints the table of an evaluation: see `keep_evaluation`. `played` names the runs."""
    table = evaluation_table(evaluation)
    steps = {result.get("checkpoint", evaluation["checkpoint"]) for result in evaluation["results"]}
    (step,) = steps if len(steps) == 1 else (None,)
    where = evaluation["environment"]
    if evaluation["checkpoint"] is not None and step is not None:
        where += f" at learner step {step:,}"
    print_table(f"{played}: {where}, seeds from {evaluation['seed']}", table.header, table.rows)


def keep_evaluation(folder: Path, evaluation: Mapping[str, Any]) -> None:
    """Writes eval.json in place of an earlier one, and eval.png beside it where there are several rows to compare.

    Args:
      folder: the run's folder; it is made if it is not there.
      evaluation: "environment", "checkpoint" (its learner step, that of the last row if there are several; None
        without one), "seed", of `rlsys eval` "overrides" (dotted setting -> value where it is not the run's, in every
        row), and "results", a list with
        "label", "episodes", "mean", "median", "std", "interval", "mean_clipped", "mean_length", "mean_frames",
        "reported" (name -> mean of what the policy told), "returns", "clipped" and "lengths" in each, "normalized"
        (`rlsys.envs.scores`) where an environment has it, "crashed" (a sentence each) where games did not come to their
        end, and of `rlsys eval` "run", "checkpoint", "max_noops", "metrics" and "settings", what the row is by named
        columns (`rlsys.metrics.row_settings.Settings`).

    Raises:
      CheckpointError: it cannot be written.
    """
    picture = folder / EVALUATION_PICTURE
    with _writing(EVALUATION_FILE, folder):
        folder.mkdir(parents=True, exist_ok=True)
        replace_content(folder / EVALUATION_FILE, json.dumps(evaluation, indent=1) + "\n")
        picture.unlink(missing_ok=True)
    rows = evaluation["results"]
    if len(rows) < 2:
        return
    try:
        labels = short_labels([row.get("settings") or {"options": row["label"]} for row in rows])
        plots.save(plots.plot_rows(rows, labels), picture)
    except Exception as error:  # noqa: BLE001 - the results are there; a picture of them is only a picture
        log_warning(f"{picture} is left out: {' '.join(str(error).split()) or type(error).__name__}")


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
    """Returns eval.json as a table: one row per choice of options, and where there are several a column for each."""
    results = evaluation["results"]
    settings = [columns_of(result) for result in results] if len(results) > 1 else [{"options": results[0]["label"]}]
    columns = list(dict.fromkeys(name for said in settings for name in said))
    reported = sorted({name for result in results for name in result["reported"]})
    normalized = ["normalized %"] if any("normalized" in result for result in results) else []
    header = [*columns, "episodes", "mean", "95 % interval", "median", "std", "clipped", "length"]
    header += normalized + [name.replace("_", " ") for name in reported]
    rows = [
        [
            *(said.get(column, "") for column in columns),
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
        for said, result in zip(settings, results, strict=True)
    ]
    return Table(header, rows)
