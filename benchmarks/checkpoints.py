"""What checkpoints cost: how long a large replay and a learner stand still for them, and what is written.

    python benchmarks/checkpoints.py [--gigabytes 1] [--shards 2] [--json FILE]
    python benchmarks/checkpoints.py --run muzero-breakout --minutes 5 [--json FILE] [KEY=VALUE …]

The first fills shards with segments of RAM Breakout's size, and asks each for its status over and over. The longest
answer is the longest that anybody was kept waiting, by Ray and by whatever else the machine does, too, so it is also
measured without a checkpoint; the longest turn is CPU time of the shard's event loop between two occasions to serve
somebody. Then a twentieth of the rows is replaced and a second checkpoint written.

The second launches an experiment with its own period of checkpoints: in which share of their time the learner, and the
shards, did nothing else than copy what is to be written.
"""

import argparse
import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import ray
from live_run import check_limits
from rows import Implausible, json_option, positive, publish
from segments import random_segment

from rlsys import config, registry
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.metrics.rows import read_metrics
from rlsys.metrics.timing import mean_row
from rlsys.runs.resolve import resolve
from rlsys.runs.spec import RunSpec
from rlsys.runtime.cluster.cluster import connect
from rlsys.runtime.launch.launch import launch
from rlsys.runtime.workers.shard import ReplayShard
from rlsys.types import Source

_ITEMS = 500
_SEGMENT_ROWS = 515
_ROW_BYTES = 162
"""Observation 128, action 8, reward 4, two flags, visit distribution 16, value 4."""
_SEGMENTS_PER_CALL = 20
_IDLE_S = 10.0
_LEAST_TRAINED = 0.75
"""Share of its minutes that a run has to have trained."""


