"""What Ray carries between workers: weights to those who act, segments to the shards, batches to the learner.

    python benchmarks/transport.py weights [--workers N …] [--json FILE]
    python benchmarks/transport.py shards  [--shards N …]  [--json FILE]

weights: 10 MB are published as the learner does it; N processes with IMPALA's policy ask for newer ones a hundred times
a second. The figure is the time from the publication until the last of them acts with them and has read them all.

shards: two processes insert segments of RAM Breakout and this one draws MuZero's batches, as fast as N shards take
them. Beside the rates stand the CPU seconds per second of each kind of process: what binds is who has none left.
"""

import argparse
import os
import time

import numpy as np
import ray
from processes import cpu_seconds
from rows import json_option, positive, publish
from segments import random_segment

from rlsys import config, registry
from rlsys.api import LearnerContext, ReplayNotReady
from rlsys.process import prepare, use_threads
from rlsys.runs.resolve import resolve
from rlsys.runs.spec import RunSpec
from rlsys.runtime.cluster.cluster import connect
from rlsys.runtime.cluster.placement import Handle
from rlsys.runtime.workers.outlets import TableOutlet
from rlsys.runtime.workers.parameter_server import ParameterServer
from rlsys.runtime.workers.processes import ShardProcess
from rlsys.runtime.workers.remote_replay import RemoteReplay
from rlsys.runtime.workers.remote_weights import RemotePublisher, RemoteWeights
from rlsys.types import Source
from rlsys.weights import echo, pack

_TEN_MEGABYTES = ("impala.network=lstm", "impala.hidden_size=512", "impala.fc_size=560")
_ASKS_PER_S = 100
_PUBLICATIONS = 15
_PAUSE_S = 0.5
_WRITERS = 2
_SECONDS = 10.0
_WARM_UP_S = 3.0
_WINDOW, _ROWS = 16, {"observation": 1, "visit_probabilities": 6}


class Acting:
    """Looks for newer weights, gives them to its policy, and computes their digest, as every report tells it."""

    def __init__(self, server: Handle, spec: RunSpec) -> None:
        use_threads(1)
        self._weights = RemoteWeights(server)
        self._policy = spec.algorithm.make_policy(spec.policy_context(0, 0))
        self._version = -1

    def act_with(self, version: int) -> float:
        """Returns the monotonic time at which it has weights of that version or a newer one."""
        while self._version < version:
            weights = self._weights.newer(self._version)
            if weights is None:
                time.sleep(1 / _ASKS_PER_S)
                continue
            self._policy.set_weights(weights)
            self._version = weights.version
            echo(self._version, self._policy.weights())
        return time.monotonic()


class Inserting:
    """Sends segments as fast as they are taken."""

    def __init__(self, spec: RunSpec, index: int, shards: list[Handle]) -> None:
        self._outlet = TableOutlet(shards, spec.runtime.segments_in_flight)
        rng = np.random.default_rng(index)
        self._segment = random_segment(rng, spec.stored_env, spec.cut, Source(index, 0, 0))
        self._sequence = 0
        self._index = index

    def run(self, seconds: float) -> int:
        """Returns the rows that it sent."""
        deadline, rows = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            if self._outlet.ready(0.1):
                self._segment.source = Source(self._index, 0, self._sequence)
                self._outlet.offer([self._segment])
                self._sequence += 1
                rows += self._segment.num_items
        return rows


