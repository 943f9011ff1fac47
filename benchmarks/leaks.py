"""Whether memory grows: each process of a long run with many workers, and Ray's object store, once a minute.

    python benchmarks/leaks.py FAMILY [--workers N] [--minutes M] [--json FILE] [--data FILE]

Launches a run of the family on simulators that sleep (a step of 250 ms takes no CPU), so that dozens of processes
fit two cores, and notes the proportional set size of every process. After a warm-up of a quarter of the time,
a straight line is laid through the sum and through the mean process of each kind; its slope is what grows.
"""

import argparse
import json
import re
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil
import ray
from ray._private.internal_api import get_memory_info_reply, get_state_from_address
from rows import Implausible, json_option, positive, publish

from rlsys.config import load
from rlsys.runtime.launch.launch import launch

_SLOW = ["env.id=rlsys/Dozing-v0", "runtime.environments_per_worker=8"]
_QUIET = ["run.evaluate_every_learner_steps=0", "run.checkpoint_every_learner_steps=200", "run.wandb=offline"]
_FAMILIES = {
    "muzero": [
        "muzero-cartpole",
        "muzero.num_simulations=4",
        "muzero.batch_size=64",
        "muzero.sampling_ratio=1",
        "muzero.window_size=20000",
        "muzero.stored_before_train=500",
    ],
    "impala": ["impala-cartpole", "impala.total_steps=1000000000"],
    "ppo": ["ppo-cartpole", "run.training_steps=1000000000"],
}
_EVERY_S = 60.0
_LEAST_MINUTES = 8.0
_LEAST_WATCHED = 0.75
"""Share of its minutes in which the run has to have been there."""
_MIB = 2**20


class Watch:
    """Notes memory once a minute, in a thread of the driver."""

    def __init__(self) -> None:
        self.samples: list[dict[str, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends, and waits for it."""
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        while not self._over.wait(_EVERY_S):
            sample = _memory_by_kind() | {"minutes": (time.monotonic() - started) / 60}
            sample["object store"] = _object_store_bytes() / _MIB
            self.samples.append(sample)


def _memory_by_kind() -> dict[str, float]:
    """Returns MiB of the mean process of each kind, and "<kind> #", how many there are."""
    driver, found = psutil.Process(), defaultdict(list)
    for process in [driver, *driver.children(recursive=True)]:
        try:
            found[_kind(process, driver)].append(process.memory_full_info().pss / _MIB)
        except psutil.Error:
            continue
    means = {kind: float(np.mean(sizes)) for kind, sizes in found.items()}
    return means | {f"{kind} #": float(len(sizes)) for kind, sizes in found.items()}


def _kind(process: psutil.Process, driver: psutil.Process) -> str:
    if process == driver:
        return "driver"
    title = " ".join(process.cmdline()) or process.name()
    if match := re.match(r"ray::(\w+)", title):
        return match[1]
    for part in ("gcs_server", "raylet", "monitor", "log_monitor", "dashboard", "runtime_env", "wandb"):
        if part in title:
            return part
    return process.name()


def _object_store_bytes() -> float:
    if not ray.is_initialized():
        return 0.0

    reply = get_memory_info_reply(get_state_from_address(ray.get_runtime_context().gcs_address))
    return float(reply.store_stats.object_store_bytes_used)


def slopes(samples: list[dict[str, float]]) -> dict[str, float]:
    """Returns MiB an hour by kind, from those samples after the first quarter in which it had as many processes."""
    late = samples[len(samples) // 4 :]
    found = {}
    for kind in sorted({name for sample in late for name in sample} - {"minutes"}):
        rows = [(sample["minutes"] / 60, sample[kind]) for sample in late if kind in sample]
        if kind.endswith("#") or len(rows) < 3:
            continue
        hours, sizes = np.array(rows).T
        found[kind] = round(float(np.polyfit(hours, sizes, 1)[0]), 3)
    return found


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=_FAMILIES)
    parser.add_argument("--workers", type=positive(int), default=48)
    parser.add_argument("--minutes", type=positive(float), default=120.0)
    json_option(parser)
    parser.add_argument("--data", type=Path, metavar="FILE", help="write every sample to this file")
    options = parser.parse_args()
    if options.minutes < _LEAST_MINUTES:
        raise Implausible(
            f"--minutes {options.minutes:g} have too few samples for a line; give at least {_LEAST_MINUTES:g}."
        )
    name, *settings = _FAMILIES[options.family]
    with tempfile.TemporaryDirectory() as directory:
        settings += [f"run.directory={directory}", f"run.minutes={options.minutes}", *_SLOW, *_QUIET]
        settings += [f"runtime.rollout_workers={options.workers}", "runtime.rollout_cpus=0"]
        watch = Watch()
        watch.start()
        launch(load(name, "laptop", settings), inline=False, resume=None, overrides=settings)
        watch.stop()
    watched = watch.samples[-1]["minutes"] if watch.samples else 0.0
    if watched < _LEAST_WATCHED * options.minutes:
        raise Implausible(f"the run was there for {watched:.0f} of {options.minutes:g} minutes; nothing is kept.")
    first = watch.samples[len(watch.samples) // 4]
    row = {
        "what": f"memory of {options.workers} rollout workers over {options.minutes:g} minutes, {options.family}",
        "mib_per_hour": slopes(watch.samples),
        "mib_after_warm_up": {kind: round(size, 1) for kind, size in first.items() if kind != "minutes"},
        "samples": len(watch.samples),
    }
    command = f"python benchmarks/leaks.py {options.family} --workers {options.workers} --minutes {options.minutes:g}"
    publish(options.json, [row], command=command)
    if options.data is not None:
        options.data.write_text("".join(json.dumps(sample) + "\n" for sample in watch.samples), encoding="utf-8")


if __name__ == "__main__":
    main()