def main() -> None:
    """Measures one or the other and prints, or appends, its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=positive(float), default=1.0, help="rows of all shards together")
    parser.add_argument("--shards", type=positive(int), default=2)
    parser.add_argument("--run", help="an experiment to launch instead")
    parser.add_argument("--minutes", type=positive(float), default=5.0)
    json_option(parser)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    if options.run:
        rows = [measure_run(options.run, options.minutes, options.overrides)]
        command = f"python benchmarks/checkpoints.py --run {options.run} --minutes {options.minutes:g}"
    else:
        rows = measure_shards(options.gigabytes, options.shards)
        command = f"python benchmarks/checkpoints.py --gigabytes {options.gigabytes:g} --shards {options.shards}"
    publish(options.json, rows, command=" ".join([command, *options.overrides]))


def measure_shards(gigabytes: float, num_shards: int) -> list[dict[str, Any]]:
    """Writes two checkpoints of shards that are asked for their status meanwhile."""
    num_items = int(gigabytes * 2**30 / _ROW_BYTES / _SEGMENT_ROWS) * _ITEMS
    sizes = [f"muzero.window_size={num_items}", f"runtime.replay_shards={num_shards}", "muzero.sampling_ratio=null"]
    loaded = config.load("muzero-breakout", overrides=sizes)
    spec = resolve(loaded, registry.get_algorithm("muzero", ""), num_cpus=2, num_gpus=0)
    connect(loaded.experiment.runtime)
    folder = Path(tempfile.mkdtemp(dir=Path.cwd()))
    try:
        shards = [_start(spec, index) for index in range(num_shards)]
        per_shard = num_items // num_shards // _ITEMS
        _fill(spec, shards, range(per_shard))
        checkpoints = Checkpoints(folder, keep=2)
        with _asking(shards) as longest:
            time.sleep(_IDLE_S)
        rows = [{"what": "shards, no checkpoint", "seconds": _IDLE_S, **_waits(shards, longest)}]
        for step, what in ((1, "shards, first checkpoint"), (2, "shards, second, 5 % of rows replaced")):
            if step == 2:
                _fill(spec, shards, range(per_shard, per_shard + per_shard // 20))
            with _asking(shards) as longest:
                started, before = time.monotonic(), checkpoints.latest()
                draft = checkpoints.begin(step)
                for records in ray.get([shard.save_to.remote(draft.place, step, before) for shard in shards]):
                    draft.add(records)
                draft.commit({})
                seconds = time.monotonic() - started
            sizes_of = {record.path: record.size for record in checkpoints.open(step, parts=[]).records}
            written = sum(size for path, size in sizes_of.items() if _links(folder, step, path) == 1)
            rows.append(
                {
                    "what": what,
                    "shards": num_shards,
                    "megabytes": round(sum(sizes_of.values()) / 2**20),
                    "written_megabytes": round(written / 2**20),
                    "seconds": round(seconds, 2),
                    **_waits(shards, longest),
                }
            )
        return rows
    finally:
        shutil.rmtree(folder)
        ray.shutdown()


def measure_run(name: str, minutes: float, overrides: list[str]) -> dict[str, Any]:
    """Launches an experiment; returns which share of their time its learner and its shards copied something."""
    check_limits(name, overrides, seconds=60.0 * minutes)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        settings = [*overrides, f"run.minutes={minutes}", f"run.directory={folder}", "run.wandb=disabled"]
        launch(config.load(name, overrides=settings), inline=False, resume=None, overrides=settings)
        rows = read_metrics(next(Path(folder).glob("*/*")))
    trained_s = rows[-1]["time_s"] if rows else 0.0
    if trained_s < _LEAST_TRAINED * 60.0 * minutes:
        raise Implausible(f"{name} trained for {trained_s:.0f} s of {minutes:g} minutes; nothing is kept.")
    if not any("throughput/updates_per_s" in row for row in rows):
        raise Implausible(f"{name} did not update its weights in {minutes:g} minutes; nothing is kept.")
    shares = mean_row((1.0, row) for row in rows if "throughput/updates_per_s" in row)
    return {
        "what": f"checkpoints of {name}",
        "updates_per_s": round(shares["throughput/updates_per_s"], 1),
        "learner_share": round(shares.get("workers/learner_save_share", 0.0), 6),
        "shard_share": round(shares.get("workers/shard_save_share", 0.0), 6),
    }


def _start(spec: RunSpec, index: int) -> Any:
    """Starts a shard that notes how long its event loop serves nobody."""

    class Beating(ReplayShard):
        _turn_s = 0.0

        async def beat(self) -> None:
            """Measures turns, for ever."""
            before = time.thread_time()
            while True:
                await asyncio.sleep(0.001)
                now = time.thread_time()
                self._turn_s = max(self._turn_s, now - before)
                before = now

        async def longest_turn_s(self) -> float:
            """Returns the longest turn since the last call."""
            turn_s, self._turn_s = self._turn_s, 0.0
            return turn_s

    shard = ray.remote(Beating).options(num_cpus=0, max_concurrency=1000).remote(spec, index)
    shard.beat.remote()
    return shard


@contextmanager
def _asking(shards: list[Any]) -> Iterator[list[float]]:
    """Asks every shard for its status, over and over; the list's only element is the longest answer so far."""
    longest, done = [0.0], threading.Event()
    ray.get([shard.longest_turn_s.remote() for shard in shards])

    def ask(shard: Any) -> None:
        while not done.is_set():
            started = time.monotonic()
            ray.get(shard.status.remote(0, 0))
            longest[0] = max(longest[0], time.monotonic() - started)
            time.sleep(0.002)

    threads = [threading.Thread(target=ask, args=(shard,)) for shard in shards]
    for thread in threads:
        thread.start()
    try:
        yield longest
    finally:
        done.set()
        for thread in threads:
            thread.join()


def _waits(shards: list[Any], longest: list[float]) -> dict[str, float]:
    turns = ray.get([shard.longest_turn_s.remote() for shard in shards])
    return {"longest_answer_ms": round(1e3 * longest[0], 1), "longest_turn_ms": round(1e3 * max(turns), 1)}


def _fill(spec: RunSpec, shards: list[Any], sequence: range) -> None:
    """Inserts segments into every shard."""
    rng = np.random.default_rng(1)
    for first in range(sequence.start, sequence.stop, _SEGMENTS_PER_CALL):
        numbers = range(first, min(first + _SEGMENTS_PER_CALL, sequence.stop))
        segments = [random_segment(rng, spec.stored_env, spec.cut, Source(0, 0, number)) for number in numbers]
        assert set(ray.get([shard.insert.remote(segments, 10.0) for shard in shards])) == {""}


def _links(folder: Path, step: int, path: str) -> int:
    """Returns 1 for a file that no other checkpoint has."""
    return (folder / f"{step:09d}" / path).stat().st_nlink


if __name__ == "__main__":
    main()
