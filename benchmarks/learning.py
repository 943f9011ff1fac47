"""Keeps the learning curves of runs as data and as a plot.

    python benchmarks/learning.py NAME RUN [RUN …] [--add] [--note TEXT]

writes results/learning/NAME.json (per run: command, seed, commit, wall time, final evaluation, and the curve thinned to
200 points) and NAME.png (return over environment steps and over minutes, one colour per run). With --add they come
after the runs that the file has already, of which nothing but their rows need be left.
"""

import argparse
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure
from rows import RESULTS, Implausible, check, surroundings

from rlsys.metrics.rows import read_metrics
from rlsys.runs import heartbeat

_RESULTS = RESULTS / "learning"
_POINTS = 200
_OF_NO_INTEREST = ("run.directory=", "run.run_tag=", "run.wandb")
_COMPARED = re.compile(r"world/\w+_at_\d+")
_CURVES = ("episodes/return", "evaluation/return")


def summarise(folder: Path) -> dict[str, Any]:
    """Returns what is worth keeping of one run.

    Raises:
      Implausible: it still trains, has failed, or has learned nothing.
    """
    seen = heartbeat.look(folder)
    if seen is None or seen.state != "done":
        state = "no run" if seen is None else f"'{seen.state}'"
        raise Implausible(f"{folder} is {state}; a curve is kept of a run that has ended. Nothing is written.")
    rows = sorted(read_metrics(folder), key=lambda row: row["learner_step"])  # an evaluation may be of an earlier one
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    versions = json.loads((folder / "versions.json").read_text(encoding="utf-8"))
    evaluation = folder / "eval.json"
    curves = {name: _thin([row for row in rows if row.get(name) is not None], name) for name in _CURVES}
    last = rows[-1]
    words = (folder / "config.yaml").read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split()
    kept = {
        "command": " ".join(word for word in words if not word.startswith(_OF_NO_INTEREST)),
        "run": f"{folder.parent.name}/{folder.name}",
        "seed": config["run"]["seed"],
        "commit": versions["git"],
        "date": surroundings()["date"],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "wall_minutes": round(last["time_s"] / 60, 2),
        "env_steps": last["env_steps"],
        "learner_steps": last["learner_step"],
        "final_evaluation": json.loads(evaluation.read_text(encoding="utf-8")) if evaluation.exists() else None,
        "curves": curves,
        **_comparisons(rows),
    }
    check({name: kept[name] for name in ("run", "wall_minutes", "env_steps", "learner_steps", "curves")})
    return kept


def _comparisons(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns how a world model compared with held-out episodes, where a run has one."""
    found = [
        {name: value for name, value in row.items() if name == "learner_step" or _COMPARED.fullmatch(name)}
        for row in rows
    ]
    found = [row for row in found if len(row) > 1]
    return {"world_model": found} if found else {}


def plot(runs: list[dict[str, Any]], title: str) -> Figure:
    """Draws the curves: thin while collecting, marked where evaluated greedily."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    seeds = [run["seed"] for run in runs]
    are_seeds_names = len(set(seeds)) == len(runs)
    names = [f"seed {run['seed']}" if are_seeds_names else run["run"].split("/")[-1] for run in runs]
    by_steps, by_time = figure.subplots(1, 2, sharey=True)
    for index, run in enumerate(runs):
        for axes, column in ((by_steps, 0), (by_time, 1)):
            for name, style in zip(_CURVES, ("-", "o--"), strict=True):
                points = run["curves"][name]
                kind = name.split("/")[0]
                axes.plot(
                    [point[column] for point in points],
                    [point[2] for point in points],
                    style,
                    color=f"C{index}",
                    alpha=0.6 if style == "-" else 1.0,
                    markersize=4,
                    label=f"{names[index]}, {kind}",
                )
    by_steps.set(xlabel="environment steps", ylabel="return", title=title)
    by_time.set(xlabel="minutes")
    by_time.legend(fontsize="small")
    for axes in (by_steps, by_time):
        axes.grid(alpha=0.3)
    return figure


def _thin(rows: list[dict[str, float]], name: str) -> list[list[float]]:
    """Returns [environment steps, minutes, value] of at most `_POINTS` rows, the last one included."""
    every = max(1, -(-len(rows) // _POINTS))
    kept = rows[::-1][::every][::-1]
    return [[row["env_steps"], round(row["time_s"] / 60, 3), round(row[name], 3)] for row in kept]


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--note", default="")
    options = parser.parse_args()
    path = _RESULTS / f"{options.name}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if options.add else {"note": "", "runs": []}
    runs = kept["runs"] + [summarise(folder) for folder in options.runs]
    _RESULTS.mkdir(parents=True, exist_ok=True)
    data = {"name": options.name, "note": options.note or kept["note"], "runs": runs}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    plot(runs, options.name).savefig(_RESULTS / f"{options.name}.png", dpi=100)


if __name__ == "__main__":
    main()
