"""Runs of the checking algorithm on the counting environment, by hand: their spec, their recorder, their supervisor.

And folders of runs as whoever wrote them leaves them.
"""

import io
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rich.console
from tensorboardX import SummaryWriter

import rlsys.testing.environments  # noqa: F401 (registers rlsys/Counting-v0)
from rlsys.api import Algorithm
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.config import EnvConfig, Experiment, Loaded, RunConfig, RuntimeConfig
from rlsys.envs.make import env_spec
from rlsys.metrics.console import Console
from rlsys.metrics.rows import read_metrics
from rlsys.metrics.tracking import Tracker
from rlsys.runs.heartbeat import Heartbeat
from rlsys.runs.progress import Progress
from rlsys.runs.spec import RunSpec
from rlsys.runs.workers import Worker, WorkerKind
from rlsys.runtime.cluster.prometheus import Prometheus
from rlsys.runtime.driver.inline import InlineRun
from rlsys.runtime.driver.recorder import Recorder
from rlsys.testing.algorithm import CHECKING, CheckingConfig

MakeSpec = Callable[..., RunSpec]
MakeRecorder = Callable[[RunSpec, Progress], Recorder]
PATIENCE_S = 60.0
ROW = {"learner_step": 1, "env_steps": 1, "time_s": 1.0, "episodes/return": 1.0}


def untrained_run(directory: Path) -> Path:
    """Makes the folder of a run that nobody has trained: runs/checking/here."""
    folder = directory / "runs" / "checking" / "here"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("# rlsys launch checking\n")
    return folder


def run_with_metrics(folder: Path, rows: Sequence[Mapping[str, Any]] = (ROW,)) -> None:
    """Writes the metrics.jsonl of a run of ours."""
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def suite_run(folder: Path, env_id: str | None, metrics: Mapping[str, Any], *, final: str = "test") -> None:
    """Writes a run: its configuration, and a row with metrics."""
    run_with_metrics(folder, [{**ROW, "env_steps": 100_000, **metrics}])
    env = {} if env_id is None else {"id": env_id}
    sets = [{"name": final, "episodes": 100}] if final else []
    (folder / "config.yaml").write_text(json.dumps({"env": env, "run": {"final_evaluation": sets}}))


def ended(folder: Path, *, is_complete: bool, reason: str = "interrupted") -> None:
    """Writes the last sign of life of a run."""
    sign = {"state": "done", "reason": reason, "host": "here", "pid": 1, "started": 1, "seen": 1.0, "status": None}
    (folder / "status.json").write_text(json.dumps({**sign, "is_complete": is_complete}))


def leave_undone(folder: Path, steps_before: int, steps_now: int) -> None:
    """Makes a run that was complete one that was to do more, and has died."""
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace(f"training_steps: {steps_before}", f"training_steps: {steps_now}"))
    sign = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**sign, "state": "training", "is_complete": False, "started": 1}))


def steps(folder: Path) -> list[int]:
    """Returns the learner steps of a run's rows."""
    return [int(row["learner_step"]) for row in read_metrics(folder)]


def method_runs(folder: Path, returns: Mapping[str, list[float]]) -> None:
    """Writes a run for each return of each game."""
    for game, values in returns.items():
        for index, value in enumerate(values):
            suite_run(folder / f"{game}-{index}", f"{game}NoFrameskip-v4", {"final/test": value})


def planet_run(folder: Path, scores: Sequence[float] = (1.0, 2.0, 3.0)) -> None:
    """Writes what PlaNet's trainer does, here every 50 steps: losses of both parts, and scores of evaluations."""
    losses = "graph/summaries/general/zero_step_losses"
    with SummaryWriter(str(folder / "train")) as train, SummaryWriter(str(folder / "test")) as test:
        for index, score in enumerate(scores):
            step = 50 * (index + 1)
            for writer, image, reward in ((train, 11.0, 1.0), (test, 21.0, 5.0)):
                writer.add_scalar(f"{losses}/image", image + index, step)
                writer.add_scalar(f"{losses}/reward", reward + index, step)
            train.add_scalar("graph/summaries/optimizer/gradient_norm", 0.5, step)
            test.add_scalar("trainer/graph/phase_test/cond_2/trainer/test/score", score, step)
    (folder / "config.yaml").write_text("cem_amount: 1000\n")


