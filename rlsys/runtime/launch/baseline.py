"""Runs a baseline: another system trains, and what it reports becomes our metrics, view and report."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlsys import registry
from rlsys.baseline import Baseline, BaselineContext, BaselineReport, BaselineRun
from rlsys.config import Loaded
from rlsys.envs import make
from rlsys.envs.vector import GameResult
from rlsys.errors import ConfigError
from rlsys.metrics.console import Console
from rlsys.metrics.report import write_report
from rlsys.metrics.tracking import Tracker
from rlsys.runs import folder as run_folder
from rlsys.runs.control_server import ControlServer
from rlsys.runs.heartbeat import Heartbeat
from rlsys.runs.progress import Progress
from rlsys.runtime.cluster.prometheus import Prometheus
from rlsys.signals import stops_on_signals
from rlsys.types import EnvSpec

_PERIOD_S = 1.0
"""Seconds between two looks at budgets and signals."""


def launch_baseline(loaded: Loaded, baseline: Baseline, *, inline: bool) -> int:
    """Runs a baseline's experiment until a budget is spent.

    Returns:
      The exit status: 0 when complete, 130 when interrupted.

    Raises:
      RlsysError: what the user can resolve; nothing was overwritten.
    """
    experiment = loaded.experiment
    _check(loaded, inline=inline)
    context = BaselineContext(
        config=experiment.section,
        env=experiment.env,
        env_spec=make.env_spec(experiment.env),
        runtime=experiment.runtime,
        seed=experiment.run.seed,
        num_cpus=os.cpu_count() or 1,
        period_s=min(_PERIOD_S, experiment.run.log_every_s),
    )
    registry.check_spaces(baseline, context.env_spec)
    if experiment.runtime.address is None:
        baseline.check(context)  # refuse before anything is started
    import ray

    from rlsys.runtime.cluster.cluster import connect

    num_cpus, num_gpus = connect(experiment.runtime)
    context = dataclasses.replace(context, num_cpus=num_cpus, num_gpus=num_gpus)
    try:
        baseline.check(context)
        folder = run_folder.create(loaded)
        return _train(loaded, baseline, context, folder)
    finally:
        if experiment.runtime.address is None:
            ray.shutdown()


def _train(loaded: Loaded, baseline: Baseline, context: BaselineContext, folder: Path) -> int:
    progress = Progress(loaded.experiment.run)
    with (
        Heartbeat(folder) as heartbeat,
        Console(loaded, folder) as console,
        contextlib.closing(
            Tracker(
                folder,
                loaded,
                folder.name,
                resume=False,
                exporter=lambda: Prometheus(loaded.name, folder.name),
                warn=console.message,
            )
        ) as tracker,
    ):
        driver = BaselineDriver(progress, context.env_spec, tracker, console, heartbeat)
        control_server = ControlServer(folder, scaled=lambda rollout_workers: None)
        with stops_on_signals() as signals, _started(baseline, context) as run:
            signals.tell(driver.stop)
            heartbeat.on_move(lambda moved: driver.stop(f"its folder was moved to {moved}"))
            progress.begin()
            reason = driver.run(run, control_server)
        tracker.close()
        write_report(heartbeat.folder)
        heartbeat.end("done", reason, is_complete=bool(progress.finished()) and not signals.received)
        console.finish(f"{reason}. Its metrics and report: {heartbeat.folder}")
    return 130 if signals.received else 0


@contextlib.contextmanager
def _started(baseline: Baseline, context: BaselineContext) -> Iterator[BaselineRun]:
    run = baseline.make_run(context)
    try:
        yield run
    finally:
        run.close()


def _check(loaded: Loaded, *, inline: bool) -> None:
    """Refuses what only this system's own algorithms can do."""
    run, name = loaded.experiment.run, loaded.experiment.algorithm
    if inline:
        raise ConfigError(f"--inline with algorithm = {name}; a baseline starts processes of its own. Leave it out.")
    if run.target_return is not None:
        raise ConfigError(
            f"run.target_return = {run.target_return:g} with algorithm = {name}; a baseline is not evaluated. Set "
            "run.env_steps, run.training_steps or run.minutes instead."
        )
    if run.final_evaluation:
        raise ConfigError(f"run.final_evaluation with algorithm = {name}; a baseline is not evaluated. Leave it out.")
    if run.init_from is not None:
        raise ConfigError(
            f"run.init_from = {run.init_from} with algorithm = {name}; a baseline has networks of its own, which begin "
            "untrained. Leave it out."
        )
    if run.log_every_learner_steps:
        raise ConfigError(
            f"run.log_every_learner_steps = {run.log_every_learner_steps} with algorithm = {name}; a baseline reports "
            "by the clock. Set run.log_every_s instead."
        )


