"""A run under random faults: what each costs, and how long until training goes on.

    python benchmarks/chaos.py [--minutes M] [--seed S] [--every SECONDS] [--experiment NAME] [--json FILE] [KEY=VALUE]

Starts a cluster of four raylets on this machine (a head, one for learner and replay, two for rollout workers; the head
keeps its state in Redis where `redis-server` is found, else in RocksDB), launches a real run there, and injects faults
for M minutes, each when the one before is over: kill -9 of a rollout worker, learner, shard, inference worker, driver
(then --resume) and raylet (another machine comes later), SIGSTOP of a worker, a preemption notice, a restart of the
head's GCS and, as root, a full disk.

Kept per kind of fault: seconds until environment steps and updates have both gone on without a pause of five seconds,
and what was lost: updates and environment steps, by how much metrics.jsonl, which gets a row each second, falls back;
and rows, which are steps that were counted but did not reach replay, or did not stay there. Some hundred are always
under way: as many may be counted at one fault and come back at the next.
"""

import argparse
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from live_run import check_limits
from raylets import Cluster, raylet_pid
from rows import Implausible, json_option, positive, publish

_PAUSE_S = 5.0
"""Longer without progress counts as an interruption."""
_PATIENCE_S = 300.0
_FIRST_STEP = 200
"""Of the learner, from which on there are faults."""
_MEAN_OF = 5
"""Samples; workers report at different times."""
_DISK_MIB = 512
_SETTINGS = (
    "runtime.rollout_workers=4",
    "runtime.rollout_cpus=1",
    "runtime.replay_shards=2",
    "runtime.tick_s=0.5",
    "runtime.worker_restarts=100",  # many faults meet the same worker
    "run.training_steps=100000000",
    "run.target_return=null",
    "run.checkpoint_every_learner_steps=100",
    "run.evaluate_every_learner_steps=0",
    "run.log_every_s=1",
    "run.wandb=disabled",
    "run.tensorboard=false",
    "run.run_tag=chaos",
)
_OF = {
    "muzero-cartpole": ("runtime.environments_per_worker=2", "muzero.num_simulations=8", "muzero.batch_size=32"),
    "impala-cartpole": ("runtime.environments_per_worker=8", "runtime.inference_workers=1", "run.env_steps=null"),
}
"""So small that two cores are enough."""
_ROWS_PER_ITEM = {"muzero-cartpole": 1, "impala-cartpole": 20}


@dataclass(frozen=True)
class Sample:
    """How the run stood: monotonic seconds, environment steps, updates, and steps that are not in replay."""

    at: float
    env_steps: int
    learner_steps: int
    missing: float


@dataclass
class Fault:
    """One fault and what came of it."""

    kind: str
    at: float
    note: str = ""
    recovery_s: float = float("nan")
    lost: dict[str, float] = field(default_factory=dict)


