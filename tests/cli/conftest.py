"""The command line in a folder of its own, with one experiment and one profile."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.command_line import Invoke

import rlsys.testing.environments  # noqa: F401 (registers rlsys/Counting-v0)
from rlsys import cli, config, registry
from rlsys.runtime.launch import launch as launch_module
from rlsys.testing.algorithm import CHECKING

EXPERIMENT = """\
# Counts steps. Not shown: the second sentence.
algorithm: checking
env: {id: rlsys/Counting-v0}
run:
  training_steps: 12
  checkpoint_every_learner_steps: 6
  evaluate_every_learner_steps: 6
  evaluation_episodes: 2
  wandb: disabled
  tensorboard: false
"""
PROFILE = """\
# One small worker.
runtime: {rollout_workers: 1, environments_per_worker: 4}
"""


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The experiment 'counting', the profile 'laptop', and an empty current folder."""
    for kind, name, text in (("configs", "counting", EXPERIMENT), ("launch", "laptop", PROFILE)):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.yaml").write_text(text)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for module in ("rlsys.config", "rlsys.config.experiment"):
        monkeypatch.setattr(f"{module}.data_folder", lambda kind: tmp_path / kind)
    monkeypatch.setattr(registry, "get", lambda name: replace(CHECKING, name=name))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Returns a function that runs the command line and returns status, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rlsys", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Puts a recorder in the place of the runtime's launch; returns what it was called with."""
    calls: list[dict[str, Any]] = []

    def launch(loaded: config.Loaded | None, **options: Any) -> int:
        calls.append({"loaded": loaded, **options})
        return 0

    monkeypatch.setattr(launch_module, "launch", launch)
    return calls
