"""`rlsys launch`: from a merged experiment to a finished run."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from rlsys import quoting, registry
from rlsys.api import Algorithm
from rlsys.baseline import Baseline
from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.checkpoints.locations import checkpoints_of
from rlsys.config import Loaded, override
from rlsys.errors import CheckpointError, ConfigError
from rlsys.evaluation.evaluator import EvaluationCut, clear_drafts
from rlsys.evaluation.final import evaluate_finally, unplayed
from rlsys.exports.find import find_run
from rlsys.exports.pretrained import settle
from rlsys.files.yaml_tree import split_override
from rlsys.metrics.console import Console
from rlsys.metrics.report import write_report
from rlsys.metrics.rows import METRICS_FILE, log_warning
from rlsys.metrics.tracking import Tracker
from rlsys.process import prepare, use_threads
from rlsys.runs import folder as run_folder
from rlsys.runs.continuation import check_continues
from rlsys.runs.control_server import ControlServer, ending
from rlsys.runs.heartbeat import Heartbeat
from rlsys.runs.progress import Progress
from rlsys.runs.resolve import resolve
from rlsys.runs.resume import begin, check_begun, checkpoint_to_resume, with_replay
from rlsys.runs.spec import RunSpec
from rlsys.runtime.cluster.capacity import check_memory
from rlsys.runtime.cluster.machine_types import of_cluster, this_machine
from rlsys.runtime.cluster.prometheus import Prometheus
from rlsys.runtime.driver.inline import InlineRun
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.launch.baseline import launch_baseline
from rlsys.signals import Signals, stops_on_signals
from rlsys.terminal import outlast_terminal


class Runner(Protocol):
    """What leads a run: the supervisor of a program, or one process."""

    def start(self, step: int | None) -> None:
        """Builds the workers, from a checkpoint if a step is given."""

    def run(self, control_server: ControlServer | None = None) -> str:
        """Works until the run is complete, answering requests; returns why it ended."""

    def stop(self, reason: str) -> None:
        """Asks the run to end with a checkpoint, and with an evaluation of its last weights if it is evaluated."""

    def interrupt(self) -> None:
        """Asks the run to end soon with a checkpoint; what that leaves unevaluated is left to the next session."""

    def scale(self, rollout_workers: int) -> str:
        """Goes on with another number of rollout workers; says what it did."""


def launch(
    loaded: Loaded | None,
    *,
    inline: bool,
    resume: str | None,
    overrides: Sequence[str],
    checkpoint: str = "latest",
    anew: bool = False,
) -> int:
    """Runs an experiment, or goes on with a run.

    Args:
      loaded: the merged experiment; not needed to resume.
      inline: run in this one process.
      resume: the run to go on with; it keeps its configuration except for `overrides`.
      overrides: KEY=VALUE, already in `loaded`; applied to the saved configuration when resuming.
      checkpoint: of the run to go on with: a learner step, best or latest; later ones are given up.
      anew: begin the run to go on with anew, in its folder, if it ended before its first checkpoint.

    Returns:
      The exit status: 0 when complete, 130 when interrupted.

    Raises:
      RlsysError: what the user can resolve; nothing was overwritten.
    """
    outlast_terminal()
    prepare(exact=inline)
    with contextlib.ExitStack() as led:
        return _launch(
            loaded, inline=inline, resume=resume, overrides=overrides, checkpoint=checkpoint, anew=anew, led=led
        )


def _launch(
    loaded: Loaded | None,
    *,
    inline: bool,
    resume: str | None,
    overrides: Sequence[str],
    checkpoint: str,
    anew: bool,
    led: contextlib.ExitStack,
) -> int:
    """Launches; `led` is closed when the run is led no more, however that ends."""
    step, folder, heartbeat, saved = None, None, None, None
    if resume is not None:
        folder = find_run(resume)
        # before anything is read that its other leader may be replacing
        heartbeat = led.enter_context(contextlib.closing(Heartbeat(folder, say=log_warning)))
        saved, loaded = _saved(folder, overrides, f"--resume {resume}")
        if anew and Checkpoints(checkpoints_of(loaded.experiment.run, folder), keep=1).latest() is None:
            saved = None
        else:
            step, inline = _checkpoint(saved, loaded, folder, checkpoint, inline=inline)
    elif loaded is None:
        raise ConfigError("nothing to launch: give an experiment, or --resume RUN. 'rlsys list' shows all experiments.")
    found = registry.get(loaded.experiment.algorithm)
    if isinstance(found, Baseline):
        return launch_baseline(loaded, found, inline=inline)
    progress = Progress(loaded.experiment.run)
    if saved is not None and folder is not None and step is not None and heartbeat is not None:
        _go_on(loaded, folder, step, progress, is_changed=bool(overrides))
        if complete := _complete(loaded, folder, progress):
            heartbeat.complete(progress.finished())
            Console(loaded, folder).finish(complete)
            return 0
    else:
        loaded = settle(loaded)
    _check_storage(loaded)
    spec = _spec(loaded, found, inline)
    if saved is not None and step is not None:
        spec = with_replay(spec, progress.replay_form, step)
    spec = dataclasses.replace(spec, folder=folder or run_folder.create(loaded, inline=inline))
    heartbeat = heartbeat or led.enter_context(contextlib.closing(Heartbeat(spec.folder)))
    return _train(loaded, saved, spec, progress, heartbeat, step, inline=inline)


def _train(
    loaded: Loaded,
    saved: Loaded | None,
    spec: RunSpec,
    progress: Progress,
    heartbeat: Heartbeat,
    step: int | None,
    *,
    inline: bool,
) -> int:
    """Leads a run, from a checkpoint if a step is given, and all that belongs to its end; returns the exit status."""
    progress.replay_form = spec.replay_form
    has_rows = (spec.folder / METRICS_FILE).exists()  # also of a run that begins anew
    checkpoints = Checkpoints(spec.checkpoints, keep=spec.run.keep_checkpoints)
    checkpoints.check_writable()
    with (
        stops_on_signals() as signals,
        heartbeat,
        Console(loaded, spec.folder) as console,
        contextlib.closing(
            Tracker(
                spec.folder,
                loaded,
                spec.folder.name,
                resume=step is not None or has_rows,
                exporter=None if inline else lambda: Prometheus(loaded.name, spec.folder.name),
                warn=console.message,
            )
        ) as tracker,
    ):
        if step is not None or has_rows:
            tracker.rewind(-1 if step is None else step)
        begin(spec, saved, step, checkpoints, console.message)
        recorder = Recorder(spec, progress, tracker, console, heartbeat)
        if step is not None:
            with checkpoints.open(step, parts=["recorder"]).loading("recorder") as averages:
                recorder.load(averages)
        if spec.num_rollout_workers != loaded.experiment.runtime.rollout_workers != "auto":
            console.message(
                f"runtime.rollout_workers = {loaded.experiment.runtime.rollout_workers}: {spec.num_rollout_workers} of "
                f"them share the {spec.num_environments} environments of the {spec.algorithm.name} section equally"
            )
        control_server = ControlServer(
            spec.folder, scaled=lambda workers: run_folder.note_workers(spec.folder, workers)
        )
        clear_drafts(spec.folder)
        with _runner(spec, inline, progress, recorder, checkpoints) as runner:
            signals.tell(runner.interrupt)
            heartbeat.on_move(lambda moved: _follow(moved, spec, checkpoints, runner))
            runner.start(step)
            progress.begin()
            reason = runner.run(control_server)
            heartbeat.end("ending", reason)
            recorder.finish()
        clear_drafts(heartbeat.folder)
        missing: Sequence[str] = ()
        if spec.run.final_evaluation and not signals.received and heartbeat.folder == spec.folder:
            console.message(f"{reason}; the final evaluation begins")
            last = _LastGames(heartbeat, signals, control_server)
            if missing := evaluate_finally(spec, checkpoints, progress, tracker, last.on_turn):
                reason = f"{reason}; the final evaluation was interrupted: {', '.join(missing)} missing"
        tracker.close()
        write_report(heartbeat.folder, console.message if step is None else lambda text: None)  # or it was said before
        heartbeat.end("done", reason, is_complete=bool(progress.finished()) and not (missing or signals.received))
        console.finish(f"{reason}. Continue with: {quoting.resume(heartbeat.folder)}")
    return 130 if signals.received else 0


def _go_on(loaded: Loaded, folder: Path, step: int, progress: Progress, *, is_changed: bool) -> None:
    """Takes over the counters of a checkpoint, and what is known of scores by now."""
    checkpoints = Checkpoints(checkpoints_of(loaded.experiment.run, folder), keep=1)
    checkpoints.go_back(step)
    with checkpoints.open(step, parts=["progress"]).loading("progress") as saved:
        progress.load(saved)
    if is_changed:
        progress.steps_left = None  # there may be more phases now
    progress.resumed(checkpoints)


def _complete(loaded: Loaded, folder: Path, progress: Progress) -> str:
    """Returns what to say of a run that has nothing left to do, not even an evaluation; empty if it has."""
    run, step, reason = loaded.experiment.run, progress.learner_steps, progress.finished()
    is_scored = not progress.is_evaluated or progress.evaluation_step == step
    if not reason or not is_scored or progress.unevaluated or unplayed(folder, run.final_evaluation, step):
        return ""
    return f"{loaded.name}/{folder.name} is complete: {reason}. {progress.to_go_on()}."


class _LastGames:
    """A run whose final evaluation is played: it is there, and can be ended by a signal or on request."""

    def __init__(self, heartbeat: Heartbeat, signals: Signals, control_server: ControlServer) -> None:
        self._heartbeat = heartbeat
        self._signals = signals
        self._control_server = control_server
        self._is_stopped = False

    def on_turn(self) -> None:
        """Gives a sign of life, listens, and ends the evaluation if that is asked for."""
        self._heartbeat.beat()
        self._control_server.serve(self)
        if self._is_stopped or self._signals.received:
            raise EvaluationCut

    def stop(self, reason: str) -> None:
        """Ends the final evaluation; the checkpoint is there."""
        self._is_stopped = True

    def scale(self, rollout_workers: int) -> str:
        """Refuses: nobody collects any more."""
        raise ending("its final evaluation is played", rollout_workers)


def _follow(folder: Path, spec: RunSpec, checkpoints: Checkpoints, runner: Runner) -> None:
    """Ends a run whose folder was moved while it trained, with a checkpoint there: workers know the old place only."""
    checkpoints.move_to(checkpoints_of(spec.run, folder))
    runner.stop(f"its folder was moved to {folder}; a checkpoint was written there")


@contextlib.contextmanager
def _runner(
    spec: RunSpec, inline: bool, progress: Progress, recorder: Recorder, checkpoints: Checkpoints
) -> Iterator[Runner]:
    if inline:
        yield InlineRun(spec, progress, recorder, checkpoints)
        return
    import ray

    from rlsys.runtime.driver.program import Program
    from rlsys.runtime.driver.supervisor import Supervisor

    program = Program(spec)
    try:
        yield Supervisor(spec, program, progress, recorder, checkpoints)
    finally:
        program.close()
        if spec.runtime.address is None:
            ray.shutdown()


def _spec(loaded: Loaded, algorithm: Algorithm, inline: bool) -> RunSpec:
    """Settles the run, without its folder; joins the cluster first, whose size it depends on."""
    if inline:
        spec = resolve(loaded, algorithm, num_cpus=1, num_gpus=0)
        check_memory(spec, [this_machine()])
        use_threads(max(spec.runtime.rollout_threads, spec.learner_threads))
        return spec
    resolve(loaded, algorithm, num_cpus=os.cpu_count() or 1, num_gpus=None)  # refuse before anything is started
    from rlsys.runtime.cluster.cluster import connect

    num_cpus, num_gpus = connect(loaded.experiment.runtime)
    spec = resolve(loaded, algorithm, num_cpus=num_cpus, num_gpus=num_gpus)
    check_memory(spec, of_cluster())
    return spec


def _saved(folder: Path, overrides: Sequence[str], wanted: str) -> tuple[Loaded, Loaded]:
    """Returns the experiment of a run that is resumed, as it was saved and with what is given now."""
    saved = run_folder.load(folder)
    registry.get_algorithm(saved.experiment.algorithm, wanted)
    _check_algorithm(saved, overrides)
    loaded = override(saved, overrides)
    _check_same(saved, loaded)
    check_begun(saved, loaded)
    return saved, loaded


def _checkpoint(saved: Loaded, loaded: Loaded, folder: Path, which: str, *, inline: bool) -> tuple[int, bool]:
    """Returns the step of the checkpoint to go on from, which fits, and whether the run does so in one process."""
    opened = checkpoint_to_resume(Checkpoints(checkpoints_of(loaded.experiment.run, folder), keep=1), which)
    inline = inline or "inline" in opened.parts  # as it began
    prepare(exact=inline)
    algorithm = registry.get_algorithm(loaded.experiment.algorithm, "--resume")
    check_continues(saved, loaded, algorithm, opened, inline=inline)
    return opened.learner_step, inline


def _check_algorithm(saved: Loaded, overrides: Sequence[str]) -> None:
    """Refuses to resume with another algorithm, whose section the run does not even have."""
    before = saved.experiment.algorithm
    if (now := dict(map(split_override, overrides)).get("algorithm", before)) != before:
        raise _other("algorithm", before, now)


def _check_same(saved: Loaded, loaded: Loaded) -> None:
    """Refuses to resume with another environment than the checkpoint was made with."""
    for name, before in saved.experiment.env:
        if (now := getattr(loaded.experiment.env, name)) != before:
            raise _other(f"env.{name}", before, now)


def _other(name: str, before: object, now: object) -> CheckpointError:
    return CheckpointError(
        f"{name} = {now} is not the {before} that the checkpoint was made with; a resumed run keeps its algorithm "
        "and its environment. Leave the override out, or launch a new run."
    )


def _check_storage(loaded: Loaded) -> None:
    """Refuses to train where no checkpoint could be written."""
    if loaded.experiment.run.checkpoints is not None:
        Checkpoints(loaded.experiment.run.checkpoints, keep=1).check_writable()
