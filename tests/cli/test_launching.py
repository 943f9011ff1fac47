"""`rlsys launch`: what it hands over, and how it ends."""

from typing import Any

import pytest
from support.command_line import Invoke

from rlsys import config
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
