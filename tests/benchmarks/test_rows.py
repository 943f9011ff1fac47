"""A figure that cannot be is neither printed nor kept; a row says what repeats it and what lets a reader judge it."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


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
        {"what": "x", "cores_used": {"driver": 1.5, "ShardProcess": 1.0}, "cores": 2},
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


RESULTS = sorted((FOLDER / "results").rglob("*.json*"))
CHANCE = ("chaos.py", "rescale.py", "random_play.py", "copy_task.py", "rlsys launch")
"""What a command has where chance decides what comes of it."""


def kept(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a file of results; of a file of curves, its runs."""
    text = path.read_text()
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)["runs"]


@pytest.mark.parametrize("path", [path for path in RESULTS if path.suffix == ".jsonl"], ids=lambda path: path.stem)
def test_all_that_has_been_kept_can_be(path: Path, load: Callable[[str], ModuleType]) -> None:
    rows = load("rows")
    for row in kept(path):
        rows.check(row)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_row_says_what_repeats_it(path: Path) -> None:
    for row in kept(path):
        assert {"command", "commit", "date"} <= row.keys()
        assert {"wall_s", "wall_minutes"} & row.keys()
        assert "seed" in row or not any(words in row["command"] for words in CHANCE)


def test_a_row_that_is_kept_says_of_which_code_it_is_and_what_the_machine_did_beside(
    load: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = load("rows")
    rows.publish(tmp_path / "rows.jsonl", [{"per_s": 1.0, "load": 2.5}], command="python x.py", seed=3)
    (row,) = rows.read(tmp_path / "rows.jsonl")
    assert set(rows.ORIGIN) <= row.keys()
    assert (row["command"], row["seed"]) == ("python x.py", 3)
    assert row["load"] == 2.5, "what a benchmark itself has found out counts"
    assert row["machine"].split(" × ")[0].isdecimal()
    assert row["wall_s"] > 0.0


def test_a_commit_is_dirty_where_code_differs_from_it_and_not_where_results_do(
    load: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    rows = load("rows")
    assert rows.commit(tmp_path) == "unknown"
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@nowhere"]
    (tmp_path / "code.py").write_text("1\n")
    (tmp_path / "rows.jsonl").write_text("{}\n")
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    clean = rows.commit(tmp_path)
    assert len(clean) == 12
    (tmp_path / "rows.jsonl").write_text("{}\n{}\n")
    assert rows.commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("2\n")
    assert rows.commit(tmp_path) == f"{clean}-dirty"


def test_a_file_that_is_not_there_has_no_rows(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    assert load("rows").read(tmp_path / "absent.jsonl") == []
