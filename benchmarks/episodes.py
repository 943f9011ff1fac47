"""Episodes in the shards: how fast windows of them are drawn, what a learner waits for, and what checkpoints write.

    python benchmarks/episodes.py [--rows N] [--archive FILE] [--json FILE]

Two shards, in processes of their own, hold rows of Pong by pixels (105 × 80 × 3), played at random. Windows of 50 rows,
16 at a time, are drawn here: as fast as they come, and by a learner whose every update computes for a quarter of a
second. Beside them stand a table in this process and, with --archive, the module of the archive that learners held in
memory before tables kept episodes (`git show afc3bbd:rlsys/replay/archive.py`), all with the same rows.
"""

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
from rows import json_option, positive, publish

from rlsys import config, registry
from rlsys.api import SequenceQuery, Unrolls
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.envs.vector import BatchedEnv
from rlsys.process import prepare
from rlsys.replay.table import Table
from rlsys.replay.unrolls import UnrollWriter
from rlsys.replay.writer import SegmentWriter
from rlsys.runs.resolve import resolve
from rlsys.runs.spec import RunSpec
from rlsys.runtime.cluster.cluster import connect
from rlsys.runtime.workers.remote_replay import RemoteReplay
from rlsys.runtime.workers.shard import ReplayShard
from rlsys.types import Segment, UnrollBlock

_BATCH, _LENGTH = 16, 50
_UPDATE_S = 0.25
_SECONDS = 8.0
_SHARDS = 2
_TURN = 200


