"""What several commands are given is spelled, explained and found alike in each."""

from pathlib import Path
from typing import Any

import pytest
from support.command_line import Invoke
from typer.main import get_command

from rlsys.cli.app import app

COMMANDS: dict[str, Any] = dict(get_command(app).commands)  # type: ignore[attr-defined]


def run_parameter(command: Any) -> Any:
    """Returns the parameter that names a run; None where a command has none."""
    return next((found for found in command.params if found.name in ("run", "resume")), None)


NAMING_A_RUN = [name for name, command in COMMANDS.items() if run_parameter(command) is not None]


def test_these_commands_name_a_run() -> None:
    assert sorted(NAMING_A_RUN) == [
        "attach",
        "elo",
        "eval",
        "export",
        "launch",
        "play",
        "scale",
        "status",
        "stop",
        "top",
    ]


@pytest.mark.parametrize("name", NAMING_A_RUN)
def test_a_run_is_called_run_everywhere_and_its_directory_can_be_said(name: str) -> None:
    parameter = run_parameter(COMMANDS[name])
    assert parameter.metavar.strip("[]") == "RUN"
    assert "its folder, <experiment>/<run-id>, the beginning of its id, or an experiment for its latest" in (
        parameter.help
    )
    (directory,) = (found for found in COMMANDS[name].params if found.name == "directory")
    assert (directory.opts, directory.default) == (["--directory"], Path("runs"))


@pytest.mark.parametrize("name", ["attach", "elo", "eval", "play", "status", "stop", "top"])
def test_a_run_is_looked_for_where_the_directory_says(name: str, invoke: Invoke) -> None:
    status, _, err = invoke(name, "counting/x", "--directory", "elsewhere")
    assert status == 2
    assert err.startswith("error: no run 'counting/x' under elsewhere.")


def test_a_new_run_is_made_where_the_directory_says(invoke: Invoke, launched: list[dict[str, Any]]) -> None:
    assert invoke("launch", "counting", "--directory", "elsewhere")[0] == 0
    assert launched[0]["loaded"].experiment.run.directory == "elsewhere"
    assert "run.directory is given twice" in invoke("launch", "counting", "run.directory=a", "--directory=b")[2]
