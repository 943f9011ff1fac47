"""`rlsys scores --suite`: what is printed, written and refused."""

import csv
import json
from pathlib import Path

import imageio.v3 as iio
import pytest
from support.runs import method_runs, suite_run

from rlsys.commands.suites import compare
from rlsys.errors import ConfigError


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Runs of two methods on two games, and one on a third."""
    method_runs(tmp_path / "runs" / "a", {"Pong": [14.6, -20.7], "Boxing": [12.1, 0.1], "Alien": [227.8]})
    method_runs(tmp_path / "runs" / "b", {"Pong": [-20.7, -20.7], "Boxing": [0.1, 0.1]})
    return tmp_path / "runs"


def test_runs_are_told_beside_what_was_published(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite_run(runs / "a" / "other", "TennisNoFrameskip-v4", {"final/test": 1.0})
    assert compare("atari100k", runs, [], ()) == ""
    first, title, header, *lines = capsys.readouterr().out.splitlines()
    assert first == "a/other is left out: TennisNoFrameskip-v4 is no game of atari100k"
    assert title == "# atari100k: mean returns"
    assert header.split()[:7] == ["game", "random", "human", "a", "b", "SimPLe", "MuZero"]
    table = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert table["Pong"][:4] == ["-20.7", "14.6", "-3.0", "-20.7"]
    assert table["Alien"][:4] == ["227.8", "7,128", "227.8", "–"]
    assert table["Qbert"][2:4] == ["–", "–"] and "745.7" in table["Qbert"]
    assert "# Normalised by random play and humans, over 2 of 26 games: Boxing, Pong; 95 % of 2,000 resamples" in lines
    aggregates, pair = (line.split() for line in lines if line.split()[:2] in (["a", "2"], ["a", "b"]))
    assert aggregates[2] == "0.500" and aggregates[-1] == "0"
    assert pair[2] == "0.750"


def test_all_numbers_a_line_for_each_run_and_a_picture_are_written(runs: Path, tmp_path: Path) -> None:
    outs = [tmp_path / "made" / "all.json", tmp_path / "all.csv", tmp_path / "all.png"]
    assert compare("atari100k", runs, outs, ()) == "\n".join(map(str, outs))
    tree = json.loads(outs[0].read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert tree["games"] == ["Boxing", "Pong"] and tree["references"]["Pong"] == [-20.7, 14.6]
    mine = tree["methods"]["a"]
    assert mine["returns"]["Alien"] == [227.8] and mine["aggregates"]["mean"]["value"] == pytest.approx(0.5)
    assert mine["aggregates"]["mean"]["low"] < 0.5 < mine["aggregates"]["mean"]["high"]
    assert mine["profile"]["value"][0] == 0.5 and len(mine["profile"]["value"]) == len(tree["thresholds"])
    assert tree["methods"]["MuZero"]["aggregates"]["IQM"]["low"] is None
    assert tree["improvements"][0]["method"] == "a" and tree["improvements"][0]["value"] == 0.75
    with outs[1].open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    own = [line for line in lines if line["method"] == "a"]
    assert own[0] == {"method": "a", "game": "Alien", "return": "227.8", "normalised": "0.0"} and len(own) == 5
    assert len([line for line in lines if line["method"] == "IRIS"]) == 5 * 26
    assert iio.imread(outs[2]).std() > 5


def test_another_metric_can_be_the_return(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite_run(tmp_path / "a" / "1", "PongNoFrameskip-v4", {"final/test": 1.0, "final/other": 14.6})
    compare("atari100k", tmp_path, [], ["test_score=final/other"])
    assert "14.6    14.6" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("suite", "out", "series", "message"),
    [
        ("atari", "all.json", (), r"^no suite 'atari'\. Did you mean 'atari100k'\?$"),
        ("atari100k", "all.txt", (), r"^OUT = .*all\.txt; its name must end in \.json or \.csv or \.png"),
        ("atari100k", "all.json", ("loss=loss/value",), r"^--series loss with --suite atari100k; only test_score is"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    runs: Path, suite: str, out: str, series: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        compare(suite, runs, [runs / out], series)
    assert not (runs / out).exists()
