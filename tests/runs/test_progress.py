import math
from pathlib import Path

import pytest

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.config import RunConfig
from rlsys.envs.vector import GameResult
from rlsys.runs.progress import Progress


def test_next_stop_is_the_nearest_checkpoint_evaluation_or_end() -> None:
    run = RunConfig(training_steps=250, checkpoint_every_learner_steps=100, evaluate_every_learner_steps=60)
    progress = Progress(run)
    stops = []
    while not progress.finished():
        progress.learner_steps = progress.next_stop()
        due = progress.take_due()
        stops.append((progress.learner_steps, due.checkpoint, due.evaluation))
    assert stops == [
        (60, True, True),
        (100, True, False),
        (120, True, True),
        (180, True, True),
        (200, True, False),
        (240, True, True),
        (250, False, False),
    ]


def test_decisions_bring_evaluations_and_extra_checkpoints_once_each() -> None:
    run = RunConfig(
        checkpoint_every_learner_steps=0,
        evaluate_every_learner_steps=0,
        evaluate_every_env_steps=100,
        save_extra_checkpoint=(150, 420),
    )
    progress = Progress(run)
    seen = []
    for env_steps in (40, 99, 130, 149, 170, 390, 430, 430):
        progress.env_steps = env_steps
        progress.learner_steps += 1
        again = Progress(run)
        again.load(progress.save())
        due = progress.take_due()
        assert again.take_due() == due
        seen.append((due.evaluation, due.checkpoint, due.extra))
    no, evaluated, extra = (False,) * 3, (True, True, False), (False, True, True)
    assert seen == [no, no, evaluated, no, extra, evaluated, (True, True, True), no]


def test_returns_are_averaged_over_the_last_hundred_games() -> None:
    progress = Progress(RunConfig())
    assert math.isnan(progress.mean_return)
    games = [
        GameResult(environment=0, episode_return=float(n), length_env_steps=n, length_frames=n) for n in range(150)
    ]
    progress.collected(64, 4, games)
    assert (progress.env_steps, progress.frames, progress.episodes) == (64, 256, 150)
    assert progress.mean_return == sum(range(50, 150)) / 100


@pytest.mark.parametrize(
    ("budget", "counter", "value"),
    [
        ({"training_steps": 10}, "learner_steps", 10),
        ({"env_steps": 500}, "env_steps", 512),
        ({"target_return": 475.0}, "evaluation_return", 480.0),
        ({"minutes": 1e-9}, "learner_steps", 0),
    ],
)
def test_each_budget_ends_the_run(budget: dict[str, float], counter: str, value: float) -> None:
    assert not Progress(RunConfig()).finished()
    progress = Progress(RunConfig(**budget))
    setattr(progress, counter, value)
    assert progress.finished()


def test_counters_continue_after_loading() -> None:
    first = Progress(RunConfig())
    games = [GameResult(environment=0, episode_return=3.0, length_env_steps=7, length_frames=7)]
    first.collected(10, 2, games)
    first.unevaluated = {5, 6, 9}
    first.evaluated(5, 12.0)
    first.evaluated(6, 11.0)
    second = Progress(RunConfig())
    second.load(first.save())
    assert (second.env_steps, second.frames, second.episodes) == (10, 20, 1)
    assert second.mean_return == 3.0
    assert (second.evaluation_step, second.evaluation_return, second.unevaluated) == (6, 11.0, {9})
    assert second.total_s >= first.elapsed_s


def test_checkpoints_come_by_the_clock_where_that_is_asked_for() -> None:
    run = RunConfig(checkpoint_every_learner_steps=0, evaluate_every_learner_steps=0, checkpoint_every_s=60.0)
    progress = Progress(run)
    progress.learner_steps = 7
    assert not progress.take_due().checkpoint
    progress.checkpoint_at -= 60.0
    assert progress.take_due().checkpoint
    assert not progress.take_due().checkpoint


def test_a_learner_with_phases_ends_the_run_and_says_how_long_that_will_take() -> None:
    progress = Progress(RunConfig())
    progress.steps_left = 30
    assert not progress.finished()
    assert progress.time_left_s(updates_per_s=3.0) == pytest.approx(10.0)
    progress.steps_left = 0
    assert progress.finished() == "the learner has gone through all its phases"


def test_the_last_weights_are_due_once_unless_they_were_evaluated_or_nothing_is() -> None:
    progress = Progress(RunConfig(evaluate_every_learner_steps=10))
    assert not progress.take_last(), "nothing has been learned"
    progress.learner_steps = 15
    assert progress.take_last() and not progress.take_last()
    progress.evaluated(15, 1.0)
    assert not progress.take_last()
    progress.learner_steps = 20
    assert progress.take_due().evaluation
    assert not progress.take_last(), "it is due anyway"
    assert not Progress(RunConfig(evaluate_every_learner_steps=0), learner_steps=15).take_last()


def test_going_back_forgets_what_was_due_or_evaluated_later() -> None:
    progress = Progress(RunConfig(evaluate_every_learner_steps=10), learner_steps=30, unevaluated={10, 30})
    progress.evaluated(20, 5.0)
    progress.rewind(15)
    assert (progress.learner_steps, progress.unevaluated, progress.evaluation_step) == (15, {10}, 0)
    progress.rewind(12)
    assert math.isnan(progress.evaluation_return)


def test_scores_that_came_after_a_checkpoint_are_known_when_it_is_resumed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step, score in ((10, 7.0), (20, 9.0), (30, None)):
        with checkpoints.begin(step) as draft:
            draft.commit({})
        if score is not None:
            checkpoints.mark_best(step, score)
    checkpoints.go_back(20)
    progress = Progress(RunConfig(), learner_steps=20, unevaluated={10, 15, 20})
    progress.resumed(checkpoints)
    assert (progress.unevaluated, progress.evaluation_step, progress.evaluation_return) == ({15}, 20, 9.0)
    assert progress.best_return == 9.0