def main() -> None:
    """Measures and prints, or appends, rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=positive(int), default=6_400, help="of both shards together")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="the module that is measured beside them")
    json_option(parser)
    options = parser.parse_args()
    rows = measure(options.rows, options.archive)
    publish(options.json, rows, command=f"python benchmarks/episodes.py --rows {options.rows}")


def measure(rows: int, archive: Path | None) -> list[dict[str, Any]]:
    """Plays, and measures tables in this process and shards in others."""
    sizes = [f"simple.num_real_env_frames={2 * rows}", "simple.real_batch_size=2", "runtime.rollout_workers=2"]
    loaded = config.load("simple-pong", overrides=[*sizes, f"runtime.replay_shards={_SHARDS}"])
    spec = resolve(loaded, registry.get_algorithm("simple", ""), num_cpus=2, num_gpus=0)
    segments, blocks = _play(spec, rows // _SHARDS)
    prepare()
    connect(loaded.experiment.runtime)
    return [*_measure_here(spec, segments, blocks, archive), *_measure_shards(spec, segments)]


def _play(spec: RunSpec, steps: int) -> tuple[list[list[Segment]], list[UnrollBlock]]:
    """Plays one game for each shard at random; returns the segments of each, and the unrolls of both."""
    env = BatchedEnv(spec.env, range(_SHARDS))
    writers = [SegmentWriter(spec.cut, spec.stored_env, worker, 0, 1) for worker in range(_SHARDS)]
    unrolls = Unrolls(length=_TURN)
    unroll_writer = UnrollWriter(unrolls, unrolls.stored_env(spec.env_spec), 0, 0, _SHARDS)
    segments: list[list[Segment]] = [[] for _ in writers]
    blocks: list[UnrollBlock] = []
    rng = np.random.default_rng(0)
    for step in range(steps):
        observation = env.observation.copy()
        result = env.step(rng.integers(env.spec.num_actions, size=_SHARDS))
        row = {
            "observation": observation,
            "action": result.action,
            "reward": result.reward,
            "terminated": result.terminated,
            "truncated": result.truncated,
            "next_observation": result.observation,
        }
        more: dict[str, Any] = {"weights_version": 0, "priority": None, "turn": step // _TURN}
        for index, writer in enumerate(writers):
            own = {name: values[index : index + 1] for name, values in row.items()}
            extras = {name: np.zeros((1, *extra.shape), extra.dtype) for name, extra in spec.cut.extras.items()}
            segments[index] += writer.append_batch(**own, **more, extras=extras)
        blocks += unroll_writer.append_batch(**row, **more, extras={}, state={})
    env.close()
    return segments, blocks


def _measure_here(
    spec: RunSpec, segments: list[list[Segment]], blocks: list[UnrollBlock], archive: Path | None
) -> list[dict[str, Any]]:
    """Draws from a table in this process and, in turns with it, from the archive."""
    table = Table(spec.store, spec.stored_env, spec.cut)
    for segment in (segment for own in segments for segment in own):
        table.insert(segment)
    query = SequenceQuery(_BATCH, _LENGTH)
    draws: dict[str, Callable[[], object]] = {"a table, in this process": lambda: table.sequences(query)}
    if archive is not None:
        old = _load(archive).EpisodeArchive(spec.env_spec.observation, spec.env_spec.action)
        for block in blocks:
            old.add(block)
        old.close_epoch()
        rng = np.random.default_rng(0)
        draws["the archive, in this process"] = lambda: old.draw(rng, _BATCH, _LENGTH + 1)
    spent: dict[str, list[float]] = {what: [] for what in draws}
    for _ in range(30):
        for what, draw in draws.items():
            began = time.perf_counter()
            draw()
            spent[what].append(time.perf_counter() - began)
    return [{"what": what, "draws_per_s": round(1 / float(np.median(times)), 1)} for what, times in spent.items()]


def _load(path: Path) -> Any:
    """Returns a module of before, which knows of nothing that has moved since."""
    found = importlib.util.spec_from_file_location("archive_of_before", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def _measure_shards(spec: RunSpec, segments: list[list[Segment]]) -> list[dict[str, Any]]:
    """Draws from two shards, and writes two checkpoints of them."""
    shards = [
        ray.remote(ReplayShard).options(num_cpus=0, max_concurrency=1000).remote(spec, index)
        for index in range(_SHARDS)
    ]
    for shard, own in zip(shards, segments, strict=True):
        ray.get(shard.insert.remote(own[: -len(own) // 20], 60.0))
    replay = RemoteReplay(shards, spec.store, rank=0, num_ranks=1, in_flight=3, seed=0)
    query = SequenceQuery(_BATCH, _LENGTH)
    rate, _ = _draw(replay, query, lambda: None)
    matrix = np.ones((600, 600), np.float32)

    def update() -> None:
        until = time.monotonic() + _UPDATE_S
        while time.monotonic() < until:
            _ = matrix @ matrix

    updates, waited = _draw(replay, query, update)
    written = _write(shards, segments)
    return [
        {"what": "two shards, as fast as they give", "draws_per_s": round(rate, 1)},
        {
            "what": f"two shards, updates of {_UPDATE_S:g} s on a core",
            "draws_per_s": round(updates, 2),
            "waited_share": round(waited, 4),
        },
        {"what": "checkpoints of two shards; 5 % of the rows came between", **written},
    ]


def _draw(replay: RemoteReplay, query: SequenceQuery, update: Callable[[], None]) -> tuple[float, float]:
    """Returns draws per second, and the share of the time that was spent waiting for them."""
    for _ in range(3):
        replay.sequences(query)
    began, waited, count = time.monotonic(), 0.0, 0
    while time.monotonic() < began + _SECONDS:
        asked = time.monotonic()
        windows = replay.sequences(query)
        waited += time.monotonic() - asked
        assert windows.mask.all()
        update()
        count += 1
    wall = time.monotonic() - began
    return count / wall, waited / wall


def _write(shards: list[Any], segments: list[list[Segment]]) -> dict[str, float]:
    """Writes a checkpoint, inserts the rest and writes another; returns megabytes that each wrote."""
    megabytes = []
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        checkpoints = Checkpoints(folder, keep=2)
        for step in (1, 2):
            committed, draft = checkpoints.latest(), checkpoints.begin(step)
            for records in ray.get([shard.save_to.remote(draft.place, step, committed) for shard in shards]):
                draft.add(records)
            draft.commit({})
            files = [Path(folder, f"{step:09d}", record.path) for record in checkpoints.open(step, parts=[]).records]
            new = sum(file.stat().st_size for file in files if file.stat().st_nlink == 1)
            megabytes.append(round(new / 2**20, 2))
            for shard, own in zip(shards, segments, strict=True):
                ray.get(shard.insert.remote(own[-len(own) // 20 :], 60.0))
    return {"first_megabytes": megabytes[0], "second_megabytes": megabytes[1]}


if __name__ == "__main__":
    main()
