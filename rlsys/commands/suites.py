"""`rlsys scores --suite`: runs on a suite of games beside what was published, as tables, data and a figure."""

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlsys.commands.compiling import check_ending, prepared
from rlsys.errors import ConfigError
from rlsys.files.content import replace_content
from rlsys.files.outputs import unwritable
from rlsys.metrics.compiling import SCORES
from rlsys.metrics.suites import suite as suites
from rlsys.metrics.suites.aggregates import AGGREGATES, RESAMPLES, Estimate
from rlsys.metrics.suites.comparison import THRESHOLDS, Comparison
from rlsys.metrics.suites.results import read_results
from rlsys.terminal import print_table
from rlsys.viewer import plots

_SCORE = SCORES[0]
_MISSING = "–"


def compare(name: str, folder: Path, outs: Sequence[Path], series: Sequence[str]) -> str:
    """Prints what runs came to on a suite beside what was published, and writes it; returns what was written.

    Args:
      name: the suite's.
      folder: of runs, at any depth; those of a label are a method.
      outs: what to write: .json, all numbers; .csv, a line for each run; or a picture of aggregates and profiles.
      series: test_score=METRIC, if another metric than a run's final evaluation is its return.

    Raises:
      ConfigError: there is no such suite, nothing to compare, or what is to be written cannot be.
    """
    suite = suites.load(name)
    check_ending(outs, (".json", ".csv", *plots.ENDINGS))
    runs, chosen = prepared(folder, outs, series)
    if others := [key for key in chosen if key != _SCORE]:
        raise ConfigError(f"--series {others[0]} with --suite {name}; only {_SCORE} is compared. Leave it out.")
    comparison = Comparison.of(suite, read_results(suite, runs, chosen.get(_SCORE)))
    for trouble in comparison.troubles:
        sys.stdout.write(f"{trouble}\n")
    _print_games(comparison)
    _print_aggregates(comparison)
    _print_improvements(comparison)
    for out in outs:
        try:
            _write(comparison, out)
        except OSError as error:
            raise unwritable(out, "OUT", error) from None
    return "\n".join(map(str, outs))


def _write(comparison: Comparison, out: Path) -> None:
    if out.suffix == ".json":
        replace_content(out, json.dumps(_as_tree(comparison), allow_nan=False, ensure_ascii=False) + "\n")
    elif out.suffix == ".csv":
        replace_content(out, _as_csv(comparison))
    else:
        _draw(comparison, out)


def _print_games(comparison: Comparison) -> None:
    """Prints mean returns of each game of the suite, also of those that are not compared."""
    names = [method.name for method in comparison.methods]
    rows = []
    for game, reference in comparison.suite.references.items():
        found = comparison.returns_of(game)
        means = [_number(float(np.mean(found[name]))) if name in found else _MISSING for name in names]
        rows.append([game, *map(_number, reference), *means])
    print_table(f"{comparison.suite.name}: mean returns", ["game", "random", "human", *names], rows)


def _print_aggregates(comparison: Comparison) -> None:
    rows = []
    for name, scores in comparison.scores.items():
        counts = sorted(map(len, scores))
        runs = str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
        numbers = [_told(estimate) for estimate in comparison.aggregates[name].values()]
        rows.append([name, runs, *numbers, str(comparison.num_as_good(name))])
    total, count = len(comparison.suite.references), len(comparison.games)
    over = f"all {total} games" if count == total else f"{count} of {total} games: {', '.join(comparison.games)}"
    title = f"Normalised by random play and humans, over {over}; 95 % of {RESAMPLES:,} resamples"
    print_table(title, ["method", "runs", *AGGREGATES, "games ≥ human"], rows)


def _print_improvements(comparison: Comparison) -> None:
    rows = [(one, other, _told(estimate)) for (one, other), estimate in comparison.improvements.items()]
    print_table("How probable it is that a run is better than one of another method", ("run of", "other", "P"), rows)


def _number(value: float) -> str:
    return f"{value:,.1f}" if abs(value) < 1_000 else f"{value:,.0f}"


def _told(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _as_csv(comparison: Comparison) -> str:
    """Returns a line for each run."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("method", "game", "return", "normalised"))
    for method in comparison.methods:
        for game, returns in method.returns.items():
            for value in returns:
                lines.writerow((method.name, game, value, comparison.suite.normalised(game, value)))
    return text.getvalue()


def _as_tree(comparison: Comparison) -> dict[str, Any]:
    methods = {
        method.name: {
            "source": method.source,
            "returns": method.returns,
            "aggregates": {name: _numbers(found) for name, found in comparison.aggregates[method.name].items()},
            "profile": _numbers(comparison.profiles.get(method.name)),
        }
        for method in comparison.methods
    }
    return {
        "suite": comparison.suite.name,
        "references": comparison.suite.references,
        "games": comparison.games,
        "resamples": RESAMPLES,
        "thresholds": THRESHOLDS.tolist(),
        "methods": methods,
        "improvements": [
            {"method": one, "other": other, **(_numbers(estimate) or {})}
            for (one, other), estimate in comparison.improvements.items()
        ],
        "troubles": comparison.troubles,
    }


def _numbers(estimate: Estimate | None) -> dict[str, Any] | None:
    if estimate is None:
        return None
    parts = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: None if part is None else np.asarray(part).tolist() for name, part in parts.items()}


def _draw(comparison: Comparison, out: Path) -> None:
    panels = {
        name: {method: _interval(found[name]) for method, found in comparison.aggregates.items()} for name in AGGREGATES
    }
    curves = {name: _interval(found) for name, found in comparison.profiles.items()}
    names = [method.name for method in comparison.run]
    plots.save(plots.plot_suite(panels, THRESHOLDS, curves, emphasised=names), out)


def _interval(estimate: Estimate) -> plots.Interval:
    return estimate.value, estimate.low, estimate.high
