"""No benchmark prints or keeps a figure of what was dead, or of what did too little."""

import contextlib
import dataclasses
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if "def main()" in path.read_text() and path.stem != "pages")
"""All that measure; pages.py only writes what has been."""


def dead(row: Any) -> Any:
    """Returns a script's row without anything in it."""
    hints = {field.name: field.type for field in dataclasses.fields(row)}
    empty = {str: "", int: 0, float: 0.0, list[list[float]]: [], tuple[float, ...]: (0.0,)}
    return row(**{name: empty.get(hint, 0.0) for name, hint in hints.items()})


def _chaos(module: ModuleType, folder: Path) -> dict[str, Any]:
    sample = SimpleNamespace(learner_steps=500, env_steps=500)
    console = folder / "console.txt"
    console.touch()
    run = SimpleNamespace(look=lambda: sample, stop=lambda: None, console=console, resumes=0)
    cluster = SimpleNamespace(address="", state="nowhere", close=lambda: None)
    return {
        "_disk": lambda: contextlib.nullcontext(folder),
        "Cluster": lambda state: cluster,
        "Run": lambda *arguments: run,
        "Chaos": lambda *arguments: SimpleNamespace(rage=lambda *times: None, faults=[]),
    }


def _zero(name: str) -> Callable[..., dict[str, Any]]:
    return lambda *arguments, **options: {"what": "measured", name: 0.0}


def _baselines(module: ModuleType, folder: Path) -> dict[str, Any]:
    row = {"env_steps": 10, "learner_step": 1, "throughput/trained_rows_per_s": 1.0}
    rows = [{**row, "time_s": float(second)} for second in (1, 50, 90)]
    return {"run_to_the_end": lambda *arguments: None, "read_metrics": lambda folder: rows}


Fakes = Callable[[ModuleType, Path], dict[str, Any]]
DEAD: dict[str, tuple[list[str], Fakes]] = {
    "baselines": (["--tasks", "pong", "--turns", "1"], _baselines),
    "chaos": ([], _chaos),
    "checkpoints": (["--run", "muzero-breakout"], lambda module, folder: {"measure_run": _zero("updates_per_s")}),
    "compare": (
        [str(FOLDER.parent), "replay", "--turns", "1"],
        lambda module, folder: {"measure": lambda *arguments: {("replay", "value"): 0.0}},
    ),
    "copy_task": ([], lambda module, folder: {"run": lambda *arguments: dead(module.Row)}),
    "evaluation": (["RUN"], lambda module, folder: {"measure": lambda *arguments: dead(module.Row)}),
    "episodes": ([], lambda module, folder: {"measure": lambda *arguments: [_zero("draws_per_s")()]}),
    "leaks": (["ppo", "--minutes", "10"], lambda module, folder: {"launch": lambda *arguments, **options: None}),
    "learning": (["nothing", "RUN"], lambda module, folder: {}),
    "memory": (["--dry", "--directory", "RUN"], lambda module, folder: {}),
    "iris": ([], lambda module, folder: {"measure": lambda *arguments: [dead(module.Row)]}),
    "planet_peer": (["python"], lambda module, folder: {"measure": lambda *arguments: [dead(module.Row)]}),
    "prediction": (
        ["--cases", "muzero-cartpole"],
        lambda module, folder: {"compare": lambda *arguments: [{"predicted": 2.0, "measured": 0.0, "ratio": 1.0}]},
    ),
    "random_play": (["muzero-cartpole"], lambda module, folder: {"play": lambda *arguments: np.full(3, math.nan)}),
    "reanalyse": ([], lambda module, folder: {"measure": _zero("value")}),
    "rescale": ([], lambda module, folder: {"compare": _zero("env_steps_per_update_alone")}),
    "rollouts": ([], lambda module, folder: {"measure": _zero("value")}),
    "scaling": (["workers"], lambda module, folder: {"_runs": lambda options: [_zero("env_steps_per_s")()]}),
    "transport": (
        ["shards"],
        lambda module, folder: {
            "prepare": lambda: None,
            "connect": lambda runtime: None,
            "measure_shards": _zero("windows_sampled_per_s"),
        },
    ),
    "transitions": (
        ["RUN", "--only", "RSSM"],
        lambda module, folder: {
            "run_folder": SimpleNamespace(load=lambda folder: SimpleNamespace(name="planet")),
            "measure": lambda *arguments: dead(module.Row),
        },
    ),
    "web_dream": ([], lambda module, folder: {"measure": lambda *arguments: dead(module.Row)}),
    "whole_system": ([], lambda module, folder: {"measure": _zero("moves_per_s")}),
    **{
        name: ([], lambda module, folder: {"measure": lambda *arguments: [dead(module.Row)]})
        for name in ("environments", "impala", "learner", "planet", "planning", "replay", "rtrl", "search", "simple")
    },
}
"""Script -> its arguments, and what is put in place of measuring: a run that is dead, or work that was not done."""


