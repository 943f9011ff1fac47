"""What `rlsys plan` says beside what `rlsys launch` then does: rates, memory, replay and weights.

    python benchmarks/prediction.py [--cases NAME …] [--minutes M] [--json FILE]

Each case is planned, and then launched for M minutes as a user would. Rates are those of the last two thirds of the
time in which the learner learned; memory is the proportional set size at the end. Every figure comes with the ratio of
what was predicted to what was measured. Other work on the machine makes runs slower than planned: the load before each
is noted, and CPU per decision, which suffers less, is compared, too.
"""

import argparse
import json
import math
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from live_run import COMMAND, launched
from processes import memory_mib
from rows import Implausible, json_option, positive, publish

_SLEEPING = ("env.id=rlsys/Sleeping-v0", "runtime.environments_per_worker=1", "runtime.inference_workers=0")
_CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "muzero-cartpole": ("muzero-cartpole", ("run.target_return=null",)),
    "muzero-breakout": ("muzero-breakout", ()),
    "impala-cartpole": ("impala-cartpole", ("run.env_steps=null",)),
    "impala-pong": ("impala-pong", ()),
    **{
        f"sleeping-{workers}": (
            "impala-cartpole",
            (*_SLEEPING, f"runtime.rollout_workers={workers}", f"impala.batch_size={max(1, workers // 2)}"),
        )
        for workers in (1, 4, 16, 48)
    },
}
"""Name -> experiment and what differs."""
_ALWAYS = (
    "run.wandb=disabled",
    "run.log_every_s=2",
    "run.evaluate_every_learner_steps=0",
    "run.checkpoint_every_learner_steps=0",
    "run.final_evaluation=[]",
)
_HOSTS = {
    "rollout worker": "RolloutProcess",
    "replay shard": ("ShardProcess", "QueueProcess"),
    "learner": "LearnerProcess",
    "parameter server": "ParameterServer",
    "driver": "driver",
    "Ray itself": "Ray itself",
}


def compare(name: str, minutes: float) -> Iterator[dict[str, object]]:
    """Yields one row per figure of a case: predicted, measured, and their ratio."""
    experiment, overrides = _CASES[name]
    settings = [experiment, *overrides, *_ALWAYS]
    load = os.getloadavg()[0]
    planned = subprocess.run(
        [*COMMAND, "plan", *settings, "--json"], check=False, capture_output=True, text=True, encoding="utf-8"
    )
    if planned.returncode:
        raise Implausible(f"rlsys plan {experiment} ended with status {planned.returncode}: {planned.stderr.strip()}")
    predicted: dict[str, Any] = json.loads(planned.stdout)
    measured = _run(experiment, settings[1:], minutes)
    pairs = {
        "decisions per second": (predicted["env_steps_per_s"], measured["env_steps_per_s"]),
        "updates per second": (predicted["updates_per_s"], measured["updates_per_s"]),
        **_cpu(predicted["cpu_s"], measured["cpu_us"]),
        "bytes of a stored item": (predicted["item_bytes"], measured["item_bytes"]),
        "bytes of the weights": (predicted["weights_bytes"], measured["weights_bytes"]),
    }
    for kind in predicted["memory"]:
        each = [measured["pss_mib"][host] for host in _hosts(kind["kind"]) if host in measured["pss_mib"]]
        if each:
            pairs[f"MiB of a {kind['kind']}"] = (kind["each_bytes"] / 2**20, each[0])
    for what, (plan, run) in pairs.items():
        if not math.isnan(run):  # a queue has no items
            yield {
                "what": f"prediction, {name}: {what}",
                "predicted": round(plan, 2),
                "measured": round(run, 2),
                "ratio": round(plan / run, 3) if run else math.inf,
                "within_25_percent": 0.75 * run <= plan <= 1.25 * run,
                "binding": predicted["binding"],
                "load": round(load, 2),
                "command": f"python benchmarks/prediction.py --cases {name} --minutes {minutes:g}",
                "run": f"rlsys launch {' '.join(settings[: 1 + len(overrides)])}",
            }


def _cpu(predicted: dict[str, float], measured: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Returns CPU microseconds of a decision, by kind of process."""
    parts = {"RolloutProcess": ("environments", "acting"), "shard": ("replay",), "LearnerProcess": ("learning",)}
    return {
        f"CPU µs of a decision in {host}": (1e6 * sum(predicted[part] for part in names), measured[host])
        for host, names in parts.items()
    }


def _hosts(kind: str) -> tuple[str, ...]:
    hosts = _HOSTS.get(kind, ())
    return (hosts,) if isinstance(hosts, str) else hosts


def _run(experiment: str, settings: list[str], minutes: float) -> dict[str, Any]:
    """Launches a run and returns what it did."""
    warm_up_s, seconds = 20 * minutes, 40 * minutes
    with tempfile.TemporaryDirectory() as directory:
        with launched(experiment, settings, Path(directory), seconds=warm_up_s + seconds) as run:
            run.wait(_learns)
            run.measure(warm_up_s, _learns)
            window = run.measure(seconds, _learns)
            memory = memory_mib(run.process.pid)
        weights = sum(path.stat().st_size for path in run.folder.glob("checkpoints/*/weights*.safetensors"))
    steps = window.last["env_steps"] - window.first["env_steps"]
    cpu_us = {kind: 1e6 * spent / steps for kind, spent in window.cpu.items()}
    cpu_us["shard"] = cpu_us.get("ShardProcess", 0.0) + cpu_us.get("QueueProcess", 0.0)
    return {
        "env_steps_per_s": window.per_s("env_steps"),
        "cpu_us": cpu_us,
        "updates_per_s": window.per_s("learner_step"),
        "item_bytes": window.last.get("replay/bytes", math.nan) / max(1.0, window.last.get("replay/items", 0.0)),
        "weights_bytes": weights,
        "pss_mib": memory,
    }


def _learns(row: dict[str, Any]) -> bool:
    return row["learner_step"] > 0 and "throughput/env_steps_per_s" in row


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(_CASES), default=list(_CASES), metavar="NAME")
    parser.add_argument("--minutes", type=positive(float), default=0.75)
    json_option(parser)
    options = parser.parse_args()
    for name in options.cases:
        for row in compare(name, options.minutes):
            publish(options.json, [row], _line)


def _line(row: dict[str, Any]) -> str:
    return f"{row['what']:60} {row['predicted']:12,.1f} {row['measured']:12,.1f}  × {row['ratio']}"


if __name__ == "__main__":
    main()
