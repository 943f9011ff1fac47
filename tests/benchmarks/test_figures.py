"""No benchmark prints or keeps a figure that cannot be, or one of a run that was not there any more."""

import contextlib
import dataclasses
import importlib
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if "def main()" in path.read_text())


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a script as it imports its neighbours; nothing of it stays."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


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
    "copy_task": ([], lambda module, folder: {"run": lambda *arguments: dead(module.Row)}),
    "leaks": (["ppo", "--minutes", "10"], lambda module, folder: {"launch": lambda *arguments, **options: None}),
    "learning": (["nothing", "RUN"], lambda module, folder: {}),
    "memory": (["--dry", "--directory", "RUN"], lambda module, folder: {}),
    "prediction": (
        ["--cases", "muzero-cartpole"],
        lambda module, folder: {"compare": lambda *arguments: [{"predicted": 2.0, "measured": 0.0, "ratio": 1.0}]},
    ),
    "random_play": (["muzero-cartpole"], lambda module, folder: {"play": lambda *arguments: np.full(3, math.nan)}),
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
    "whole_system": ([], lambda module, folder: {"measure": _zero("moves_per_s")}),
    **{
        name: ([], lambda module, folder: {"measure": lambda *arguments: [dead(module.Row)]})
        for name in ("environments", "impala", "learner", "replay", "rtrl", "search", "simple")
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


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"what": "no figure"},
        {"what": "x", "busy_share": 1.01},
        {"what": "x", "busy_share": -0.01},
        {"what": "x", "share": 10.9},
        {"what": "x", "share_of_ideal": 1.2},
        {"what": "x", "roofline": 1.5},
        {"what": "x", "moves_per_s": 0.0},
        {"what": "x", "moves_per_s": -3.0},
        {"what": "x", "per_s": math.inf},
        {"what": "x", "value": 0},
        {"what": "x", "mean": math.nan},
        {"what": "x", "seconds": -1.0},
        {"what": "x", "first_step_of_all_s": -0.1},
        {"what": "x", "longest_answer_ms": -0.1},
        {"what": "x", "samples": 0},
        {"what": "x", "episodes": 0},
        {"what": "x", "turns": (3.0, 0.0)},
        {"what": "x", "samples_per_insert_alone": [0.0, 1.0, 2.0]},
        {"what": "x", "cores_used": {"driver": -0.2}},
        {"what": "x", "cores_used": {"driver": 1.5, "ShardHost": 1.0}, "cores": 2},
        {"what": "x", "pss_mib": {"driver": -1.0}},
        {"what": "x", "curve": [[0, math.nan]]},
        {"what": "x", "measured": 0.0},
    ],
    ids=str,
)
def test_a_figure_that_cannot_be_is_refused_with_all_rows_beside_it(
    row: dict[str, Any], load: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, kept = load("rows"), tmp_path / "rows.jsonl"
    with pytest.raises(rows.Implausible) as refused:
        rows.publish(kept, [{"what": "well", "per_s": 1.0}, row])
    assert isinstance(refused.value.code, str)
    assert "\n" not in refused.value.code
    assert capsys.readouterr().out == ""
    assert not kept.exists()


def test_figures_that_can_be_are_printed_and_kept(
    load: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "rows.jsonl"
    row = {"what": "x", "share": 1.0, "updates_per_s": None, "median_s": 0.0, "mib_per_hour": {"driver": -0.1}}
    load("rows").publish(kept, [row], command="python x.py")
    assert json.loads(capsys.readouterr().out) == row
    found = json.loads(kept.read_text())
    assert row.items() <= found.items()
    assert {"command", "machine", "python"} <= found.keys()


@pytest.mark.parametrize("path", sorted((FOLDER / "results").rglob("*.jsonl")), ids=lambda path: path.stem)
def test_all_that_has_been_kept_can_be(path: Path, load: Callable[[str], ModuleType]) -> None:
    rows = load("rows")
    for line in path.read_text().splitlines():
        rows.check(json.loads(line))


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


@contextlib.contextmanager
def running(live_run: ModuleType, folder: Path, program: str) -> Iterator[Any]:
    """Yields a run that is led by a program, with one row of metrics."""
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(json.dumps({"time_s": 1.0, "env_steps": 5, "learner_step": 5}) + "\n")
    output = folder / "output.txt"
    output.write_text("starts\nended at step 5\n")
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    try:
        yield live_run.LiveRun(process, folder, output, log_every_s=0.0)
    finally:
        process.kill()
        process.communicate()


WAITS = "input()"


def test_a_run_that_has_ended_is_not_measured(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    live_run = load("live_run")
    with running(live_run, tmp_path / "run", "raise SystemExit(3)") as run:
        run.process.wait()
        with pytest.raises(
            live_run.Implausible, match=r"ended with status 3 before it could .* said last: ended at step 5"
        ):
            run.wait(lambda row: False)
        with pytest.raises(live_run.Implausible, match="ended with status 3"):
            run.measure(0.01, lambda row: True)


def test_a_run_that_stands_still_is_not_measured(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    live_run = load("live_run")
    with (
        running(live_run, tmp_path / "run", WAITS) as run,
        pytest.raises(live_run.Implausible, match="decisions and updates did not both go on"),
    ):
        run.measure(0.01, lambda row: True)


def test_a_run_that_goes_on_is_measured(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_run = load("live_run")
    clock = [time.monotonic()]
    with running(live_run, tmp_path / "run", WAITS) as run:

        def sleep(seconds: float) -> None:
            clock[0] += seconds
            row = {"time_s": clock[0], "env_steps": round(100 * clock[0]), "learner_step": round(10 * clock[0])}
            with (run.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")

        monkeypatch.setattr(live_run, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
        sleep(0.0)
        window = run.measure(20.0, lambda row: True)
    assert window.wall_s == pytest.approx(20.0)
    assert window.per_s("env_steps") == pytest.approx(100.0, rel=0.01)
    assert window.per_s("learner_step") == pytest.approx(10.0, rel=0.01)
