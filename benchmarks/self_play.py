"""Self-play speed per CPU-second on one thread: a rollout worker of muzero-breakout, emulator and segments included.

    OMP_NUM_THREADS=1 python benchmarks/self_play.py [--seconds S] [--json FILE]

The worker is the one that runs in a cluster, without Ray around it; weights are random, games are real.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from rlsys import config, registry
from rlsys.api import LearnerContext
from rlsys.runtime.plan import resolve
from rlsys.runtime.rollout import RolloutWorker
from rlsys.types import Weights


def measure(seconds: float) -> dict[str, float | str]:
    """Returns decisions per CPU-second and where the time goes."""
    loaded = config.load("muzero-breakout", overrides=["runtime.environments_per_worker=64"])
    algorithm = registry.get("muzero")
    plan = resolve(loaded, algorithm, num_cpus=1, num_gpus=0)
    learner = algorithm.make_learner(LearnerContext(plan.section, plan.env_spec, seed=0))
    worker = RolloutWorker(plan, 0)
    worker.set_weights(Weights(0, 0, learner.weights()))
    for _ in range(5):
        worker.step()
    worker.report()
    started = time.process_time()
    while time.process_time() - started < seconds:
        worker.step()
    spent = time.process_time() - started
    report = worker.report()
    measured = report.env_s + report.act_s + report.write_s
    return {
        "what": "self-play, RAM Breakout, 30 simulations, 64 environments",
        "value": round(report.env_steps / spent, 1),
        "unit": "moves per CPU-second",
        "target": 1200.0,
        "peer": "upstream 97 without the emulator; the emulator alone 2,870",
        "emulator_share": round(report.env_s / measured, 3),
        "search_share": round(report.act_s / measured, 3),
        "segments_share": round(report.write_s / measured, 3),
        "command": "OMP_NUM_THREADS=1 python benchmarks/self_play.py",
    }


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="append the row to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    row = measure(options.seconds)
    print(json.dumps(row, indent=1))
    if options.json is not None:
        with options.json.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
