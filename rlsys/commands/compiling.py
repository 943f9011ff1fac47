"""`rlsys scores` and `rlsys histograms`: what all runs below a folder came to, in one file."""

import csv
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from rlsys.errors import ConfigError
from rlsys.files.content import replace_content
from rlsys.files.outputs import make_writable, unwritable
from rlsys.metrics.compiling import Compiled, FoundRun, as_tree, compile_histograms, compile_scores, find_runs
from rlsys.viewer import plots

Compile = Callable[[FoundRun, Mapping[str, str]], Compiled]


def write_scores(folder: Path, out: Path, series: Sequence[str]) -> str:
    """Compiles the scores and losses of all runs below a folder; returns what to say of it.

    Args:
      folder: of runs, at any depth.
      out: what to write: .json, {label: {run: {key: [number, …], "steps": {key: [step, …]}}}}; .csv, a line for each
        value; or a picture with an axis for each key.
      series: KEY=METRIC, each of which is compiled under that key.

    Raises:
      ConfigError: there are no runs, or `out` cannot be written or is of another kind.
    """
    _check_ending(out, (".json", ".csv", *plots.ENDINGS))
    runs, chosen = _prepared(folder, out, series)
    if out.suffix == ".json":
        return _write_json(out, runs, chosen, compile_scores)
    found = [(run, compile_scores(run, chosen)) for run in runs]
    for run, compiled in found:
        _say(run, compiled)
    try:
        if out.suffix == ".csv":
            replace_content(out, _as_csv(found))
        else:
            plots.save(plots.plot_scores({f"{run.label}/{run.name}": _curves(one) for run, one in found}), out)
    except OSError as error:
        raise unwritable(out, "OUT", error) from None
    return _written(out, sum(bool(compiled.series) for _, compiled in found))


def write_histograms(folder: Path, out: Path, series: Sequence[str]) -> str:
    """Compiles the histograms of all runs below a folder, a list of samples for each; else as `write_scores`."""
    _check_ending(out, (".json",))
    runs, chosen = _prepared(folder, out, series)
    return _write_json(out, runs, chosen, compile_histograms)


def _check_ending(out: Path, allowed: Sequence[str]) -> None:
    if out.suffix not in allowed:
        raise ConfigError(f"OUT = {out}; its name must end in {' or '.join(allowed)}. Rename it.")


def _prepared(folder: Path, out: Path, series: Sequence[str]) -> tuple[list[FoundRun], dict[str, str]]:
    """Returns the runs and the chosen names, once it is certain that the result can be written."""
    chosen: dict[str, str] = {}
    for text in series:
        key, equals, name = text.partition("=")
        if not (key and equals and name) or key in ("steps", "env_steps"):
            raise ConfigError(f"--series {text}; it must be KEY=METRIC, such as value_loss=loss/value. Correct it.")
        if key in chosen:
            raise ConfigError(f"--series {key} is given twice, as {chosen[key]} and as {name}. Leave one out.")
        chosen[key] = name
    runs = find_runs(folder)
    make_writable(out, "OUT")
    return runs, chosen


def _write_json(out: Path, runs: Sequence[FoundRun], chosen: Mapping[str, str], compile_run: Compile) -> str:
    """Writes run after run aside, for histograms are large, and puts the file into its place."""
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            written = _write_tree(file, runs, chosen, compile_run)
        aside.replace(out)
    except OSError as error:
        raise unwritable(out, "OUT", error) from None
    finally:
        aside.unlink(missing_ok=True)
    return _written(out, written)


def _write_tree(file: TextIO, runs: Sequence[FoundRun], chosen: Mapping[str, str], compile_run: Compile) -> int:
    """Writes {label: {run: …}}; returns how many runs are in it."""
    written, before_label = 0, "{"
    for label, group in itertools.groupby(sorted(runs, key=lambda run: (run.label, run.name)), lambda run: run.label):
        before_run = f"{before_label}{json.dumps(label)}: {{"
        for run in group:
            compiled = compile_run(run, chosen)
            _say(run, compiled)
            if compiled.series:
                tree = json.dumps(as_tree(compiled), allow_nan=False)
                file.write(f"{before_run}{json.dumps(run.name)}: {tree}")
                written, before_run = written + 1, ",\n "
        if before_run == ",\n ":
            file.write("}")
            before_label = ",\n"
    file.write("{}\n" if before_label == "{" else "}\n")
    return written


def _as_csv(found: Sequence[tuple[FoundRun, Compiled]]) -> str:
    """Returns a line for each value; environment steps are empty where they are not known."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("label", "run", "key", "step", "env_steps", "value"))
    for run, compiled in found:
        for key, series in compiled.series.items():
            env_steps = compiled.env_steps.get(key, [""] * len(series.steps))
            for step, decisions, value in zip(series.steps, env_steps, series.values, strict=True):
                lines.writerow((run.label, run.name, key, step, decisions, value))
    return text.getvalue()


def _curves(compiled: Compiled) -> dict[str, tuple[list[int], list[float]]]:
    return {key: (series.steps, series.values) for key, series in compiled.series.items()}


def _say(run: FoundRun, compiled: Compiled) -> None:
    """Prints a line on a run of which something is missing."""
    if compiled.troubles:
        sys.stdout.write(f"{run.label}/{run.name}: {'; '.join(compiled.troubles)}\n")


def _written(out: Path, count: int) -> str:
    return f"{out}: {count:,} {'run' if count == 1 else 'runs'}"
