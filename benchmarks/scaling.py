"""From 1 to 64 rollout workers on this machine, and what one call costs each process that all of them call.

    python benchmarks/scaling.py workers [--counts 1 4 16 48 64] [--torch] [--tick S] [--seconds S] [--json FILE]
    python benchmarks/scaling.py supervisor [--counts 64 1000 10000] [--tick S] [--seconds S] [--json FILE]
    python benchmarks/scaling.py calls [--seconds S] [--json FILE]

`workers` launches whole runs on `rlsys/Sleeping-v0`, whose steps take 10 ms and no CPU, one environment per worker: the
share of the ideal rate (each worker 100 steps per second) and of the linear one (each as fast as one alone), the
seconds until every worker has made a step, the memory of each kind of process (proportional set size) and the CPU that
each kind takes. Beside other work, the CPU seconds until all have stepped say more than the seconds: divided by the
cores, they are what an idle machine takes at least. The policy is the checking algorithm's, which needs no torch;
`--torch` takes IMPALA's.

`supervisor` gives the real supervisor as many workers as asked for that only report, a few hundred in each process.
`calls` puts the real server and shards under as many calls as a few clients can make.

Each count runs in a process of its own, so that the time from launch is that of a user.
"""

import argparse
import asyncio
import functools
import io
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import ray
import rich.console
from processes import cpu_seconds, memory_mib
from rows import Implausible, json_option, positive, publish
from segments import random_segment

from rlsys import registry
from rlsys.api import Algorithm
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.config import EnvConfig, Experiment, Loaded, RunConfig, RuntimeConfig
from rlsys.envs.make import env_spec
from rlsys.metrics.console import Console
from rlsys.metrics.tracking import Tracker
from rlsys.runs.progress import Progress
from rlsys.runs.resolve import check
from rlsys.runs.spec import RunSpec
from rlsys.runtime.cluster.cluster import connect
from rlsys.runtime.driver.program import Program
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.driver.supervisor import Supervisor
from rlsys.runtime.workers.parameter_server import ParameterServer, Publication
from rlsys.runtime.workers.processes import ShardProcess
from rlsys.runtime.workers.rollout import RolloutReport
from rlsys.testing.algorithm import CHECKING, CheckingConfig
from rlsys.types import ArraySpec, Segment, Source

Arguments = Callable[[int], tuple[Any, ...]]
"""Of the n-th call."""

_SLEEP_S = 0.01
_WARM_UP_S = 5.0
_START_PATIENCE_S = 300.0
_LITTLE_LEARNING = CheckingConfig(batch_size=256, samples_per_insert=0.05, window_size=20_000, segment_length=200)
_PER_REPORTER = 500
_POSITIONS = (np.arange(16) + 0.5) / 16