@dataclass
class _Interval:
    """What was done since the last row."""

    started: float
    env_steps: int = 0
    learner_steps: int = 0


class BaselineDriver:
    """Works a baseline's run off, and turns its reports into rows; the names are those of `Recorder`."""

    def __init__(
        self,
        progress: Progress,
        env_spec: EnvSpec,
        tracker: Tracker,
        console: Console,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._heartbeat = heartbeat
        self._progress = progress
        self._env_spec = env_spec
        self._tracker = tracker
        self._console = console
        self._stopped = ""
        self._returns: list[float] = []
        self._sums: dict[str, list[float]] = {}
        self._interval = _Interval(time.monotonic())

    def stop(self, reason: str = "interrupted") -> None:
        """Asks `run` to end after the portion that it works at."""
        self._stopped = reason

    def scale(self, rollout_workers: int) -> str:
        """Refuses: the other system's workers are its own."""
        raise ConfigError(
            f"rollout_workers = {rollout_workers} of a baseline; its workers are its own. Launch it again with "
            f"runtime.rollout_workers={rollout_workers}."
        )

    def run(self, run: BaselineRun, control_server: ControlServer | None = None) -> str:
        """Works until a budget is spent, answering requests; returns why it ended."""
        self._interval = _Interval(time.monotonic())
        reason = self._stopped
        while not reason:
            self._count(run.work())
            if control_server is not None:
                control_server.serve(self)
            if self._heartbeat is not None:
                self._heartbeat.beat()
            if time.monotonic() - self._interval.started >= self._progress.run.log_every_s:
                self._write()
            reason = self._stopped or self._progress.finished()
        if self._interval.env_steps or self._interval.learner_steps:
            self._write()
        return reason

    def _count(self, report: BaselineReport) -> None:
        frames_per_step = self._env_spec.frames_per_step
        games = [
            GameResult(0, episode_return, length, round(length * frames_per_step))
            for episode_return, length in zip(report.returns, report.lengths, strict=True)
        ]
        self._progress.collected(report.env_steps, frames_per_step, games)
        self._progress.learner_steps += report.learner_steps
        self._returns = [*self._returns, *report.returns][-200:]
        self._interval.env_steps += report.env_steps
        self._interval.learner_steps += report.learner_steps
        for name, value in report.metrics.items():
            self._sums.setdefault(name, []).append(value)

    def _write(self) -> None:
        progress, interval = self._progress, self._interval
        row = progress.row(
            seconds=max(1e-9, time.monotonic() - interval.started),
            env_steps=interval.env_steps,
            updates=interval.learner_steps,
            frames_per_step=self._env_spec.frames_per_step,
        )
        row |= {name: sum(values) / len(values) for name, values in self._sums.items()}
        self._tracker.log(row, learner_step=progress.learner_steps, env_steps=progress.env_steps)
        status = progress.status(row, self._returns)
        self._console.update(status)
        if self._heartbeat is not None:
            self._heartbeat.update(status)
        self._sums = {}
        self._interval = _Interval(time.monotonic())
