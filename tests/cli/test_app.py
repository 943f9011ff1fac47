"""The command line: what it imports, what it makes of its words, and with which status it ends."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command_line import Invoke

import rlsys

TYPERS = {"typer", "click", "shellingham", "annotated_doc", "typing_extensions"}
RICHS = {"rich", "pygments", "markdown_it", "mdurl", "attr"}
PYDANTICS = {"pydantic", "pydantic_core", "annotated_types", "typing_inspection"}
LIGHT = TYPERS | RICHS | PYDANTICS
"""All that help may import besides the standard library: what draws it, and what typer checks options with."""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["launch", "--help"], ["eval", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = f"""
import sys
from rlsys.cli.app import app
try:
    app({arguments!r})
except SystemExit as ended:
    status = ended.code
import io
import json
from importlib.metadata import packages_distributions
installed = set(packages_distributions())
print(json.dumps([status, sorted({{name.partition(".")[0] for name in sys.modules}} & installed)]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    status, modules = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    imported = {name for name in modules if not name.startswith("_")} - {"rlsys"}
    assert "typer" in imported
    assert imported <= LIGHT


def test_help_names_every_command(invoke: Invoke) -> None:
    status, out, _ = invoke("--help")
    assert status == 0
    assert all(command in out for command in ("launch", "list", "show", "eval", "play", "doctor"))


def test_version(invoke: Invoke) -> None:
    assert invoke("--version") == (0, f"rlsys {rlsys.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launch", "countin"], "error: no experiment 'countin'. Did you mean 'counting'? 'rlsys list' shows all."),
        (["launch", "counting", "--profile", "lapdog"], "error: no profile 'lapdog'. Did you mean 'laptop'?"),
        (
            ["launch", "counting", "run.sead=1"],
            "error: unknown key 'run.sead' on the command line. Did you mean 'seed'?",
        ),
        (["launch", "counting", "run.seed=x"], "error: run.seed = 'x'; it must be a valid integer. Correct it on"),
        (
            ["launch", "counting", "--minutes", "0"],
            "error: run.minutes = 0.0; it must be greater than 0. Correct it on",
        ),
        (["launch", "counting", "oops"], "error: override 'oops' is not KEY=VALUE."),
        (["eval", "r", "--episodes", "0"], "error: episodes = 0, parallel = 1; both must be at least 1. Raise them."),
        (["eval", "r", "--temperature", "-1"], "error: temperatures = [-1.0]; each must be 0 or more. 0 is greedy."),
        (["launch"], "error: no experiment; name one, or a run with --resume RUN."),
        (["launch", "--resume", "r", "--profile", "gpu"], "error: --profile gpu with --resume r; a resumed run keeps"),
        (["launch", "counting", "--submit"], "error: --submit with runtime.address = null; a job needs a cluster that"),
        (["launch", "counting", "--submit", "--inline"], "error: --submit with --inline; a job trains on a cluster."),
        (["show", "counting", "--section", "rum"], "error: no setting of 'counting' begins with 'rum'."),
    ],
)
def test_a_mistake_is_one_line_and_status_2_before_anything_starts(
    invoke: Invoke, launched: list[dict[str, Any]], arguments: list[str], message: str
) -> None:
    status, out, err = invoke(*arguments)
    assert status == 2
    assert err.startswith(message)
    assert err.count("\n") == 1 and err[-2:] in (".\n", "?\n")
    assert out == "" and launched == []
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [["lanch"], ["launch", "counting", "--profil", "x"], ["eval", "r", "--episodes", "x"]]
)
def test_a_wrong_command_or_option_ends_with_status_2(invoke: Invoke, arguments: list[str]) -> None:
    status, _, err = invoke(*arguments)
    assert status == 2
    assert "Usage: rlsys" in err and "Traceback" not in err


def test_a_terminal_that_cannot_write_a_character_gets_a_question_mark(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "configs" / "counting.yaml"
    file.write_text(f"# 12 × 2\n{file.read_text()}")
    raw = io.BytesIO()
    ascii_only = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", ascii_only)
    status, _, err = invoke("list")
    assert (status, err) == (0, "")
    assert b"12 ? 2" in raw.getvalue()


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["play", "counting/x", "--checkpoint", "10", "--checkpoint", "20"], "--checkpoint"),
        (["launch", "counting", "--minutes=1", "--minutes", "2"], "--minutes"),
        (["launch", "counting", "--profile", "laptop", "run.seed=1", "--profile", "laptop"], "--profile"),
        (["show", "counting", "--section", "a", "--section", "b"], "--section"),
        (["status", "--directory", "a", "--directory", "b"], "--directory"),
    ],
)
def test_an_option_of_one_value_is_given_once(arguments: list[str], option: str, invoke: Invoke) -> None:
    status, _, err = invoke(*arguments)
    assert status == 2
    assert err == f"error: {option} is given 2 times; it takes one value. Leave one.\n"


def test_an_option_of_several_values_is_given_several_times(invoke: Invoke) -> None:
    assert "no run" in invoke("eval", "counting/x", "--temperature", "0", "--temperature", "1")[2]


def test_an_argument_that_is_not_utf_8_is_refused_in_one_line(invoke: Invoke) -> None:
    status, _, err = invoke("launch", "counting", "run.group_tag=\udcff")
    assert status == 2
    assert err.startswith("error: 'run.group_tag=\\udcff' on the command line is not valid UTF-8")


def test_an_argument_is_utf_8_in_a_locale_that_cannot_read_it(invoke: Invoke, launched: list[dict[str, Any]]) -> None:
    assert invoke("launch", "counting", "run.group_tag=caf\udcc3\udca9")[0] == 0
    assert launched[0]["loaded"].experiment.run.group_tag == "café"


@pytest.mark.parametrize("option", ["--directory=~/runs", "--directory"])
def test_a_path_may_begin_with_the_home_folder(
    option: str, invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    words = [option] if "=" in option else [option, "~/runs"]
    assert f"under {tmp_path}/runs. Give" in invoke("status", "counting/x", *words)[2]
    (tmp_path / "mine.yaml").write_text((tmp_path / "configs" / "counting.yaml").read_text())
    assert invoke("show", "~/mine.yaml")[0] == 0


@pytest.mark.parametrize("command", [["status"], ["eval"], ["play"], ["export", "--to=x.zip"], ["launch", "--resume"]])
@pytest.mark.parametrize("name", ["x" * 5_000, "**", "[", "a\nb", "", "..", "/proc/none/**", "#best", "a#1"])
def test_a_name_that_no_run_can_have_is_refused_in_one_line(invoke: Invoke, command: list[str], name: str) -> None:
    status, _, err = invoke(*command, name)
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