def make_spec(workers: int, folder: Path, *, torch: bool, tick_s: float) -> RunSpec:
    """Returns a run of one environment per worker whose learner has little to do."""
    algorithm, section = CHECKING, _LITTLE_LEARNING
    if torch:
        found = registry.get("impala")
        assert isinstance(found, Algorithm)
        algorithm, section = found, found.config_type(batch_size=max(1, workers // 2), hidden_size=64, fc_size=64)
    env = EnvConfig(id="rlsys/Sleeping-v0")
    spec = RunSpec(
        name="scaling",
        algorithm=algorithm,
        section=section,
        env=env,
        runtime=RuntimeConfig(
            rollout_workers=workers,
            environments_per_worker=1,
            rollout_cpus=0,
            learner_device="cpu",
            learner_threads=1,
            inference_workers=0,
            tick_s=tick_s,
        ),
        run=RunConfig(
            evaluate_every_learner_steps=0, checkpoint_every_learner_steps=0, wandb="disabled", tensorboard=False
        ),
        env_spec=env_spec(env),
        folder=folder,
    )
    check(spec)
    return spec


class Counting(Recorder):
    """A recorder that also knows which workers have made a step, their rate, and how many ticks there were."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.began: set[int] = set()
        self.reports: dict[int, list[tuple[float, int]]] = defaultdict(list)

    def rollout(self, report: RolloutReport) -> None:
        """Takes in what a rollout worker did."""
        super().rollout(report)
        self.reports[report.worker].append((time.monotonic(), report.env_steps))
        if report.env_steps:
            self.began.add(report.worker)

    @property
    def ticks(self) -> int:
        """Reports since `reports` was emptied."""
        return sum(map(len, self.reports.values()))

    @property
    def env_steps_per_s(self) -> float:
        """Of all workers, each from its first report since `reports` was emptied to its last."""
        return sum(
            sum(steps for _, steps in each[1:]) / (each[-1][0] - each[0][0])
            for each in self.reports.values()
            if len(each) > 1
        )


@contextmanager
def started(spec: RunSpec, program: Any) -> Iterator[tuple[Supervisor, Progress, Counting]]:
    """Starts a run as `rlsys launch` does, without its terminal; yields supervisor, progress and recorder."""
    loaded = Loaded(spec.name, "", Experiment(algorithm="", env=spec.env, runtime=spec.runtime, run=spec.run), {})
    console = Console(loaded, spec.folder, terminal=False, output=rich.console.Console(file=io.StringIO()))
    progress = Progress(spec.run)
    with closing(Tracker(spec.folder, loaded, spec.name, resume=False)) as tracker:
        recorder = Counting(spec, progress, tracker, console)
        supervisor = Supervisor(spec, program, progress, recorder, Checkpoints(spec.folder / "checkpoints", keep=1))
        supervisor.start(None)
        yield supervisor, progress, recorder
    program.close()


def run(workers: int, *, torch: bool, tick_s: float, seconds: float) -> dict[str, object]:
    """Returns the figures of one run, of which this process is the driver."""
    launched = psutil.Process().create_time()
    with tempfile.TemporaryDirectory() as directory:
        spec = make_spec(workers, Path(directory), torch=torch, tick_s=tick_s)
        connect(spec.runtime)
        with started(spec, Program(spec)) as (supervisor, progress, recorder):
            while len(recorder.began) < workers:
                if time.time() - launched > _START_PATIENCE_S:
                    raise Implausible(f"{len(recorder.began)} of {workers} workers began in {_START_PATIENCE_S:g} s")
                supervisor.work()
            first_step_s, start_cpu_s = time.time() - launched, sum(cpu_seconds(os.getpid()).values())
            _work(supervisor, _WARM_UP_S)
            cpu, updates = cpu_seconds(os.getpid()), progress.learner_steps
            recorder.reports.clear()
            wall_s = _work(supervisor, max(seconds, 5 * tick_s))
            rate, updated = recorder.env_steps_per_s, progress.learner_steps - updates
            silent = workers - sum(len(reports) > 1 for reports in recorder.reports.values())
            if silent:
                raise Implausible(f"{silent} of {workers} workers did not work all the time; give more --seconds")
            used = {kind: (after - cpu.get(kind, 0.0)) / wall_s for kind, after in cpu_seconds(os.getpid()).items()}
            return {
                "what": f"{workers} rollout workers on an environment that sleeps 10 ms, {spec.algorithm.name}",
                "workers": workers,
                "cores": os.cpu_count(),
                "tick_s": tick_s,
                "env_steps_per_s": round(rate, 1),
                "share_of_ideal": round(rate * _SLEEP_S / workers, 4),
                "first_step_of_all_s": round(first_step_s, 1),
                "cpu_s_until_then": round(start_cpu_s, 1),
                "updates_per_s": round(updated / wall_s, 4) if updated else None,  # few workers have few rows
                "ticks_per_s": round(recorder.ticks / wall_s, 1),
                "cores_used": {kind: round(share, 4) for kind, share in sorted(used.items())},
                "pss_mib": {kind: round(size, 1) for kind, size in sorted(memory_mib(os.getpid()).items())},
            }


def _work(supervisor: Supervisor, seconds: float) -> float:
    """Lets a run work; returns the seconds that it did."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        supervisor.work()
    return time.monotonic() - began


class Reporter:
    """Many rollout workers that only report."""

    async def collect(self, worker: int, seconds: float) -> RolloutReport:
        """Waits as a worker works."""
        await asyncio.sleep(seconds)
        return RolloutReport(worker, env_steps=int(seconds / _SLEEP_S))


class Reporting(Program):
    """A program whose rollout workers only report, many of them in each process."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__(spec)
        reporter = ray.remote(Reporter).options(num_cpus=0, max_concurrency=_PER_REPORTER)
        self._reporters = [reporter.remote() for _ in range(-(-spec.num_rollout_workers // _PER_REPORTER))]

    def close(self) -> None:
        """Ends all processes."""
        self.rollouts.clear()
        for reporter in self._reporters:
            ray.kill(reporter)
        super().close()

    def _make_rollout(self, index: int, incarnation: int) -> Any:
        actor = self._reporters[index // _PER_REPORTER]
        collect = SimpleNamespace(remote=functools.partial(actor.collect.remote, index))
        return SimpleNamespace(collect=collect, _actor_id=actor._actor_id)


def supervise(workers: int, *, tick_s: float, seconds: float) -> dict[str, object]:
    """Returns what so many workers cost the supervisor, and how late their next ticks begin."""
    connect(RuntimeConfig())
    with tempfile.TemporaryDirectory() as directory:
        spec = make_spec(workers, Path(directory), torch=False, tick_s=tick_s)
        with started(spec, Reporting(spec)) as (supervisor, _, recorder):
            _work(supervisor, 2 * tick_s)
            cpu, ticks = time.process_time(), recorder.ticks
            wall_s = _work(supervisor, max(seconds, 3 * tick_s))
            spent_s, made = time.process_time() - cpu, recorder.ticks - ticks
            if not made:
                raise Implausible(f"no worker reported in {wall_s:.0f} s; nothing is kept. Give more --seconds.")
    return {
        "what": f"the supervisor of {workers:,} workers that report every {tick_s:g} s",
        "workers": workers,
        "tick_s": tick_s,
        "ticks_per_s": round(made / wall_s, 1),
        "share_of_ticks": round(made / wall_s * tick_s / workers, 3),
        "cpu_us_per_tick": round(1e6 * spent_s / made, 1),
        "cores": round(spent_s / wall_s, 3),
    }


class Caller:
    """A client that makes as many calls as it can, two of them on the way."""

    def call(self, actor: Any, method: str, arguments: Arguments, seconds: float) -> tuple[int, float]:
        """Calls for so long, the n-th time with `arguments(n)`; returns how many calls, and their CPU seconds here."""
        deadline, count, waiting = time.monotonic() + seconds, 0, []
        cpu = time.process_time()
        while time.monotonic() < deadline:
            waiting.append(getattr(actor, method).remote(*arguments(count)))
            count += 1
            if len(waiting) == 2:
                ray.get(waiting.pop(0))
        ray.get(waiting)
        return count, time.process_time() - cpu


def calls(seconds: float) -> Iterator[dict[str, object]]:
    """Yields what calls of the real server and of real shards cost, with 1 and with 4 clients."""
    connect(RuntimeConfig())
    clients = [ray.remote(Caller).options(num_cpus=0).remote() for _ in range(4)]
    server = ray.remote(ParameterServer).options(num_cpus=0, max_concurrency=1000).remote()
    kept = ray.put(np.zeros(10 * 2**20, np.uint8))
    ray.get(server.publish.remote(Publication(0, 0, [kept])))
    yield from _loaded(clients, server, "ParameterServer.pull, nothing newer", "pull", [lambda n: (0,)] * 4, seconds)
    yield from _loaded(clients, server, "ParameterServer.pull, a reference", "pull", [lambda n: (-1,)] * 4, seconds)
    with tempfile.TemporaryDirectory() as directory:
        small = make_spec(4, Path(directory), torch=False, tick_s=1.0)
        for row_bytes in (12, 5_000, 50_000):
            observation = ArraySpec((row_bytes // 4,), "float32")
            section = CheckingConfig(samples_per_insert=None, window_size=2_000)
            spec = replace(small, section=section, env_spec=small.env_spec.with_observation(observation))
            shard = ray.remote(ShardProcess).options(num_cpus=0, max_concurrency=1000).remote(spec, 0)
            segment = random_segment(np.random.default_rng(0), spec.stored_env, spec.cut, Source(0, 0, 0))
            size = f"{len(pickle.dumps(segment)) / 1e3:,.0f} kB"
            inserts = [_inserts(segment, worker) for worker in range(4)]
            yield from _loaded(clients, shard, f"ShardProcess.insert, {size}", "insert", inserts, seconds)
            batch, _ = ray.get(shard.sample.remote(_POSITIONS, 5, None, 0, 0))
            size = f"{len(pickle.dumps(batch)) / 1e3:,.0f} kB"
            sample = [lambda n: (_POSITIONS, 5, None, 0, 0)] * 4
            yield from _loaded(clients, shard, f"ShardProcess.sample, {size}", "sample", sample, seconds)
            ray.kill(shard)


def _inserts(segment: Segment, worker: int) -> Arguments:
    """Returns arguments that insert the same rows each time as new ones."""
    return lambda n: ([replace(segment, source=Source(worker, 0, n))], 0.5)


def _loaded(
    clients: list[Any], actor: Any, what: str, method: str, arguments: list[Arguments], seconds: float
) -> Iterator[dict[str, object]]:
    """Yields calls per second with 1 and with 4 clients, and the CPU of one call at either end."""
    pid = ray.get(actor.__ray_call__.remote(lambda self: os.getpid()))
    for count in (1, 4):
        before, began = psutil.Process(pid).cpu_times(), time.monotonic()
        running = [
            client.call.remote(actor, method, argument, seconds)
            for client, argument in zip(clients[:count], arguments, strict=False)
        ]
        results = ray.get(running)
        wall_s, after = time.monotonic() - began, psutil.Process(pid).cpu_times()
        made = sum(made for made, _ in results)
        if not made:
            raise Implausible(f"{what}: no call was made in {seconds:g} s; nothing is kept. Give more --seconds.")
        spent = after.user + after.system - before.user - before.system
        yield {
            "what": f"{what}, {count} clients",
            "calls_per_s": round(made / wall_s, 1),
            "server_cpu_us": round(1e6 * spent / made, 1),
            "client_cpu_us": round(1e6 * sum(cpu for _, cpu in results) / made, 1),
            "server_cores": round(spent / wall_s, 3),
        }


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("workers", "supervisor", "calls"))
    parser.add_argument("--counts", type=positive(int), nargs="+", default=[1, 4, 16, 48, 64])
    parser.add_argument("--here", action="store_true", help="measure the first count in this process, and print it")
    parser.add_argument("--torch", action="store_true", help="a policy that needs torch")
    parser.add_argument("--tick", type=positive(float), default=1.0, metavar="S", help="runtime.tick_s")
    parser.add_argument(
        "--seconds", type=positive(float), default=20.0, help="measured time of each count, or of each call"
    )
    json_option(parser)
    options = parser.parse_args()
    if options.here:
        count, times = options.counts[0], {"tick_s": options.tick, "seconds": options.seconds}
        print(
            json.dumps(
                supervise(count, **times) if options.what == "supervisor" else run(count, torch=options.torch, **times)
            )
        )
        return
    command = f"python benchmarks/scaling.py {options.what}{' --torch' if options.torch else ''}"
    command += f" --tick {options.tick:g}" if options.tick != 1.0 else ""
    rows = calls(min(options.seconds, 3.0)) if options.what == "calls" else _runs(options)
    for row in rows:
        publish(options.json, [row], command=command)


def _runs(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the figures of one run per count, each in a process of its own."""
    fixed = [f"--tick={options.tick}", f"--seconds={options.seconds}", *(["--torch"] if options.torch else [])]
    one_s = 0.0  # the rate of one worker
    for count in options.counts:
        command = [sys.executable, __file__, options.what, "--here", f"--counts={count}", *fixed]
        done = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8")
        if done.returncode:
            said = (done.stderr.splitlines() or [""])[-1]
            raise Implausible(f"{count} workers: status {done.returncode}; nothing is kept. {said}")
        row = json.loads(done.stdout.splitlines()[-1])
        if options.what == "workers" and (one_s := one_s or (row["env_steps_per_s"] if count == 1 else 0.0)):
            row["share_of_linear"] = round(row["env_steps_per_s"] / (count * one_s), 4)
        yield row


if __name__ == "__main__":
    main()