def checking_spec(
    folder: Path,
    section: dict[str, Any] | None = None,
    runtime: dict[str, Any] | None = None,
    run: dict[str, Any] | None = None,
    *,
    algorithm: Algorithm = CHECKING,
    env_id: str = "rlsys/Counting-v0",
    max_episode_steps: int | None = None,
) -> RunSpec:
    """Returns the spec of a run of the checking algorithm, with overrides of its sections."""
    workers = {
        "rollout_workers": 1,
        "environments_per_worker": 4,
        "rollout_cpus": 0,
        "learner_device": "cpu",
        "learner_threads": 1,
        "tick_s": 0.1,
        "send_weights_frequency": 5,
        "weight_sync_frequency": 20,
    }
    budget = {
        "training_steps": 60,
        "evaluate_every_learner_steps": 0,
        "checkpoint_every_learner_steps": 20,
        "log_every_s": 0.2,
        "wandb": "disabled",
        "tensorboard": False,
    }
    env = EnvConfig(id=env_id, max_episode_steps=max_episode_steps)
    return RunSpec(
        name="checking",
        algorithm=algorithm,
        section=CheckingConfig(**(section or {})),
        env=env,
        runtime=RuntimeConfig(**{**workers, **(runtime or {})}),
        run=RunConfig(**{**budget, **(run or {})}),
        env_spec=env_spec(env),
        folder=folder,
    )


def recorder_of(
    spec: RunSpec, progress: Progress, heartbeat: Heartbeat | None = None, *, on_ray: bool = False
) -> Recorder:
    """Returns a recorder that writes metrics.jsonl and no terminal."""
    spec.folder.mkdir(parents=True, exist_ok=True)
    (spec.folder / "config.yaml").touch()
    experiment = Experiment(algorithm="checking", env=spec.env, runtime=spec.runtime, run=spec.run)
    loaded = Loaded("checking", "test", experiment, {})
    output = rich.console.Console(file=io.StringIO(), width=200)
    console = Console(loaded, spec.folder, terminal=False, output=output)
    is_resumed = (spec.folder / "metrics.jsonl").exists()
    exporter = (lambda: Prometheus("checking", "test")) if on_ray else None
    tracker = Tracker(spec.folder, loaded, "test", resume=is_resumed, exporter=exporter)
    return Recorder(spec, progress, tracker, console, heartbeat)


class Run:
    """A started run that a test drives by hand."""

    def __init__(self, spec: RunSpec, make_recorder: MakeRecorder) -> None:
        from rlsys.runtime.driver.program import Program
        from rlsys.runtime.driver.supervisor import Supervisor

        self.spec = spec
        self.progress = Progress(spec.run)
        self.checkpoints = Checkpoints(spec.checkpoints, keep=spec.run.keep_checkpoints)
        self.program = Program(spec)
        self.recorder = make_recorder(spec, self.progress)
        self.supervisor = Supervisor(spec, self.program, self.progress, self.recorder, self.checkpoints)

    def survives(self, victim: str) -> None:
        """Kills a process of a kind, and waits until both collecting and learning have gone on."""
        os.kill(self.pid_of(victim), signal.SIGKILL)
        before, env_steps = self.progress.learner_steps, self.progress.env_steps
        if victim in ("rollout", "learner"):  # which the supervisor starts again; others Ray does
            self.work_until(lambda: self.supervisor.restarts(Worker(WorkerKind(victim), 0)) == 1)
            before = min(before, self.progress.learner_steps)
        self.work_until(lambda: self.progress.learner_steps > before + 20 and self.progress.env_steps > env_steps + 100)

    def pid_of(self, kind: str) -> int:
        import ray

        handle = {
            "rollout": list(self.program.rollouts.values())[:1],
            "learner": self.program.learners[:1],
            "shard": self.program.shards[:1],
            "inference": self.program.inference[:1],
            "reanalyse": self.program.reanalysers[:1],
        }[kind][0]
        return int(ray.get(handle.pid.remote(), timeout=PATIENCE_S))

    def work_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "the run did not get there"
            self.supervisor.work()


@contextmanager
def started(spec: RunSpec, make_recorder: MakeRecorder, step: int | None = None) -> Iterator[Run]:
    run = Run(spec, make_recorder)
    if step is not None:
        run.progress.load(run.checkpoints.open(step).read("progress"))
        run.progress.resumed(run.checkpoints)
    try:
        run.supervisor.start(step)
        yield run
    finally:
        run.program.close()


def run_inline(spec: RunSpec, make_recorder: MakeRecorder, step: int | None = None) -> Progress:
    """Runs in this process to the end, from a checkpoint if a step is given."""
    progress = Progress(spec.run)
    checkpoints = Checkpoints(spec.checkpoints, keep=spec.run.keep_checkpoints)
    if step is not None:
        progress.load(checkpoints.open(step).read("progress"))
    runner = InlineRun(spec, progress, make_recorder(spec, progress), checkpoints)
    runner.start(step)
    runner.run()
    return progress


def rows_by_step(spec: RunSpec) -> dict[int, dict[str, Any]]:
    """The rows of metrics.jsonl by learner step, without what depends on the clock."""
    timed = ("throughput/", "workers/", "system/", "learner/idle_share", "time_s")
    return {
        int(row["learner_step"]): {name: value for name, value in row.items() if not name.startswith(timed)}
        for row in read_metrics(spec.folder)
    }
