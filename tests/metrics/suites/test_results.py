"""What a run came to on a game, and why it does not count."""

from pathlib import Path

import pytest
from support.runs import ended, method_runs, run_with_metrics, suite_run

from rlsys.metrics.compiling import find_runs
from rlsys.metrics.suites.results import Results, read_results
from rlsys.metrics.suites.suite import load

PONG = "PongNoFrameskip-v4"


def read(folder: Path, metric: str | None = None) -> Results:
    return read_results(load("atari100k"), find_runs(folder), metric)


def test_a_method_is_a_label_and_its_games_are_those_of_its_runs(tmp_path: Path) -> None:
    method_runs(tmp_path / "a", {"Pong": [1.0, 2.0], "Alien": [300.0]})
    method_runs(tmp_path / "b", {"Pong": [5.0]})
    found = read(tmp_path)
    assert {method.name: method.returns for method in found.methods} == {
        "a": {"Alien": [300.0], "Pong": [1.0, 2.0]},
        "b": {"Pong": [5.0]},
    }
    assert found.troubles == []


def test_the_return_is_that_of_the_final_evaluation_and_else_the_last_beside_training(tmp_path: Path) -> None:
    both = {"evaluation/return": 1.0, "final/test": 2.0, "final/test/other": 9.0}
    suite_run(tmp_path / "a" / "1", PONG, both)
    suite_run(tmp_path / "a" / "2", PONG, both, final="")
    (tmp_path / "a" / "2" / "metrics.jsonl").open("a").write(
        '{"learner_step": 10, "env_steps": 100001, "time_s": 2.0, "evaluation/return": 3.0}\n'
        '{"learner_step": 11, "env_steps": 100002, "time_s": 3.0, "evaluation/return": null, "loss/value": 1.0}\n'
    )
    assert read(tmp_path).methods[0].returns == {"Pong": [2.0, 3.0]}
    assert read(tmp_path, "final/test/other").methods[0].returns == {"Pong": [9.0, 9.0]}


def test_what_does_not_count_is_said_and_the_others_do(tmp_path: Path) -> None:
    suite_run(tmp_path / "a" / "1", PONG, {"final/test": 2.0})
    ended(tmp_path / "a" / "1", is_complete=True)
    suite_run(tmp_path / "a" / "2", PONG, {"final/test": 4.0})
    ended(tmp_path / "a" / "2", is_complete=False, reason="interrupted")
    suite_run(tmp_path / "a" / "3", PONG, {"evaluation/return": 4.0})
    suite_run(tmp_path / "a" / "4", "TennisNoFrameskip-v4", {"final/test": 4.0})
    suite_run(tmp_path / "a" / "5", None, {"final/test": 4.0})
    (tmp_path / "a" / "6").mkdir()
    (tmp_path / "a" / "6" / "config.yaml").write_text(f"env: {{id: {PONG}}}\n")
    (tmp_path / "a" / "7").mkdir()
    (tmp_path / "a" / "7" / "config.yaml").write_text("env: [")
    run_with_metrics(tmp_path / "a" / "8")
    found = read(tmp_path)
    assert [method.returns for method in found.methods] == [{"Pong": [2.0]}]
    expected = [
        "a/2 is left out: it is not complete: interrupted",
        "a/3 is left out: it has no final/test",
        "a/4 is left out: TennisNoFrameskip-v4 is no game of atari100k",
        "a/5 is left out: its config.yaml names no env.id",
        "a/6 is left out: ",
        "a/7 is left out: ",
        "a/8 is left out: ",
    ]
    assert len(found.troubles) == len(expected)
    for trouble, beginning in zip(found.troubles, expected, strict=True):
        assert trouble.startswith(beginning) and "\n" not in trouble
    assert "metrics.jsonl cannot be read" in found.troubles[4]


@pytest.mark.parametrize(
    ("decisions", "told"),
    [
        ([100_000, 90_000, 110_000], None),
        ([100_000, 400_000], "1 of 2 runs of a made 400,000 decisions, not the 100,000 of atari100k"),
        ([240, 500], "2 of 2 runs of a made 240 to 500 decisions, not the 100,000 of atari100k"),
    ],
)
def test_runs_that_learned_from_more_or_less_are_said(tmp_path: Path, decisions: list[int], told: str | None) -> None:
    for index, count in enumerate(decisions):
        suite_run(tmp_path / "a" / str(index), PONG, {"final/test": 2.0, "env_steps": count})
    assert read(tmp_path).troubles == ([] if told is None else [told])
