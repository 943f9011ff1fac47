"""Rows of `rlsys eval`: runs × checkpoints × temperatures × settings, of the same games, in one table and figure."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.games import COUNTING, evaluation_of, making_runs, played_alone

from rlsys.errors import CheckpointError, ConfigError
from rlsys.evaluation.options import EvaluationOptions
from rlsys.evaluation.run import evaluate_run
from rlsys.metrics.report import evaluation_table
from rlsys.metrics.row_settings import label_of, short_labels

MakeRun = Callable[..., Path]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    monkeypatch.chdir(tmp_path)
    return making_runs(tmp_path, monkeypatch)


def test_every_choice_is_a_row_with_named_columns_and_plays_the_same_games(
    run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run("searching")
    overrides = (
        "searching.num_simulations=8",
        "searching.num_simulations=2",
        "searching.only_prior=[false,true]",
        "searching.apply_mcts_steps=3",
    )
    options = EvaluationOptions(
        str(folder), overrides=overrides, checkpoints=("10", "latest"), temperatures=(0.0, 1.0), episodes=2
    )
    evaluate_run(options)
    found = evaluation_of(folder)
    assert [row["settings"] for row in found["results"]] == [
        {
            "checkpoint": step,
            "temperature": temperature,
            "searching.num_simulations": simulations,
            "searching.only_prior": only_prior,
            "searching.apply_mcts_steps": 3,
        }
        for step in (10, 20)
        for temperature in (0.0, 1.0)
        for simulations in (8, 2)
        for only_prior in (False, True)
    ]
    for row in found["results"]:
        settings = row["settings"]
        assert row["reported"]["simulations"] == settings["searching.num_simulations"]
        assert row["reported"]["flags"] == settings["searching.only_prior"]
        assert row["returns"] == [played_alone(COUNTING, seed)[0] for seed in (5, 6)]
        assert row["checkpoint"] == settings["checkpoint"] and row["label"] == label_of(settings)
    assert found["overrides"] == {"searching.apply_mcts_steps": 3}, "what is the same in all rows"
    assert (folder / "eval.png").read_bytes().startswith(b"\x89PNG")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 19 and lines[1].split()[:3] == ["checkpoint", "temperature", "searching.num_simulations"]
    assert lines[2].split()[:5] == ["10", "0", "8", "false", "3"]


def test_a_picture_of_rows_goes_when_there_is_nothing_to_compare(run: MakeRun) -> None:
    folder = run("searching")
    evaluate_run(EvaluationOptions(str(folder), checkpoints=("10", "20"), episodes=1))
    assert (folder / "eval.png").exists()
    evaluate_run(EvaluationOptions(str(folder), checkpoints=("10", "best"), episodes=1))
    assert not (folder / "eval.png").exists(), "10 is the best: one checkpoint is one row"
    assert len(evaluation_of(folder)["results"]) == 1


def test_runs_are_compared_in_the_games_of_the_first_and_each_keeps_its_own_rows(
    run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [run("searching"), run("checking")]
    (folders[1] / "metrics.jsonl").touch()
    options = EvaluationOptions(
        str(folders[0]), (str(folders[1]),), str(tmp_path / "runs"), episodes=2, films=1, film_folder=tmp_path / "films"
    )
    evaluate_run(options)
    names = [f"{folder.parent.name}/{folder.name}" for folder in folders]
    (kept,) = (tmp_path / "runs" / "evaluations").glob("*/eval.json")
    together = json.loads(kept.read_text())["results"]
    assert [row["settings"]["run"] for row in together] == names
    assert [row["returns"] for row in together] == [[played_alone(COUNTING, seed)[0] for seed in (5, 6)]] * 2
    assert kept.with_name("eval.png").exists()
    for folder, row in zip(folders, together, strict=True):
        assert evaluation_of(folder)["results"] == [row]
        assert (folder / "report.html").exists()
    assert "mean_reward/eval/sampling_temp_0.0_max_noops_0_unclipped" in (folders[1] / "metrics.jsonl").read_text()
    assert len(list((tmp_path / "films").iterdir())) == 2
    output = capsys.readouterr().out
    assert f"# {names[0]}, {names[1]}: rlsys/Counting-v0 at learner step 20, seeds from 5" in output
    assert f"All rows: {kept}" in output


def test_checkpoints_of_a_run_that_are_named_one_by_one_are_rows_of_that_run(run: MakeRun, tmp_path: Path) -> None:
    folder = run("searching")
    name = f"{folder.parent.name}/{folder.name}"
    evaluate_run(EvaluationOptions(name, (f"{name}#10",), str(tmp_path / "runs"), episodes=1))
    assert [row["settings"]["checkpoint"] for row in evaluation_of(folder)["results"]] == [20, 10]


def test_films_of_rows_have_names_of_their_own(run: MakeRun) -> None:
    folder = run("searching")
    overrides = ("searching.num_simulations=[1,2]",)
    evaluate_run(EvaluationOptions(str(folder), overrides=overrides, episodes=1, films=1))
    assert sorted(path.name for path in (folder / "media").iterdir()) == [
        f"evaluation-000000020-sampling_temp_0.0_max_noops_0-searching.num_simulations={n}-0.mp4" for n in (1, 2)
    ]


def test_weights_that_do_not_fit_are_refused_before_anything_is_played(run: MakeRun, tmp_path: Path) -> None:
    good, bad = run("searching"), run("checking")
    weights = bad / "checkpoints" / "000000020" / "weights.json"
    weights.write_text(weights.read_text().replace("20", "21"))
    with pytest.raises(CheckpointError, match=r"weights\.json does not match its checksum"):
        evaluate_run(EvaluationOptions(str(good), (str(bad),), episodes=1))
    assert not (good / "eval.json").exists()


def test_a_checkpoint_of_another_network_is_named(
    run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = run("searching"), run("checking")
    monkeypatch.setattr("rlsys.testing.algorithm.CheckingPolicy.set_weights", lambda self, weights: {}["another"])
    with pytest.raises(CheckpointError) as refused:
        evaluate_run(EvaluationOptions(str(good), (str(bad),), checkpoints=("10", "20"), episodes=1))
    name = f"{bad.parent.name}/{bad.name}"
    assert str(refused.value).startswith(f"{name} at learner step 10: the weights do not fit CheckingPolicy as ")
    assert capsys.readouterr().out == ""


def test_a_row_that_is_not_there_cannot_be_watched(run: MakeRun) -> None:
    with pytest.raises(ConfigError, match="watch_row = 2 of 2 rows; it must be one of these, from 0"):
        evaluate_run(EvaluationOptions(str(run("searching")), temperatures=(0.0, 1.0), watch_row=2))


def test_labels_say_all_of_a_row_and_short_ones_what_tells_it_from_others() -> None:
    rows = [
        {"checkpoint": 10, "temperature": 0.5, "a.size": 3, "a.b": True, "c.b": 1},
        {"checkpoint": 10, "temperature": 0.5, "a.size": 4, "a.b": False, "c.b": 1},
        {"checkpoint": 10, "temperature": 0.5, "a.b": False, "c.b": 1},
    ]
    assert label_of(rows[0]) == "step 10, temperature 0.5, a.size=3, a.b=true, c.b=1"
    assert short_labels(rows) == ["size=3, a.b=true", "size=4, a.b=false", "a.b=false"]
    assert short_labels(rows[:1]) == ["step 10, temperature 0.5, size=3, a.b=true, c.b=1"]


def test_rows_without_names_of_columns_have_their_label(run: MakeRun) -> None:
    folder = run("checking")
    evaluate_run(EvaluationOptions(str(folder), episodes=1, checkpoints=("10", "20")))
    rows = evaluation_of(folder)["results"]
    for row in rows:
        del row["settings"]  # as earlier versions wrote them
    table = evaluation_table({"results": rows})
    assert table.header[:2] == ["options", "episodes"]
    assert [row[0] for row in table.rows] == ["step 10, temperature 0", "step 20, temperature 0"]
