"""Commands as they are printed: a shell takes them apart into what the command line finds again."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from rlsys.cli.app import app
from rlsys.errors import RlsysError
from rlsys.metrics.advice import Setup, _more_rollouts
from rlsys.quoting import command, quoted, resume, run_name
from rlsys.runs import folder as run_folder
from rlsys.runs.control_server import ask
from rlsys.runs.lease import Holder, taken

NAMES = ("plain", "with blank", "quote's", "$HOME", "a;b", "-dash", "ümlaut", "star*")


def commands_in(text: str) -> list[list[str]]:
    """Returns all commands of ours in a message: in quotes, or at its end."""
    found = re.findall(r"'(rlsys [^']*)'|`(rlsys [^`]*)`|: (rlsys .*)$", text, re.MULTILINE)
    return [shlex.split(next(filter(None, groups))) for groups in found]


def parse(words: list[str]) -> dict[str, object]:
    """Returns the parameters that the command line makes of a command, without running it."""
    group = get_command(app)
    name, *rest = words[1:]
    return dict(group.commands[name].make_context(name, rest).params)  # type: ignore[attr-defined]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def make_run(directory: Path, name: str) -> Path:
    folder = directory / "experiment" / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("directory", ["runs", "../elsewhere", "in side/it's"])
def test_a_printed_command_finds_its_run_again(here: Path, name: str, directory: str) -> None:
    folder = make_run(here / directory, name).resolve()
    messages = [
        f"Continue with: {resume(folder)}",
        f"Follow it with {quoted('attach', run_name(folder))}, or end it with {quoted('stop', run_name(folder))}.",
        str(run_folder.taken(folder)),
        str(taken(run_name(folder), Holder("host", 5))),
        str(taken(run_name(folder), None)),
        _more_rollouts(2, 4, Setup(str(folder), "cpu", is_queue=False, holds_ratio=True)),
        _more_rollouts(2, 4, Setup(str(folder), "cpu", is_queue=True, holds_ratio=False, shared_environments=8)),
    ]
    with pytest.raises(RlsysError) as refused:
        ask(folder, "stop")
    messages.append(str(refused.value))
    for message in messages:
        commands = commands_in(message)
        assert commands, message
        for words in commands:
            parameters = parse(words)
            run = parameters["resume"] if words[1] == "launch" else parameters["run"]
            assert run_folder.find(str(run)) == folder


def test_a_name_is_short_only_where_it_means_the_same(here: Path) -> None:
    folder = make_run(here / "runs", "a")
    assert run_name(folder) == "experiment/a"
    make_run(here, "a")
    assert run_name(folder) == str(folder)
    assert command("scale", "a b", "rollout_workers=3") == "rlsys scale 'a b' rollout_workers=3"


def test_a_run_whose_workers_have_equal_shares_is_not_advised_to_scale() -> None:
    setup = Setup("/runs/a/b", "cpu", is_queue=True, holds_ratio=False, shared_environments=12)
    assert _more_rollouts(4, 5, setup).endswith("rlsys launch --resume /runs/a/b runtime.rollout_workers=6")
    assert "each environment has a worker of its own" in _more_rollouts(12, 24, setup)
