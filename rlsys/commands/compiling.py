"""`rlsys scores` and `rlsys histograms`: what all runs below a folder came to, in one file."""

import csv
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from rlsys.errors import ConfigError
from rlsys.files.content import replace_content
from rlsys.files.outputs import make_writable, unwritable
from rlsys.metrics.compiling import Compiled, FoundRun, as_tree, compile_histograms, compile_scores, find_runs
from rlsys.viewer import plots

Compile = Callable[[FoundRun, Mapping[str, str]], Compiled]


def write_scores(folder: Path, outs: Sequence[Path], series: Sequence[str]) -> str:
    """Compiles the scores and losses of all runs below a folder; returns what to say of it.

    Args:
      folder: of runs, at any depth.
      outs: what to write: .json, {label: {run: {key: [number, …], "steps": {key: [step, …]}}}}; .csv, a line for each
        value; or a picture with an axis for each key.
      series: KEY=METRIC, each of which is compiled under that key.

    Raises:
      ConfigError: there are no runs, or one of `outs` cannot be written or is of another kind.
    """
    check_ending(outs, (".json", ".csv", *plots.ENDINGS))
    found = list(_compiled(*prepared(folder, outs, series), compile_scores))
    count = sum(bool(compiled.series) for _, compiled in found)
    for out in outs:
        try:
            if out.suffix == ".json":
                _write_json(out, found)
            elif out.suffix == ".csv":
                replace_content(out, _as_csv(found))
            else:
                plots.save(plots.plot_scores({f"{run.label}/{run.name}": _curves(one) for run, one in found}), out)
        except OSError as error:
            raise unwritable(out, "OUT", error) from None
    return "\n".join(_written(out, count) for out in outs)


def write_histograms(folder: Path, out: Path, series: Sequence[str]) -> str:
    """Compiles the histograms of all runs below a folder, a list of samples for each; else as `write_scores`."""
    check_ending([out], (".json",))
    found = _compiled(*prepared(folder, [out], series), compile_histograms)
    try:
        return _written(out, _write_json(out, found))
    except OSError as error:
        raise unwritable(out, "OUT", error) from None


def check_ending(outs: Sequence[Path], allowed: Sequence[str]) -> None:
    """Refuses files of another kind."""
    for out in outs:
        if out.suffix not in allowed:
            raise ConfigError(f"OUT = {out}; its name must end in {' or '.join(allowed)}. Rename it.")


def prepared(folder: Path, outs: Sequence[Path], series: Sequence[str]) -> tuple[list[FoundRun], dict[str, str]]:
    """Returns the runs and the chosen names, once it is certain that the result can be written.

    Raises:
      ConfigError: as `write_scores`.
    """
    chosen: dict[str, str] = {}
    for text in series:
        key, equals, name = text.partition("=")
        if not (key and equals and name) or key in ("steps", "env_steps"):
            raise ConfigError(f"--series {text}; it must be KEY=METRIC, such as value_loss=loss/value. Correct it.")
        if key in chosen:
            raise ConfigError(f"--series {key} is given twice, as {chosen[key]} and as {name}. Leave one out.")
        chosen[key] = name
    runs = find_runs(folder)
    for out in outs:
        make_writable(out, "OUT")
    return runs, chosen


def _compiled(
    runs: Sequence[FoundRun], chosen: Mapping[str, str], compile_run: Compile
) -> Iterator[tuple[FoundRun, Compiled]]:
    """Yields run after run by label and name, and prints a line on each of which something is missing."""
    for run in sorted(runs, key=lambda run: (run.label, run.name)):
        compiled = compile_run(run, chosen)
        if compiled.troubles:
            sys.stdout.write(f"{run.label}/{run.name}: {'; '.join(compiled.troubles)}\n")
        yield run, compiled


def _write_json(out: Path, found: Iterable[tuple[FoundRun, Compiled]]) -> int:
    """Writes run after run aside, for histograms are large, and puts the file into its place; returns their number."""
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with aside.open("w", encoding="utf-8") as file:
            written = _write_tree(file, found)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)
    return written


def _write_tree(file: TextIO, found: Iterable[tuple[FoundRun, Compiled]]) -> int:
    """Writes {label: {run: …}}; returns how many runs are in it."""
    written, before_label = 0, "{"
    for label, group in itertools.groupby(found, lambda one: one[0].label):
        before_run = f"{before_label}{json.dumps(label)}: {{"
        for run, compiled in group:
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


def _written(out: Path, count: int) -> str:
    return f"{out}: {count:,} {'run' if count == 1 else 'runs'}"
