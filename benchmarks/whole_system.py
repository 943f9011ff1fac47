"""The whole system on this machine: how busy its cores are, and what training gets out of them.

    python benchmarks/whole_system.py [--seconds S] [--json FILE] [KEY=VALUE …]

Runs `rlsys launch muzero-breakout` as a user would, waits until it learns, and then counts the CPU time of the driver
and of all its processes over S seconds, and the decisions and updates that metrics.jsonl reports for them.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from live_run import launched
from rows import json_option, positive, publish

_EXPERIMENT = "muzero-breakout"
_FIRST_STEP = 50
"""Of the learner, from which on it is measured."""


def measure(seconds: float, overrides: list[str]) -> dict[str, object]:
    """Returns the share of all cores that was used, and the rates."""
    settings = ["run.wandb=disabled", "run.log_every_s=2", *overrides]
    with (
        tempfile.TemporaryDirectory() as directory,
        launched(_EXPERIMENT, settings, Path(directory), seconds=seconds, steps=_FIRST_STEP) as run,
    ):
        run.wait(_learns)
        window = run.measure(seconds, _learns)
    used = {kind: round(spent / window.wall_s, 3) for kind, spent in window.cpu.items()}
    return {
        "what": f"whole system, {_EXPERIMENT}" + "".join(f" {override}" for override in overrides),
        "cores": os.cpu_count(),
        "busy_share": round(sum(used.values()) / (os.cpu_count() or 1), 3),
        "cores_used": {
            kind: cores for kind, cores in sorted(used.items(), key=lambda item: -item[1]) if not 0.0 <= cores <= 0.02
        },
        "moves_per_s": round(window.per_s("env_steps"), 1),
        "updates_per_s": round(window.per_s("learner_step"), 2),
        "samples_per_insert": round(window.last["replay/samples_per_insert"], 2),
        "learner_idle_share": round(window.last["learner/idle_share"], 3),
    }


def _learns(row: dict[str, Any]) -> bool:
    return row["learner_step"] > _FIRST_STEP and "replay/inserted" in row and "learner/idle_share" in row


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive(float), default=40.0)
    json_option(parser)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    command = " ".join(["python benchmarks/whole_system.py", *options.overrides])
    publish(options.json, [measure(options.seconds, options.overrides)], command=command)


if __name__ == "__main__":
    main()
