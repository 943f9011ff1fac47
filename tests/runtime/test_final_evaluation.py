"""Evaluations in environments that differ from the one that is trained in."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlsys.config import FinalEvaluation
from rlsys.errors import ConfigError
from rlsys.runtime.checkpoints.checkpoint import Checkpoints
from rlsys.runtime.control import Desk
from rlsys.runtime.final_evaluation import evaluate_finally, unplayed
from rlsys.runtime.inline import InlineRun
from rlsys.runtime.launch import _LastGames
from rlsys.runtime.metrics.recorder import Recorder
from rlsys.runtime.metrics.rows import read_metrics
from rlsys.runtime.metrics.tracking import Tracker
from rlsys.runtime.plan import Plan, check
from rlsys.runtime.presence import Presence
from rlsys.runtime.progress import Progress
from rlsys.runtime.signals import stops_on_signals
from rlsys.runtime.workers.evaluator import EvaluationCut, evaluate
from rlsys.types import Weights

MakePlan = Callable[..., Plan]
SHORT = {"max_episode_steps": 3}


def test_every_set_of_the_final_evaluation_is_played_and_reported(
    make_plan: MakePlan, make_recorder: Callable[[Plan, Progress], Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    sets = (
        FinalEvaluation(name="train", episodes=4),
        FinalEvaluation(name="short", episodes=5, repetitions=3, env=SHORT),
    )
    plan = make_plan(run={"training_steps": 20, "final_evaluation": sets})
    progress, checkpoints = Progress(plan.run), Checkpoints(plan.folder / "checkpoints", keep=1)
    run = InlineRun(plan, progress, make_recorder(plan, progress), checkpoints)
    run.start(None)
    run.run()
    tracker = Tracker(plan.folder, make_loaded(plan), "test", resume=True)
    evaluate_finally(plan, checkpoints, progress, tracker)
    tracker.close()
    results = {row["label"]: row for row in json.loads((plan.folder / "eval.json").read_text())["results"]}
    assert results["train"]["episodes"] == 4
    assert results["short"]["returns"] == [1.0 + 2.0 + 3.0] * 15
    assert results["short"]["repetition_means"] == [6.0] * 3
    last = read_metrics(plan.folder)[-1]
    assert (last["final/short"], last["final/short_std"]) == (6.0, 0.0)
    assert last["final/train"] == results["train"]["mean"]
    assert "short" in capsys.readouterr().out


def test_a_final_evaluation_that_is_cut_short_says_what_is_missing_and_is_made_up_for(
    make_plan: MakePlan, make_recorder: Callable[[Plan, Progress], Recorder]
) -> None:
    sets = (FinalEvaluation(name="short", episodes=5, env=SHORT), FinalEvaluation(name="train", episodes=4))
    plan = make_plan(run={"training_steps": 20, "final_evaluation": sets})
    progress, checkpoints = Progress(plan.run), Checkpoints(plan.folder / "checkpoints", keep=1)
    run = InlineRun(plan, progress, make_recorder(plan, progress), checkpoints)
    run.start(None)
    run.run()

    def cut() -> None:
        if turns.pop() == 0:
            raise EvaluationCut

    def evaluated(on_turn: Callable[[], None] | None) -> tuple[list[str], dict[str, Any]]:
        tracker = Tracker(plan.folder, make_loaded(plan), "test", resume=True)
        missing = evaluate_finally(plan, checkpoints, progress, tracker, on_turn)
        tracker.close()
        return missing, json.loads((plan.folder / "eval.json").read_text())

    turns = list(range(8))  # of which the first set takes six
    missing, written = evaluated(cut)
    assert missing == written["missing"] == ["train"]
    assert [row["label"] for row in written["results"]] == ["short"]
    assert unplayed(plan.folder, sets, 20) == [sets[1]]
    played = written["results"]
    missing, written = evaluated(None)
    assert missing == written["missing"] == []
    assert written["results"][:1] == played, "it is not played again"
    assert [row["label"] for row in written["results"]] == ["short", "train"]
    assert unplayed(plan.folder, sets, 20) == []
    assert unplayed(plan.folder, sets, 30) == list(sets), "other weights"


@pytest.mark.parametrize(("command", "is_cut", "said"), [("stop", True, "it ends"), ("scale", False, "about to end")])
def test_requests_are_answered_while_the_final_evaluation_is_played(
    command: str, is_cut: bool, said: str, tmp_path: Path
) -> None:
    desk = Desk(tmp_path, scaled=lambda rollouts: None)
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "one.json").write_text(json.dumps({"command": command, "rollouts": 4}))
    with contextlib.closing(Presence(tmp_path)) as presence, stops_on_signals() as signals:
        games = _LastGames(presence, signals, desk)
        with pytest.raises(EvaluationCut) if is_cut else contextlib.nullcontext():
            games.on_turn()
    assert said in json.loads((tmp_path / "control" / "one.answer").read_text())["text"]


def make_loaded(plan: Plan) -> "object":
    from rlsys.config import Experiment, Loaded

    return Loaded("checking", "test", Experiment(algorithm="checking", env=plan.env, run=plan.run), {})


def test_evaluations_while_training_can_have_other_settings(make_plan: MakePlan) -> None:
    plan = make_plan(run={"evaluation_env": SHORT, "evaluation_episodes": 3, "video": False})
    evaluation = evaluate(plan, Weights(0, 7))
    assert evaluation.statistics.returns.tolist() == [6.0] * 3


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({"evaluation_env": {"stack_states": 2}}, r"gives observations \(2, 3\) and 3 actions; the run has \(3,\)"),
        (
            {"final_evaluation": [FinalEvaluation(name="x", env={"stack_states": 2})]},
            r"run.final_evaluation 'x' gives observations \(2, 3\)",
        ),
    ],
)
def test_settings_under_which_the_policy_cannot_play_are_refused(run: dict, message: str, make_plan: MakePlan) -> None:
    with pytest.raises(ConfigError, match=message):
        check(make_plan(run=run))
