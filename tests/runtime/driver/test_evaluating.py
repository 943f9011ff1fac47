"""Evaluation beside training: which weights, which step, which checkpoint; and nothing of it is lost at the end.

The evaluated return is a function of the weights (`rlsys.testing.algorithm.recited`), so that any others are seen.
"""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.runs import MakeRecorder, MakeSpec, Run, started

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.errors import CheckpointError
from rlsys.metrics.rows import read_metrics
from rlsys.runs.progress import Progress
from rlsys.runs.spec import RunSpec
from rlsys.runs.workers import Worker, WorkerKind
from rlsys.runtime.driver import inline
from rlsys.runtime.driver.inline import InlineRun
from rlsys.runtime.driver.recorder import Recorder
from rlsys.testing.algorithm import RECITING, SLOWLY_RECITING, recited

EVALUATED = {"evaluate_every_learner_steps": 10, "evaluation_episodes": 2, "video": False}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the console says."""
    said: list[str] = []
    monkeypatch.setattr(Recorder, "message", lambda recorder, text: said.append(text))
    return said


def make(make_spec: MakeSpec, algorithm: Any = RECITING, **run: Any) -> RunSpec:
    return make_spec(run={**EVALUATED, **run}, algorithm=algorithm, env_id="rlsys/Paying-v0")


def evaluated(spec: RunSpec) -> dict[int, float]:
    """Learner step -> evaluated return, as metrics have it."""
    rows = [row for row in read_metrics(spec.folder) if "evaluation/return" in row]
    steps = [int(row["learner_step"]) for row in rows]
    assert len(set(steps)) == len(steps), steps
    return {int(row["learner_step"]): row["evaluation/return"] for row in rows}


def check(spec: RunSpec, progress: Progress, *, last: int) -> dict[int, float]:
    """Checks what holds of every run that has ended; returns step -> return."""
    found = evaluated(spec)
    assert found == {step: recited(step) for step in found}, "each return is that of the weights of its step"
    assert max(found) == last == progress.learner_steps
    assert all(step % 10 == 0 for step in found if step != last), "they are booked to the steps that were due"
    checkpoints = Checkpoints(spec.checkpoints, keep=spec.run.keep_checkpoints)
    best = checkpoints.best()
    assert best is not None and best in checkpoints.list()
    assert checkpoints.best_score() == progress.best_return == recited(best) == max(found.values())
    assert progress.unevaluated == set()
    assert not list((spec.folder / "media").glob("*.mp4")) if not spec.run.video else True
    return found


class TestInline:
    """In one process."""

    def run(self, spec: RunSpec, make_recorder: MakeRecorder, step: int | None = None) -> tuple[InlineRun, Progress]:
        progress = Progress(spec.run)
        checkpoints = Checkpoints(spec.checkpoints, keep=spec.run.keep_checkpoints)
        if step is not None:
            checkpoints.go_back(step)
            progress.load(checkpoints.open(step).read("progress"))
            progress.resumed(checkpoints)
        runner = InlineRun(spec, progress, make_recorder(spec, progress), checkpoints)
        runner.start(step)
        return runner, progress

    @pytest.mark.parametrize(
        ("budget", "last"),
        [({"training_steps": 60}, 60), ({"training_steps": 57}, 57), ({"target_return": 14_980.0}, 40)],
    )
    def test_each_due_step_and_the_last_are_evaluated_with_their_own_weights(
        self, budget: dict[str, float], last: int, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        spec = make(make_spec, **{"keep_checkpoints": 1, **budget})
        runner, progress = self.run(spec, make_recorder)
        runner.run()
        assert list(check(spec, progress, last=last)) == sorted({*range(10, last + 1, 10), last})

    def test_a_checkpoint_that_could_not_be_written_is_not_the_best(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begin = Checkpoints.begin

        def fails_at_forty(checkpoints: Checkpoints, learner_step: int, *, extra: bool = False) -> Any:
            if learner_step == 40:
                raise CheckpointError("the disk is full")
            return begin(checkpoints, learner_step, extra=extra)

        monkeypatch.setattr(Checkpoints, "begin", fails_at_forty)
        spec = make(make_spec, training_steps=70)
        runner, progress = self.run(spec, make_recorder)
        runner.run()
        assert evaluated(spec)[40] == recited(40), "it is evaluated all the same"
        checkpoints = Checkpoints(spec.checkpoints, keep=1)
        assert progress.best_return == checkpoints.best_score() == recited(50) < recited(40)
        assert checkpoints.best() == 50

    def test_the_last_checkpoint_that_could_not_be_written_is_an_error(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = make(make_spec, training_steps=45)
        runner, _ = self.run(spec, make_recorder)
        begin = Checkpoints.begin

        def fails_at_the_end(checkpoints: Checkpoints, learner_step: int, *, extra: bool = False) -> Any:
            if learner_step == 45:
                raise CheckpointError("the disk is full")
            return begin(checkpoints, learner_step, extra=extra)

        monkeypatch.setattr(Checkpoints, "begin", fails_at_the_end)
        with pytest.raises(CheckpointError, match="the last checkpoint, of step 45, could not be written"):
            runner.run()

    def test_an_interrupted_evaluation_leaves_no_film_and_the_next_session_makes_up_for_it(
        self, lines: list[str], make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inline, "INTERRUPTED_S", -1.0)
        spec = make(make_spec, training_steps=60, video=True)
        runner, _ = self.run(spec, make_recorder)
        on_turn = runner._on_turn

        def interrupted_in_the_evaluation_of_thirty() -> None:
            if runner._progress.learner_steps == 30:
                runner.interrupt()
            on_turn()

        monkeypatch.setattr(runner, "_on_turn", interrupted_in_the_evaluation_of_thirty)
        assert runner.run() == "interrupted; a checkpoint was written"
        assert list(evaluated(spec)) == [10, 20]
        assert "left to the session that goes on with the run: the evaluation of step 30" in lines
        films = sorted(path.name for path in (spec.folder / "media").glob("*.mp4"))
        assert films == ["evaluation-000000010.mp4", "evaluation-000000020.mp4"]
        runner, progress = self.run(spec, make_recorder, step=30)
        runner.run()
        assert list(check(spec, progress, last=60)) == [10, 20, 30, 40, 50, 60]

    def test_an_interrupt_ends_a_film_at_once_and_the_games_may_end(
        self, lines: list[str], make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inline, "INTERRUPTED_S", 1e6)
        spec = make(make_spec, training_steps=60, video=True)
        runner, _ = self.run(spec, make_recorder)
        monkeypatch.setattr(runner, "_on_turn", runner.interrupt)
        assert runner.run() == "interrupted; a checkpoint was written"
        assert list(evaluated(spec)) == [10]
        (line,) = [line for line in lines if line.startswith("evaluation at step 10: ")]
        assert "; the film is the first 1 of " in line and line.endswith(" pictures, interrupted")

    def test_scores_of_a_future_that_was_given_up_count_no_more(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        spec = make(make_spec, training_steps=60, keep_checkpoints=9)
        runner, _ = self.run(spec, make_recorder)
        runner.run()
        shorter = replace(spec, run=spec.run.model_copy(update={"training_steps": 35}))
        recorder = make_recorder(shorter, Progress(shorter.run))
        recorder.rewind(30)
        runner, progress = self.run(shorter, make_recorder, step=30)
        assert progress.best_return == recited(30)
        runner.run()
        assert progress.best_return == recited(35) == Checkpoints(spec.checkpoints, keep=9).best_score()


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
class TestOnRay:
    """As a program."""

    def test_a_busy_evaluator_gets_the_newest_due_step_a_killed_one_the_same_and_the_run_waits_for_the_last(
        self, lines: list[str], make_spec: MakeSpec, make_recorder: MakeRecorder, tmp_path: Path
    ) -> None:
        spec = make(make_spec, SLOWLY_RECITING, training_steps=125, keep_checkpoints=1, video=True)
        with started(spec, make_recorder) as run:
            kill_evaluator(run)
            run.supervisor.run()
            assert run.supervisor.restarts(Worker(WorkerKind.EVALUATOR, 0)) == 1
        found = check(spec, run.progress, last=125)
        assert 10 in found, "it evaluates the same weights again"
        films = sorted(path.name for path in (spec.folder / "media").glob("*.mp4"))
        assert films == [f"evaluation-{step:09d}.mp4" for step in found]
        assert any(
            "evaluations left out" in line and "Raise run.evaluate_every_learner_steps" in line for line in lines
        )

    def test_what_an_interrupted_run_leaves_is_evaluated_from_its_checkpoint_when_it_goes_on(
        self, lines: list[str], make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rlsys.runtime.driver.supervisor.INTERRUPTED_S", 0.0)
        spec = make(make_spec, SLOWLY_RECITING, training_steps=10_000)
        with started(spec, make_recorder) as run:
            run.work_until(lambda: run.supervisor._calls.busy("evaluator"))
            run.supervisor.interrupt()
            run.supervisor.run()
        assert any(line.startswith("left to the session that goes on with the run: ") for line in lines)
        step = run.checkpoints.latest()
        assert step is not None and run.progress.unevaluated
        ending = replace(spec, run=spec.run.model_copy(update={"training_steps": step + 5}))
        with started(ending, make_recorder, step) as resumed:
            left = set(resumed.progress.unevaluated)
            resumed.supervisor.run()
        assert left and left <= set(check(ending, resumed.progress, last=step + 5))

    def test_an_evaluated_step_has_a_checkpoint_though_another_was_being_written(
        self, make_spec: MakeSpec, make_recorder: MakeRecorder
    ) -> None:
        spec = make(make_spec, training_steps=60, checkpoint_every_learner_steps=9, keep_checkpoints=20)
        with started(spec, make_recorder) as run:
            run.supervisor.run()
        assert set(range(10, 61, 10)) <= set(run.checkpoints.list())
        check(spec, run.progress, last=60)


def kill_evaluator(run: Run) -> None:
    """Kills the evaluator's process while it evaluates."""
    import ray

    assert run.program.evaluator is not None
    pid = ray.get(run.program.evaluator.pid.remote())
    run.work_until(lambda: run.supervisor._calls.busy("evaluator"))
    os.kill(pid, signal.SIGKILL)