def measure_weights(workers: int) -> dict[str, object]:
    """Returns the milliseconds from publication to use, median and maximum."""
    loaded = config.load("impala-cartpole", "laptop", list(_TEN_MEGABYTES))
    spec = resolve(loaded, registry.get_algorithm("impala", "here"), num_cpus=2, num_gpus=0)
    learner = spec.algorithm.make_learner(LearnerContext(spec.section, spec.env_spec, seed=0))
    server = ray.remote(ParameterServer).options(num_cpus=0, max_concurrency=1000).remote()
    acting = [ray.remote(Acting).options(num_cpus=0).remote(server, spec) for _ in range(workers)]
    publish = RemotePublisher(server)
    ray.get([worker.__ray_ready__.remote() for worker in acting])
    spent = []
    for version in range(_PUBLICATIONS + 3):
        waiting = [worker.act_with.remote(version) for worker in acting]
        time.sleep(_PAUSE_S)  # until all of them ask
        packed = pack(learner.weights(), version, version)
        started = time.monotonic()
        publish(packed)
        spent.append(max(ray.get(waiting)) - started)
    for worker in [*acting, server]:
        ray.kill(worker)
    milliseconds = 1_000 * np.array(spent[3:])
    return {
        "what": f"{packed.buffer.nbytes / 1e6:.1f} MB of weights published until {workers} workers act with them",
        "ms": round(float(np.median(milliseconds)), 1),
        "ms_max": round(float(milliseconds.max()), 1),
        "command": f"python benchmarks/transport.py weights --workers {workers}",
    }


def measure_shards(num_shards: int) -> dict[str, object]:
    """Returns rows inserted and windows sampled per second, and who used the cores."""
    settings = [f"runtime.replay_shards={num_shards}", "runtime.rollout_workers=2", "muzero.sampling_ratio=null"]
    loaded = config.load("muzero-breakout", "laptop", [*settings, "muzero.stored_before_train=1000"])
    spec = resolve(loaded, registry.get_algorithm("muzero", "here"), num_cpus=2, num_gpus=0)
    shards = [
        ray.remote(ShardProcess).options(num_cpus=0, max_concurrency=1000).remote(spec, index)
        for index in range(num_shards)
    ]
    writers = [ray.remote(Inserting).options(num_cpus=0).remote(spec, index, shards) for index in range(_WRITERS)]
    replay = RemoteReplay(shards, spec.store, rank=0, num_ranks=1, in_flight=3, seed=0)
    batch_size = spec.store.batch_size
    _draw(replay, batch_size, _WARM_UP_S, [writer.run.remote(_WARM_UP_S) for writer in writers])
    before, started = cpu_seconds(os.getpid()), time.monotonic()
    running = [writer.run.remote(_SECONDS) for writer in writers]
    windows = _draw(replay, batch_size, _SECONDS, [])
    rows = sum(ray.get(running))
    wall = time.monotonic() - started
    used = {kind: round((spent - before.get(kind, 0.0)) / wall, 2) for kind, spent in cpu_seconds(os.getpid()).items()}
    for handle in [*writers, *shards]:
        ray.kill(handle)
    return {
        "what": f"inserts and samples through Ray, {num_shards} shards",
        "rows_inserted_per_s": round(rows / wall),
        "windows_sampled_per_s": round(windows / wall),
        "cores_used": {kind: cores for kind, cores in sorted(used.items()) if not 0.0 <= cores < 0.02},
        "command": f"python benchmarks/transport.py shards --shards {num_shards}",
    }


def _draw(replay: RemoteReplay, batch_size: int, seconds: float, running: list[ray.ObjectRef]) -> int:
    deadline, windows = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        replay.deadline = time.monotonic() + 0.5
        try:
            windows += len(replay.sample(batch_size, _WINDOW, _ROWS).key)
        except ReplayNotReady:
            continue
    ray.get(running)
    return windows


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("weights", "shards"))
    parser.add_argument("--workers", type=positive(int), nargs="+", default=[8, 48])
    parser.add_argument("--shards", type=positive(int), nargs="+", default=[1, 2, 4])
    json_option(parser)
    options = parser.parse_args()
    prepare()
    connect(config.RuntimeConfig())
    counts = options.workers if options.what == "weights" else options.shards
    for count in counts:
        row = measure_weights(count) if options.what == "weights" else measure_shards(count)
        publish(options.json, [row | {"cores": os.cpu_count()}])


if __name__ == "__main__":
    main()