class Run:
    """The driver's process, and how its run gets on."""

    def __init__(self, experiment: str, directory: Path, log: Path, address: str, overrides: list[str]) -> None:
        self._name, self._directory = experiment, directory
        self.console = log
        self.folder = directory / experiment / "chaos"
        where = [f"run.directory={directory}", f"runtime.address={address}"]
        self._start = [experiment, *_SETTINGS, *_OF[experiment], *where, *overrides]
        self._log = log.open("ab")
        self.samples: list[Sample] = []
        self.resumes = 0
        self._read = 0
        self.driver = self._launch(self._start)

    def resume(self) -> None:
        """Starts the driver again."""
        self.resumes += 1
        self.driver = self._launch(["--resume", str(self.folder)])

    def look(self) -> Sample | None:
        """Reads what metrics.jsonl has new; returns the last sample."""
        with contextlib.suppress(OSError), (self.folder / "metrics.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(self._read if size >= self._read else 0)
            data = file.read()
            end = data.rfind(b"\n") + 1
            self._read = (self._read if size >= self._read else 0) + end
            for line in data[:end].splitlines():
                row = json.loads(line)
                if "replay/inserted" in row:
                    inserted = row["replay/inserted"] * _ROWS_PER_ITEM[self._name]
                    counts = row["env_steps"], row["learner_step"], row["env_steps"] - inserted
                    self.samples.append(Sample(time.monotonic(), *counts))
        return self.samples[-1] if self.samples else None

    def stop(self) -> None:
        """Ends the run with a checkpoint."""
        self.driver.send_signal(signal.SIGINT)
        try:
            self.driver.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self.driver.kill()
        self._log.close()

    def _launch(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", "from rlsys.cli import main; main()", "launch", *arguments]
        return subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, cwd=self._directory)


class Chaos:
    """Injects faults and sees what they cost."""

    def __init__(self, cluster: Cluster, run: Run, rng: random.Random) -> None:
        self._cluster, self._run, self._rng = cluster, run, rng
        self.faults: list[Fault] = []
        self._later: list[tuple[float, Callable[[], object]]] = []
        self._kinds: dict[str, Callable[[], str]] = {
            "kill -9 rollout": lambda: self._kill("RolloutProcess"),
            "kill -9 learner": lambda: self._kill("LearnerProcess"),
            "kill -9 shard": lambda: self._kill("ShardProcess", "QueueProcess"),
            "kill -9 inference": lambda: self._kill("InferenceProcess"),
            "kill -9 server": lambda: self._kill("ParameterServer"),
            "SIGSTOP rollout, 15 s": lambda: self._pause("RolloutProcess"),
            "SIGSTOP shard, 15 s": lambda: self._pause("ShardProcess", "QueueProcess"),
            "SIGSTOP learner, 15 s": lambda: self._pause("LearnerProcess"),
            "kill -9 raylet (rollouts)": lambda: self._lose("rollout"),
            "kill -9 raylet (learner, replay)": lambda: self._lose("learner"),
            "notice, then kill -9 (rollouts)": lambda: self._take("rollout"),
            "notice, then kill -9 (learner, replay)": lambda: self._take("learner"),
            "kill -9 GCS, back after 10 s": self._restart_gcs,
            "kill -9 driver, --resume": self._kill_driver,
            "full disk, 20 s": self._fill_disk,
        }
        if not cluster.pids("InferenceProcess"):
            del self._kinds["kill -9 inference"]
        if not os.path.ismount(run.folder.parent.parent):
            del self._kinds["full disk, 20 s"]

    def rage(self, minutes: float, every_s: float) -> None:
        """Injects faults one after another, each kind as often as the others."""
        end = time.monotonic() + 60 * minutes
        while True:
            for kind in self._rng.sample(sorted(self._kinds), len(self._kinds)):
                self._watch(until=time.monotonic() + self._rng.uniform(0.5, 1.5) * every_s)
                if time.monotonic() >= end:
                    return
                self._inject(kind)

    def _inject(self, kind: str) -> None:
        before = self._run.look()
        assert before is not None
        fault = Fault(kind, time.monotonic())
        first, earlier = len(self._run.samples), self._run.samples[-_MEAN_OF:]
        fault.note = self._kinds[kind]()
        self._watch(until=time.monotonic() + 3 * _PAUSE_S)
        deadline = time.monotonic() + _PATIENCE_S
        while (self._later or self._since_pause() < 2 * _PAUSE_S) and time.monotonic() < deadline:
            self._watch(until=time.monotonic() + 1)
        after = [sample for sample in self._run.samples[first:] if sample.at > fault.at]
        assert after, self._run.console.read_text(encoding="utf-8")
        if self._since_pause() >= 2 * _PAUSE_S:
            fault.recovery_s = max(_recovered_at(fault.at, [before, *after], name) for name in _COUNTS) - fault.at
        fault.lost = {name: _drop([before, *after], name) for name in _COUNTS}
        fault.lost["rows"] = mean(s.missing for s in after[-_MEAN_OF:]) - mean(s.missing for s in earlier)
        self.faults.append(fault)
        lost = ", ".join(f"{value:.0f} {name}" for name, value in fault.lost.items())
        print(f"{kind:40} {fault.note:24} {fault.recovery_s:6.1f} s, lost {lost}", flush=True)

    def _watch(self, until: float) -> None:
        """Looks on, does what was put off, and resumes a driver that has ended."""
        while time.monotonic() < until:
            self._run.look()
            for item in [item for item in self._later if item[0] <= time.monotonic()]:
                self._later.remove(item)
                item[1]()
            if (status := self._run.driver.poll()) is not None:
                if status == 0:
                    raise Implausible("the run came to its end among the faults; nothing is kept. Give it more steps.")
                self._run.resume()
            time.sleep(0.2)

    def _since_pause(self) -> float:
        """Returns for how many seconds both counts have gone on without a pause."""
        now, samples = time.monotonic(), self._run.samples[-200:]
        return now - max(_recovered_at(samples[0].at, samples, name, now) for name in _COUNTS)

    def _after(self, seconds: float, action: Callable[[], object]) -> None:
        self._later.append((time.monotonic() + seconds, action))

    def _choose(self, *hosts: str) -> int:
        return self._rng.choice([pid for host in hosts for pid in sorted(self._cluster.pids(host))])

    def _kill(self, *hosts: str) -> str:
        pid = self._choose(*hosts)
        os.kill(pid, signal.SIGKILL)
        return f"process {pid}"

    def _pause(self, *hosts: str) -> str:
        pid = self._choose(*hosts)
        os.kill(pid, signal.SIGSTOP)

        def go_on() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

        self._after(15, go_on)
        return f"process {pid}"

    def _lose(self, role: str) -> str:
        self._cluster.kill(role, self._rng)
        seconds = self._rng.uniform(2, 15)
        self._after(seconds, lambda: self._cluster.add(role, 3))
        return f"another after {seconds:.0f} s"

    def _take(self, role: str) -> str:
        node = self._cluster.announce(role, 40)
        seconds = self._rng.uniform(2, 15)
        self._after(seconds, lambda: self._cluster.add(role, 3))
        self._after(40, lambda: os.kill(raylet_pid(node), signal.SIGKILL))
        return f"another after {seconds:.0f} s"

    def _restart_gcs(self) -> str:
        self._cluster.raylets.head_node.kill_gcs_server()
        self._after(10, self._cluster.raylets.head_node.start_gcs_server)
        return f"state in {self._cluster.state}"

    def _kill_driver(self) -> str:
        self._run.driver.kill()
        self._run.driver.wait()
        return ""

    def _fill_disk(self) -> str:
        ballast = self._run.folder.parent.parent / "ballast"
        with ballast.open("wb") as file, contextlib.suppress(OSError):
            while free := max(0, shutil.disk_usage(ballast.parent).free - 2**16):
                file.write(bytes(min(free, 2**20)))
                file.flush()
        self._after(20, ballast.unlink)
        return f"{ballast.stat().st_size // 2**20} MiB"


_COUNTS = ("env_steps", "learner_steps")


def _recovered_at(start: float, samples: list[Sample], name: str, now: float | None = None) -> float:
    """Returns when the last pause of a count since `start` ended; the time of its first advance if there was none."""
    advances = [
        after.at for before, after in itertools.pairwise(samples) if getattr(after, name) > getattr(before, name)
    ]
    times = [start, *advances, *([now] if now is not None else [])]
    ends = [after for before, after in itertools.pairwise(times) if after - before > _PAUSE_S]
    return max([*ends, *advances[:1]], default=times[-1])


def _drop(samples: list[Sample], name: str) -> float:
    """Returns by how much a count fell back in all."""
    values = [getattr(sample, name) for sample in samples]
    return float(sum(max(0.0, before - after) for before, after in itertools.pairwise(values)))


@contextlib.contextmanager
def _disk() -> Iterator[Path]:
    """Gives a folder for runs, on a small disk of its own where that can be mounted."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MIB}m", "tmpfs", folder]
        is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        try:
            yield Path(folder)
        finally:
            if is_mounted:
                subprocess.run(["umount", "-l", folder], check=False)


def summarise(faults: list[Fault]) -> list[dict[str, Any]]:
    """Returns one row per kind of fault."""
    rows = []
    for kind in sorted({fault.kind for fault in faults}):
        those = [fault for fault in faults if fault.kind == kind]
        recovered = [fault.recovery_s for fault in those if fault.recovery_s == fault.recovery_s]
        rows.append(
            {
                "fault": kind,
                "times": len(those),
                "not_recovered": len(those) - len(recovered),
                "median_s": round(median(recovered), 1) if recovered else None,
                "max_s": round(max(recovered), 1) if recovered else None,
                "rows_lost": round(sum(fault.lost["rows"] for fault in those)),
                "learner_steps_lost": round(sum(fault.lost["learner_steps"] for fault in those)),
                "env_steps_lost": round(sum(fault.lost["env_steps"] for fault in those)),
            }
        )
    return rows


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=positive(float), default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--every", type=positive(float), default=10.0, help="mean seconds from a recovery to the next fault"
    )
    parser.add_argument("--experiment", choices=sorted(_OF), default="muzero-cartpole")
    json_option(parser)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    told = [f"--minutes {options.minutes:g}", f"--seed {options.seed}", f"--experiment {options.experiment}"]
    command = " ".join(["python benchmarks/chaos.py", *told, *options.overrides])
    check_limits(
        options.experiment,
        [*_SETTINGS, *_OF[options.experiment], *options.overrides],
        seconds=60.0 * options.minutes,
        steps=_FIRST_STEP,
    )
    with _disk() as directory, tempfile.TemporaryDirectory() as state:
        cluster = Cluster(Path(state))
        run = Run(options.experiment, directory, Path(state) / "console.txt", cluster.address, options.overrides)
        try:
            while (first := run.look()) is None or first.learner_steps < _FIRST_STEP:
                if run.driver.poll() is not None:
                    raise Implausible("the run ended before the first fault; nothing is kept.")
                time.sleep(1)
            chaos = Chaos(cluster, run, random.Random(options.seed))
            chaos.rage(options.minutes, options.every)
        finally:
            run.stop()
            cluster.close()
            lines = run.console.read_text(encoding="utf-8").splitlines()
            print("\n".join(line for line in lines if "  step " not in line))
        last = run.look()
        assert last is not None
    rows = summarise(chaos.faults)
    tags = {"what": f"chaos, {options.experiment}", "state": cluster.state, "seed": options.seed}
    titles = f"{'fault':40} {'times':>5} {'not back':>8} {'median s':>8} {'max s':>8}  rows, updates, env steps lost"
    publish(options.json, ({**tags, **row} for row in rows), _line, header=titles, command=command)
    print(f"{len(chaos.faults)} faults, {run.resumes} resumes; {last.learner_steps} updates, {last.env_steps} steps")


def _line(row: dict[str, Any]) -> str:
    lost = ", ".join(f"{row[f'{name}_lost']:,}" for name in ("rows", "learner_steps", "env_steps"))
    median_s, max_s = (str(row[name]) for name in ("median_s", "max_s"))
    return f"{row['fault']:40} {row['times']:5} {row['not_recovered']:8} {median_s:>8} {max_s:>8}  {lost}"


if __name__ == "__main__":
    main()
