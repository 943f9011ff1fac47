"""What a run's folder says of itself: its first line makes the same run again."""

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlsys import config
from rlsys.cli.app import app
from rlsys.runs import folder as run_folder
from rlsys.runtime.launch import launch as launching

NASTY = [
    "",
    " a ",
    "two words",
    "it's",
    "a\nb",
    "a\r\x1b[1m",
    "café",
    "\u2028",
    "$HOME `id`",
    "#",
    "\\",
    "3e563",
    "null",
    "😀",
]


def words_of(command: str) -> list[str]:
    """Splits a command as a shell does."""
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("inline", [False, True])
def test_the_first_line_of_config_yaml_makes_the_same_run_again(
    text: str, inline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = tmp_path / "my experiment.yaml"
    experiment.write_text("algorithm: impala\nimpala: {batch_size: 8}\n", encoding="utf-8")
    given = [str(experiment), f"run.directory={tmp_path}", f"run.group_tag={text}", "run.seed=3", "debug=true"]
    given += ["run.evaluation_env={id: 1e3, max_episode_steps: 7}", "run.final_evaluation=[{name: a, episodes: 2}]"]
    given += ["env.state_range=[0,1e-7]", "--profile", "gpu", "--minutes", "2", *(["--inline"] if inline else [])]
    launched = []

    def launch(loaded: config.Loaded, *, inline: bool, **_: object) -> int:
        launched.append((loaded.experiment, inline))
        folder = run_folder.create(loaded, inline=inline)
        assert run_folder.load(folder).experiment == loaded.experiment
        first, rest = (folder / "config.yaml").read_text(encoding="utf-8").split("\n", 1)
        assert rest.startswith("algorithm: ")
        commands.append(first.removeprefix("# rlsys "))
        return 0

    commands: list[str] = []
    monkeypatch.setattr(launching, "launch", launch)
    result = CliRunner().invoke(app, ["launch", *given])
    assert result.exit_code == 0, result
    again = CliRunner().invoke(app, words_of(commands[0]))
    assert again.exit_code == 0, again
    assert launched[0] == launched[1]


def test_a_profile_that_was_not_named_is_not_in_the_command() -> None:
    command = run_folder.command_of(config.load("impala-cartpole", overrides=["run.seed=1"]))
    assert command == "rlsys launch impala-cartpole run.seed=1"
