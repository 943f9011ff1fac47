"""Rollout speed per CPU-second on one thread: whole rollout workers, environments, decisions and segments included.

    OMP_NUM_THREADS=1 python benchmarks/rollouts.py [--seconds S] [--json FILE]

The workers are those that run in a cluster, without Ray around them; weights are random, games are real.
"""

import argparse
import time
from typing import Any

import torch
from rows import json_option, positive, publish

from rlsys import config, registry
from rlsys.api import LearnerContext
from rlsys.runs.resolve import resolve
from rlsys.runtime.workers.rollout import RolloutWorker
from rlsys.types import Weights

_COMMAND = "OMP_NUM_THREADS=1 python benchmarks/rollouts.py"
_NATURE = ("impala.stem=nature", "impala.acting_precision=bf16")
_CASES: list[tuple[str, str, tuple[str, ...], float | None]] = [
    ("RAM Breakout, 30 simulations", "muzero-breakout", (), 1200.0),
    ("ProcGen chaser, deep stem, eLSTM", "r2ac-procgen-chaser", ("impala.acting_precision=bf16",), None),
    ("ProcGen chaser, Nature stem, eLSTM", "r2ac-procgen-chaser", _NATURE, None),
    ("Atari Breakout by pixels, Nature stem", "impala-breakout", _NATURE, None),
    ("CartPole, two dense layers", "impala-cartpole", (), None),
    ("T-maze, eLSTM of 32 units", "r2ac-tmaze", (), None),
]
"""What, experiment, overrides, and the decisions per CPU-second to reach."""


def measure(
    what: str, experiment: str, overrides: tuple[str, ...], target: float | None, seconds: float
) -> dict[str, object]:
    """Returns decisions per CPU-second and where the time goes; of the environments' own rate their share is kept."""
    loaded = config.load(experiment, overrides=["runtime.environments_per_worker=64", *overrides])
    algorithm = registry.get(loaded.experiment.algorithm)
    spec = resolve(loaded, algorithm, num_cpus=1, num_gpus=0)
    learner = algorithm.make_learner(LearnerContext(spec.section, spec.env_spec, seed=0))
    worker = RolloutWorker(spec, 0)
    worker.set_weights(Weights(0, 0, learner.weights()))
    for _ in range(5):
        worker.step()
    worker.report()
    started = time.process_time()
    while time.process_time() - started < seconds:
        worker.step()
    spent = time.process_time() - started
    report = worker.report()
    measured = sum(report.spent[part] for part in ("env", "act", "write"))
    worker.close()
    return {
        "what": f"rollouts, {what}, 64 environments",
        "value": round(report.env_steps / spent, 1),
        "unit": "decisions per CPU-second",
        "target": target,
        "environments_share": round(report.spent["env"] / measured, 3),
        "decisions_share": round(report.spent["act"] / measured, 3),
        "segments_share": round(report.spent["write"] / measured, 3),
    }


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive(float), default=10.0, help="CPU time of each case")
    json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for case in _CASES:
        publish(options.json, [measure(*case, options.seconds)], _line, command=_COMMAND)


def _line(row: dict[str, Any]) -> str:
    shares = ", ".join(f"{name} {row[f'{name}_share']:.0%}" for name in ("environments", "decisions", "segments"))
    return f"{row['what']:70} {row['value']:10,.0f} {row['unit']}: {shares}"


if __name__ == "__main__":
    main()
