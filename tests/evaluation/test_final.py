"""Evaluations in environments that differ from the one that is trained in."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.runs import MakeSpec

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.config import FinalEvaluation
from rlsys.errors import ConfigError
from rlsys.evaluation.evaluator import EvaluationCut, evaluate
from rlsys.evaluation.final import evaluate_finally, unplayed
from rlsys.metrics.rows import read_metrics
from rlsys.metrics.tracking import Tracker
from rlsys.runs.control_server import ControlServer
from rlsys.runs.heartbeat import Heartbeat
from rlsys.runs.progress import Progress
from rlsys.runs.resolve import check
from rlsys.runs.spec import RunSpec
from rlsys.runtime.driver.inline import InlineRun
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.launch.launch import _LastGames
from rlsys.signals import stops_on_signals
from rlsys.types import Weights

SHORT = {"max_episode_steps": 3}


def test_every_set_of_the_final_evaluation_is_played_and_reported(
    make_spec: MakeSpec, make_recorder: Callable[[RunSpec, Progress], Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    sets = (
        FinalEvaluation(name="train", episodes=4),
        FinalEvaluation(name="short", episodes=5, repetitions=3, env=SHORT),
    )
    spec = make_spec(run={"training_steps": 20, "final_evaluation": sets})
    progress, checkpoints = Progress(spec.run), Checkpoints(spec.folder / "checkpoints", keep=1)
    run = InlineRun(spec, progress, make_recorder(spec, progress), checkpoints)
    run.start(None)
    run.run()
    tracker = Tracker(spec.folder, make_loaded(spec), "test", resume=True)
    evaluate_finally(spec, checkpoints, progress, tracker)
    tracker.close()
    results = {row["label"]: row for row in json.loads((spec.folder / "eval.json").read_text())["results"]}
    assert results["train"]["episodes"] == 4
    assert results["short"]["returns"] == [1.0 + 2.0 + 3.0] * 15
    assert results["short"]["repetition_means"] == [6.0] * 3
    last = read_metrics(spec.folder)[-1]
    assert (last["final/short"], last["final/short_std"]) == (6.0, 0.0)
    assert last["final/train"] == results["train"]["mean"]
    assert "short" in capsys.readouterr().out


def test_a_final_evaluation_that_is_cut_short_says_what_is_missing_and_is_made_up_for(
    make_spec: MakeSpec, make_recorder: Callable[[RunSpec, Progress], Recorder]
) -> None:
    sets = (FinalEvaluation(name="short", episodes=5, env=SHORT), FinalEvaluation(name="train", episodes=4))
    spec = make_spec(run={"training_steps": 20, "final_evaluation": sets})
    progress, checkpoints = Progress(spec.run), Checkpoints(spec.folder / "checkpoints", keep=1)
    run = InlineRun(spec, progress, make_recorder(spec, progress), checkpoints)
    run.start(None)
    run.run()

    def cut() -> None:
        if turns.pop() == 0:
            raise EvaluationCut

    def evaluated(on_turn: Callable[[], None] | None) -> tuple[list[str], dict[str, Any]]:
        tracker = Tracker(spec.folder, make_loaded(spec), "test", resume=True)
        missing = evaluate_finally(spec, checkpoints, progress, tracker, on_turn)
        tracker.close()
        return missing, json.loads((spec.folder / "eval.json").read_text())

    turns = list(range(8))  # of which the first set takes six
    missing, written = evaluated(cut)
    assert missing == written["missing"] == ["train"]
    assert [row["label"] for row in written["results"]] == ["short"]
    assert unplayed(spec.folder, sets, 20) == [sets[1]]
    played = written["results"]
    missing, written = evaluated(None)
    assert missing == written["missing"] == []
    assert written["results"][:1] == played, "it is not played again"
    assert [row["label"] for row in written["results"]] == ["short", "train"]
    assert unplayed(spec.folder, sets, 20) == []
    assert unplayed(spec.folder, sets, 30) == list(sets), "other weights"


@pytest.mark.parametrize(("command", "is_cut", "said"), [("stop", True, "it ends"), ("scale", False, "about to end")])
def test_requests_are_answered_while_the_final_evaluation_is_played(
    command: str, is_cut: bool, said: str, tmp_path: Path
) -> None:
    control_server = ControlServer(tmp_path, scaled=lambda rollouts: None)
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "one.json").write_text(json.dumps({"command": command, "rollout_workers": 4}))
    with contextlib.closing(Heartbeat(tmp_path)) as heartbeat, stops_on_signals() as signals:
        games = _LastGames(heartbeat, signals, control_server)
        with pytest.raises(EvaluationCut) if is_cut else contextlib.nullcontext():
            games.on_turn()
    assert said in json.loads((tmp_path / "control" / "one.answer").read_text())["text"]


def make_loaded(spec: RunSpec) -> "object":
    from rlsys.config import Experiment, Loaded

    return Loaded("checking", "test", Experiment(algorithm="checking", env=spec.env, run=spec.run), {})


def test_evaluations_while_training_can_have_other_settings(make_spec: MakeSpec) -> None:
    spec = make_spec(run={"evaluation_env": SHORT, "evaluation_episodes": 3, "video": False})
    evaluation = evaluate(spec, Weights(0, 7))
    assert evaluation.statistics.returns.tolist() == [6.0] * 3


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            {"evaluation_env": {"stack_states": 2}},
            r"gives observations 2 × float32 \(3,\) and actions Discrete\(3\); the run has f",
        ),
        (
            {"final_evaluation": [FinalEvaluation(name="x", env={"stack_states": 2})]},
            r"run.final_evaluation 'x' gives observations 2 × float32 \(3,\)",
        ),
    ],
)
def test_settings_under_which_the_policy_cannot_play_are_refused(run: dict, message: str, make_spec: MakeSpec) -> None:
    with pytest.raises(ConfigError, match=message):
        check(make_spec(run=run))
