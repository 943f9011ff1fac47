"""Where truncated backpropagation fails and real-time recurrent learning does not: T-mazes and unrolls of many lengths.

    python benchmarks/memory.py [--seeds N] [--directory RUNS] [--dry]

An agent sees a cue, walks a corridor of 3, 8 or 20 steps, and must turn as the cue said. It learns with unrolls of 5,
10 or 50 rows, by truncation and exactly; each update has 1,600 rows, each run 1.6 million environment steps, in one
process. Runs whose folder is there already are not repeated. Writes results/learning/r2ac-tmaze.json (per run: command,
seed, commit, wall time, thinned curve, and the mean return of the last tenth) and r2ac-tmaze.png.
"""

import argparse
import itertools
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from live_run import run_to_the_end
from matplotlib.figure import Figure
from rows import RESULTS, Implausible, check, positive, surroundings

from rlsys.metrics.rows import read_metrics

_RESULTS = RESULTS / "learning"
_DELAYS, _UNROLLS, _GRADIENTS = (3, 8, 20), (5, 10, 50), ("rtrl", "tbptt")
_ROWS, _ENV_STEPS, _POINTS = 1600, 1_600_000, 60
_STYLES = {"rtrl": "-", "tbptt": "--"}

Cell = tuple[int, int, str, int]
"""Delay, unroll length, gradient, seed."""


def overrides(cell: Cell) -> list[str]:
    """Returns what the command line changes of r2ac-tmaze."""
    delay, length, gradient, seed = cell
    size = _ROWS // length
    return [
        f"env.id=tmaze-{delay}",
        f"impala.gradient={gradient}",
        f"impala.unroll_length={length}",
        f"impala.batch_size={size}",
        "runtime.rollout_workers=1",
        f"runtime.environments_per_worker={size}",
        f"runtime.weight_sync_frequency={_ROWS}",
        f"run.seed={seed}",
        f"run.env_steps={_ENV_STEPS}",
        "run.evaluate_every_learner_steps=0",
        "run.checkpoint_every_learner_steps=0",
        "run.log_every_s=3",
    ]


def launch(cell: Cell, directory: Path) -> Path:
    """Runs one cell, unless it has been; returns its folder."""
    delay, length, gradient, seed = cell
    folder = directory / "r2ac-tmaze" / f"d{delay}-T{length}-{gradient}-s{seed}"
    if not folder.exists():
        where = [f"run.directory={directory}", f"run.run_tag={folder.name}", "run.wandb=disabled"]
        run_to_the_end(["launch", "r2ac-tmaze", "--inline", *overrides(cell), *where])
    return folder


def summarise(cell: Cell, folder: Path) -> dict[str, Any]:
    """Returns what is worth keeping of one run.

    Raises:
      Implausible: it has not come to its end.
    """
    rows = [row for row in read_metrics(folder) if row.get("episodes/return") is not None]
    reached = rows[-1]["env_steps"] if rows else 0
    if reached < _ENV_STEPS:
        raise Implausible(f"{folder} is at step {reached:,} of {_ENV_STEPS:,}; remove it, and it is run again.")
    delay, length, gradient, seed = cell
    last = [row["episodes/return"] for row in rows if row["env_steps"] > 0.9 * rows[-1]["env_steps"]]
    every = max(1, -(-len(rows) // _POINTS))
    changed = [word for word in overrides(cell) if not word.startswith("run.log_every_s")]
    assert yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["run"]["seed"] == seed
    return {
        "delay": delay,
        "unroll_length": length,
        "gradient": gradient,
        "seed": seed,
        "final_return": round(float(np.mean(last)), 3),
        "command": f"rlsys launch r2ac-tmaze --inline {' '.join(changed)}",
        "commit": json.loads((folder / "versions.json").read_text(encoding="utf-8"))["git"],
        "date": surroundings()["date"],
        "wall_minutes": round(rows[-1]["time_s"] / 60, 2),
        "env_steps": rows[-1]["env_steps"],
        "curve": [[row["env_steps"], round(row["episodes/return"], 3)] for row in rows[::-1][::every][::-1]],
    }


def plot(runs: list[dict[str, Any]]) -> Figure:
    """Draws a panel per delay: the mean over the seeds, solid where exact, and the range of the seeds."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    for axes, delay in zip(figure.subplots(1, len(_DELAYS), sharey=True), _DELAYS, strict=True):
        for (index, length), gradient in itertools.product(enumerate(_UNROLLS), _GRADIENTS):
            wanted = (delay, length, gradient)
            curves = [r["curve"] for r in runs if (r["delay"], r["unroll_length"], r["gradient"]) == wanted]
            if not curves:
                continue
            steps = np.linspace(0, _ENV_STEPS, 80)
            values = np.array([np.interp(steps, *np.array(curve).T) for curve in curves])
            label = f"{gradient}, unrolls of {length}"
            axes.plot(steps, values.mean(axis=0), _STYLES[gradient], color=f"C{index}", label=label)
            axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=f"C{index}", alpha=0.15)
        axes.set(title=f"corridor of {delay} steps", xlabel="environment steps")
        axes.grid(alpha=0.3)
    figure.axes[0].set(ylabel="return (chance 0, best 1)")
    figure.axes[0].legend(fontsize="small", loc="lower right")
    return figure


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=positive(int), default=3)
    parser.add_argument("--directory", type=Path, default=Path("runs"), help="where the runs are, or will be")
    parser.add_argument("--dry", action="store_true", help="only keep what has been run")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    runs = []
    for seed, delay, length, gradient in itertools.product(range(options.seeds), _DELAYS, _UNROLLS, _GRADIENTS):
        cell = (delay, length, gradient, seed)
        folder = options.directory / "r2ac-tmaze" / f"d{delay}-T{length}-{gradient}-s{seed}"
        if not options.dry:
            folder = launch(cell, options.directory)
        if (folder / "metrics.jsonl").exists():
            runs.append(check(summarise(cell, folder)))
            print(f"{folder.name:24} {runs[-1]['final_return']:6.3f} after {runs[-1]['wall_minutes']} minutes")
    if not runs:
        raise Implausible(f"no run in {options.directory}; nothing is kept.")
    data = {"name": "r2ac-tmaze", "note": "python benchmarks/memory.py", "runs": runs}
    (_RESULTS / "r2ac-tmaze.json").write_text(json.dumps(data) + "\n", encoding="utf-8")
    plot(runs).savefig(_RESULTS / "r2ac-tmaze.png", dpi=100)


if __name__ == "__main__":
    main()
