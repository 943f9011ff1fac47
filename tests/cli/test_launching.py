"""`rlsys launch`: what it hands over, and how it ends."""

from typing import Any

import pytest
from support.command_line import Invoke

from rlsys import config
from rlsys.commands import several
from rlsys.runtime.launch import launch as launch_module


def test_launch_hands_over_experiment_and_overrides(invoke: Invoke, launched: list[dict[str, Any]]) -> None:
    status, _, _ = invoke("launch", "counting", "run.seed=7", "--inline", "--minutes", "2", "--address", "auto")
    assert status == 0
    (call,) = launched
    assert (call["inline"], call["resume"]) == (True, None)
    assert call["overrides"] == ["run.seed=7", "run.minutes=2.0", "runtime.address=auto"]
    experiment = call["loaded"].experiment
    assert (experiment.run.seed, experiment.run.minutes, experiment.runtime.address) == (7, 2.0, "auto")
    assert call["loaded"].profile == "laptop"


def test_a_resumed_run_needs_no_name(invoke: Invoke, launched: list[dict[str, Any]]) -> None:
    assert invoke("launch", "--resume", "counting/run-1", "run.minutes=5")[0] == 0
    expected = {"loaded": None, "inline": False, "resume": "counting/run-1", "checkpoint": "latest"}
    assert launched == [{**expected, "overrides": ["run.minutes=5"]}]


def test_the_status_of_a_run_is_the_status_of_the_command(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_module, "launch", lambda loaded, **options: 130)
    assert invoke("launch", "counting")[0] == 130


def test_ctrl_c_ends_with_status_130_and_no_traceback(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(loaded: config.Loaded | None, **options: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch_module, "launch", interrupted)
    status, _, err = invoke("launch", "counting")
    assert status == 130
    assert "Traceback" not in err


def test_several_runs_are_visited_with_what_one_is_launched_with(
    invoke: Invoke, launched: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def launch_several(loaded: config.Loaded, **options: bool) -> int:
        calls.append((loaded.experiment.run.minutes, loaded.experiment.run.num_runs, options))
        return 130

    monkeypatch.setattr(several, "launch_several", launch_several)
    assert invoke("launch", "counting", "--num-runs", "5", "--inline", "--minutes", "2")[0] == 130
    assert invoke("launch", "counting", "--num-runs", "1000", "--no-resume-runs")[0] == 130
    assert invoke("launch", "counting", "run.games=[a, b]", "--no-resume-runs")[0] == 130
    assert calls == [
        (2.0, 5, {"inline": True, "resumes": True}),
        (None, 1000, {"inline": False, "resumes": False}),
        (None, None, {"inline": False, "resumes": False}),
    ]
    assert launched == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("counting --no-resume-runs", "--no-resume-runs without --num-runs; it says what becomes of several runs."),
        ("counting --resume-runs", "--resume-runs without --num-runs; it says what becomes of several runs."),
        ("--resume counting/a --num-runs 2", "run.num_runs=2 with --resume counting/a; one goes on with a run, the"),
        ("--resume counting/a run.games=[]", "run.games=[] with --resume counting/a; one goes on with a run, the"),
        ("counting --num-runs 2 run.num_runs=3", "run.num_runs is given twice, as '3' and as '2'."),
        ("counting run.num_runs=0", "run.num_runs = 0; it must be greater than or equal to 1. Correct it on the"),
        ("--num-runs 2", "no experiment; name one"),
    ],
)
def test_what_several_runs_cannot_be_combined_with_is_one_line(invoke: Invoke, arguments: str, message: str) -> None:
    status, out, err = invoke("launch", *arguments.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {message}")
    for number in ("0", "100000", "many"):
        assert invoke("launch", "counting", "--num-runs", number)[0] == 2
