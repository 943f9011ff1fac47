"""Does a run learn as before when its rollout workers become many while it trains?

    python benchmarks/rescale.py [--rollouts 2 48] [--steps 9000] [--seed S] [--keep FOLDER] [--json FILE] [KEY=VALUE …]

Launches muzero-cartpole twice with the same seed: once with the first number of rollout workers to the end, and once
scaled to the second number by `rlsys scale` after a third of the learner steps. What the samples per insert tie
to the learner must not notice: they are compared between the two from then on, and so are the evaluations. A half
that is complete in the folder of --keep is not run again.
"""

import argparse
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from live_run import COMMAND, check_limits, run_to_the_end
from rows import Implausible, json_option, positive, publish

from rlsys.metrics.rows import read_metrics

_EXPERIMENT = "muzero-cartpole"
_ALWAYS = ("run.wandb=disabled", "run.log_every_s=5", "run.target_return=null", "run.evaluate_every_learner_steps=1000")
_PATIENCE_S = 600.0


def run(
    tag: str, workers: int, then: int, steps: int, directory: Path, settings: Sequence[str]
) -> list[dict[str, Any]]:
    """Launches a run to its end, with another number of workers after a third of it; returns its metrics."""
    folder = directory / _EXPERIMENT / tag
    if _learner_step(folder) >= steps:
        return read_metrics(folder)
    fixed = (f"run.directory={directory}", f"run.run_tag={tag}", f"run.training_steps={steps}")
    words = [_EXPERIMENT, f"runtime.rollout_workers={workers}", *_ALWAYS, *fixed, *settings]
    check_limits(_EXPERIMENT, words[1:], seconds=1.0, steps=steps // 3)
    process = subprocess.Popen([*COMMAND, "launch", *words], stdout=subprocess.DEVNULL)
    try:
        if then != workers:
            while _learner_step(folder) < steps / 3:
                if process.poll() is not None:
                    raise Implausible(f"{_EXPERIMENT} ended before a third of its steps; nothing is kept.")
                time.sleep(1.0)
            run_to_the_end(
                ["scale", f"{_EXPERIMENT}/{tag}", f"rollout_workers={then}", f"--directory={directory}"], _PATIENCE_S
            )
        status = process.wait()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait()
    reached = _learner_step(folder)
    if status or reached < steps:
        raise Implausible(f"{_EXPERIMENT} ended with status {status} at step {reached} of {steps}; nothing is kept.")
    return read_metrics(folder)


def compare(rollouts: tuple[int, int], steps: int, directory: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Returns ratio and evaluations of a run that is left alone and of one that is scaled."""
    few, many = rollouts
    alone = run("alone", few, few, steps, directory, settings)
    scaled = run("scaled", few, many, steps, directory, settings)
    return {
        "what": f"{_EXPERIMENT}, {few} rollout workers, scaled to {many} at a third of {steps:,} learner steps",
        **{
            f"{name}_{tag}": value
            for tag, rows in (("alone", alone), ("scaled", scaled))
            for name, value in _summary(rows, steps).items()
        },
        "cores": os.cpu_count(),
    }


def _summary(rows: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    late = [row for row in rows if row["learner_step"] > steps / 3 and "replay/samples_per_insert" in row]
    evaluations = {
        row["learner_step"]: row["evaluation/return"] for row in rows if row.get("evaluation/return") is not None
    }
    if len(late) < 2 or late[-1]["learner_step"] == late[0]["learner_step"]:
        raise Implausible(f"{steps} steps are too few to compare what comes after a third of them. Give more --steps.")
    first, last = late[0], late[-1]
    ratios = [row["replay/samples_per_insert"] for row in late]
    return {
        "samples_per_insert": [round(min(ratios), 3), round(float(np.median(ratios)), 3), round(max(ratios), 3)],
        "env_steps_per_update": round(
            (last["env_steps"] - first["env_steps"]) / (last["learner_step"] - first["learner_step"]), 2
        ),
        "evaluations": {str(step): round(value, 1) for step, value in sorted(evaluations.items())},
        "minutes": round(rows[-1]["time_s"] / 60, 1),
    }


def _learner_step(folder: Path) -> int:
    rows = read_metrics(folder) if (folder / "metrics.jsonl").exists() else []
    return max((int(row["learner_step"]) for row in rows), default=0)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=positive(int), nargs=2, default=(2, 48), metavar=("FROM", "TO"))
    parser.add_argument("--steps", type=positive(int), default=9_000, help="learner steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the runs are to be kept")
    json_option(parser)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    settings = [f"run.seed={options.seed}", *options.settings]
    with tempfile.TemporaryDirectory() as directory:
        row = compare(tuple(options.rollouts), options.steps, (options.keep or Path(directory)).resolve(), settings)
    row["command"] = "python benchmarks/rescale.py " + " ".join(
        [
            f"--rollouts {options.rollouts[0]} {options.rollouts[1]} --steps {options.steps} --seed {options.seed}",
            *options.settings,
        ]
    )
    publish(options.json, [row], seed=options.seed)


if __name__ == "__main__":
    main()
