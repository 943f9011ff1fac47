"""report.html and the table of an evaluation, of whatever is there of a run."""

import json

import pytest
from support.games import COUNTING, checking_policy, making_runs

from rlsys.api import ValueSpec
from rlsys.config import EnvConfig
from rlsys.evaluation.episodes import play_episodes
from rlsys.evaluation.rows import result_row
from rlsys.metrics.report import evaluation_table, write_report


@pytest.fixture
def run(tmp_path, monkeypatch):
    return making_runs(tmp_path, monkeypatch)


def test_a_report_can_be_written_of_a_run_that_was_never_evaluated(run):
    folder = run("checking")
    row = {"learner_step": 3, "env_steps": 9, "time_s": 1.5, "episodes/return": 2.0, "loss/total": None}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    page = write_report(folder).read_text()
    assert "checking-counting/" in page
    assert "3 learner steps and 9 environment steps" in page
    assert "Evaluation" not in page


@pytest.mark.parametrize("name", ["config.yaml", "versions.json", "eval.json"])
@pytest.mark.parametrize("damage", ["", "[1", '{"results": [{}]}', "\0"])
def test_a_report_goes_without_what_is_damaged_and_says_so(run, name, damage):
    folder = run("checking")
    (folder / "metrics.jsonl").write_text('{"learner_step": 3, "env_steps": 9, "time_s": 1.5}\n')
    (folder / name).write_text(damage)
    said = []
    page = write_report(folder, said.append).read_text()
    assert "3 learner steps and 9 environment steps" in page
    assert [line.partition(": ")[0] for line in said] == [f"report.html goes without {name}"] * len(said)
    assert said or (name, damage) in {("config.yaml", ""), ("config.yaml", '{"results": [{}]}')}


def test_a_row_is_normalized_where_the_environment_has_reference_scores():
    statistics = play_episodes(checking_policy(), COUNTING, 2, seed=0)
    pong = result_row("a", EnvConfig(id="Pong-ramNoFrameskip-v4"), statistics, ValueSpec(1.0, "value"))
    assert pong["normalized"] == pytest.approx(100 * (statistics.mean + 20.7) / (14.6 + 20.7))
    plain = result_row("b", COUNTING, statistics, ValueSpec(1.0, "value"))
    assert "normalized" not in plain
    table = evaluation_table({"results": [pong, plain]})
    column = table.header.index("normalized %")
    assert [row[column] for row in table.rows] == [f"{pong['normalized']:,.1f}", ""]
    assert "normalized %" not in evaluation_table({"results": [plain]}).header