def test_every_benchmark_is_tried() -> None:
    assert sorted(DEAD) == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_prints_and_keeps_nothing_of_what_is_dead(
    name: str,
    load: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments, fakes = DEAD[name]
    kept = tmp_path / "rows.jsonl"
    module = load(name)
    for attribute, fake in fakes(module, tmp_path).items():
        monkeypatch.setattr(module, attribute, fake)
    option = [] if name in ("learning", "memory") else ["--json", str(kept)]
    words = [str(tmp_path / "absent") if word == "RUN" else word for word in arguments]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *words, *option])
    before = {path: path.stat().st_mtime_ns for path in (FOLDER / "results").rglob("*")}
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert isinstance(ended.value.code, str), "a message, and so status 1"
    assert ended.value.code
    assert "\n" not in ended.value.code
    assert not any(character.isdigit() for character in capsys.readouterr().out), "no figure is printed"
    assert not kept.exists()
    assert before == {path: path.stat().st_mtime_ns for path in (FOLDER / "results").rglob("*")}


ROW = {"learner_step": 10, "env_steps": 10, "time_s": 60.0, "replay/samples_per_insert": 1.0}


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("checkpoints", lambda module: module.measure_run("muzero-breakout", 1.0, [])),
        ("rescale", lambda module: module._summary([ROW], 9)),
        ("baselines", lambda module: module.speed([ROW], 1, 90.0)),
        ("baselines", lambda module: module.speed([], 1, 90.0)),
    ],
)
def test_a_run_that_did_too_little_is_refused(
    name: str,
    measure: Callable[[ModuleType], Any],
    load: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = load(name)
    for attribute, fake in {"launch": _make_folder, "read_metrics": lambda folder: [ROW]}.items():
        monkeypatch.setattr(module, attribute, fake, raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(module.Implausible):
        measure(module)


def _make_folder(loaded: Any, **options: Any) -> None:
    (Path(loaded.experiment.run.directory) / "experiment" / "run").mkdir(parents=True)


@pytest.mark.parametrize("text", ["0", "-3", "nan", "inf", "many"])
def test_there_is_nothing_to_measure_in_no_time(
    text: str, load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["whole_system.py", f"--seconds={text}"])
    with pytest.raises(SystemExit) as ended:
        load("whole_system").main()
    assert ended.value.code == 2
    assert "--seconds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("run.minutes=1", "run.minutes = 1 ends muzero-breakout before it has started and been measured for 40 s"),
        ("run.training_steps=50", "run.training_steps = 50 ends muzero-breakout before it is measured"),
        ("run.minuts=5", "minuts"),
    ],
)
def test_settings_that_end_a_run_before_it_is_measured_are_refused_before_it_starts(
    setting: str, words: str, load: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a run was started")

    module = load("whole_system")
    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(sys, "argv", ["whole_system.py", setting])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert words in str(ended.value.code)
