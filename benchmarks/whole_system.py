"""The whole system on this machine: how busy its cores are, and what training gets out of them.

    python benchmarks/whole_system.py [--seconds S] [--json FILE] [KEY=VALUE …]

Runs `rlsys launch muzero-breakout` as a user would, waits until it learns, and then counts the CPU time of the driver
and of all its processes over S seconds, and the decisions and updates that metrics.jsonl reports for them.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import append_rows, json_option
from processes import cpu_seconds

from rlsys.runtime.metrics.rows import read_metrics


def measure(seconds: float, overrides: list[str]) -> dict[str, object]:
    """Returns the share of all cores that was used, and the rates."""
    with tempfile.TemporaryDirectory() as directory:
        settings = [f"run.directory={directory}", "run.run_tag=here", "run.wandb=disabled", "run.log_every_s=2"]
        command = [sys.executable, "-c", "from rlsys.cli import main; main()", "launch", "muzero-breakout"]
        run = subprocess.Popen([*command, *settings, *overrides], stdout=subprocess.DEVNULL)
        folder = Path(directory) / "muzero-breakout" / "here"
        while not ((folder / "metrics.jsonl").exists() and _last(folder)["learner_step"] > 50):
            time.sleep(1)
        first, cpu = _last(folder), cpu_seconds(run.pid)
        started = time.monotonic()
        time.sleep(seconds)
        last, spent = _last(folder), cpu_seconds(run.pid)
        wall = time.monotonic() - started
        run.send_signal(signal.SIGINT)
        run.wait()
    used = {name: round((spent[name] - cpu.get(name, 0.0)) / wall, 3) for name in spent}
    passed = last["time_s"] - first["time_s"]
    return {
        "what": "whole system, muzero-breakout" + "".join(f" {override}" for override in overrides),
        "cores": os.cpu_count(),
        "busy_share": round(sum(used.values()) / (os.cpu_count() or 1), 3),
        "cores_used": {name: share for name, share in sorted(used.items(), key=lambda item: -item[1]) if share > 0.02},
        "moves_per_s": round((last["env_steps"] - first["env_steps"]) / passed, 1),
        "updates_per_s": round((last["learner_step"] - first["learner_step"]) / passed, 2),
        "samples_per_insert": round(last["replay/samples_per_insert"], 2),
        "learner_idle_share": round(last["learner/idle_share"], 3),
        "command": "python benchmarks/whole_system.py " + " ".join(overrides),
    }


def _last(folder: Path) -> dict[str, float]:
    rows = [row for row in read_metrics(folder) if "replay/inserted" in row and "learner/idle_share" in row]
    return rows[-1] if rows else {"learner_step": 0}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0)
    json_option(parser)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    row = measure(options.seconds, options.overrides)
    print(json.dumps(row, indent=1))
    append_rows(options.json, [row])


if __name__ == "__main__":
    main()
