"""`rlsys scores` and `rlsys histograms`: what is written, what is said, and what is refused before anything is."""

import csv
import json
from pathlib import Path

import imageio.v3 as iio
import pytest
from support.command_line import rlsys
from support.runs import planet_run, run_with_metrics
from tensorboardX import SummaryWriter

from rlsys.commands.compiling import write_histograms, write_scores
from rlsys.errors import ConfigError
from rlsys.metrics.rows import read_metrics

COUNTING = """\
algorithm: counted:checking
env: {id: rlsys/Counting-v0}
runtime: {rollout_workers: 1, environments_per_worker: 4}
run:
  training_steps: 20
  evaluate_every_learner_steps: 10
  evaluation_episodes: 3
  log_every_learner_steps: 5
  wandb: disabled
  debug_histograms: true
  video: false
"""
MODULE = """\
import rlsys.testing.environments
from rlsys.testing.algorithm import CHECKING
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with two runs of one label, one of another, and one that never wrote anything."""
    folder = tmp_path / "all runs"
    planet_run(folder / "cc" / "00001", scores=[1.0, 2.0])
    planet_run(folder / "cc" / "00002", scores=[3.0, 4.0, 5.0])
    run_with_metrics(folder / "ppo" / "a", [{"learner_step": 9, "env_steps": 90, "time_s": 1, "evaluation/return": 7}])
    (folder / "died" / "00001").mkdir(parents=True)
    (folder / "died" / "00001" / "config.yaml").write_text("a: b\n")
    return folder


def test_scores_keep_runs_of_one_label_apart_in_real_json(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "scores.json"
    assert write_scores(runs, [out], ()) == f"{out}: 3 runs"
    tree = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert {label: list(found) for label, found in tree.items()} == {"cc": ["00001", "00002"], "ppo": ["a"]}
    assert tree["cc"]["00002"]["test_score"] == [3.0, 4.0, 5.0]
    assert tree["cc"]["00002"]["steps"]["test_score"] == [50, 100, 150]
    assert tree["ppo"]["a"] == {
        "test_score": [7.0],
        "steps": {"test_score": [9]},
        "env_steps": {"test_score": [90]},
    }
    assert capsys.readouterr().out.splitlines() == [
        "died/00001: no test_score, image_loss, reward_loss, image_loss_te, reward_loss_te",
        "ppo/a: no image_loss, reward_loss, image_loss_te, reward_loss_te",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["scores.json"]


def test_scores_are_a_table_or_a_picture_where_the_ending_says_so(runs: Path, tmp_path: Path) -> None:
    write_scores(runs, [tmp_path / "scores.csv"], ())
    with (tmp_path / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 5 * 2 + 5 * 3 + 1
    assert lines[0] == {
        "label": "cc",
        "run": "00001",
        "key": "test_score",
        "step": "50",
        "env_steps": "",
        "value": "1.0",
    }
    assert lines[-1]["env_steps"] == "90"
    assert write_scores(runs, [tmp_path / "scores.png"], ()) == f"{tmp_path / 'scores.png'}: 3 runs"
    assert iio.imread(tmp_path / "scores.png").std() > 5


def test_histograms_are_nested_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in ("1", "2"):
        with SummaryWriter(str(tmp_path / "runs" / "cc" / number / "test")) as writer:
            writer.add_histogram("trainer/test/return_hist", [1.0, 1.0, 4.0], 50)
    out = tmp_path / "histograms.json"
    assert write_histograms(tmp_path / "runs", out, ()) == f"{out}: 2 runs"
    tree = json.loads(out.read_text(), parse_constant=pytest.fail)
    for number in ("1", "2"):
        (samples,) = tree["cc"][number]["return_hist"]
        assert len(samples) == 3 and max(samples) == 4.0
        assert tree["cc"][number]["steps"] == {"return_hist": [50]}
    assert capsys.readouterr().out == "".join(
        f"cc/{number}: no plan_returns_begin, plan_returns_end\n" for number in ("1", "2")
    )


def test_runs_without_any_make_an_empty_object(tmp_path: Path) -> None:
    planet_run(tmp_path / "runs" / "cc" / "1")
    out = tmp_path / "histograms.json"
    assert write_histograms(tmp_path / "runs", out, ()) == f"{out}: 0 runs"
    assert json.loads(out.read_text()) == {}


@pytest.mark.parametrize(
    ("out", "series", "message"),
    [
        ("scores.txt", (), r"OUT = .*scores\.txt; its name must end in \.json or \.csv or \.png"),
        ("config.yaml/scores.json", (), r"OUT = .* cannot be written: "),
        ("s.json", ("loss/value",), r"--series loss/value; it must be KEY=METRIC"),
        ("s.json", ("steps=loss/value",), r"--series steps=loss/value; it must be KEY=METRIC"),
        ("s.json", ("a=b", "a=c"), r"--series a is given twice, as b and as c\. Leave one out"),
    ],
)
def test_what_cannot_be_written_or_meant_is_refused_in_one_line(
    runs: Path, out: str, series: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        write_scores(runs, [runs / "died" / "00001" / out], series)
    assert not list(runs.glob("**/s.json"))


def test_histograms_are_json_only(runs: Path) -> None:
    with pytest.raises(ConfigError, match=r"its name must end in \.json\. Rename it"):
        write_histograms(runs, runs / "histograms.csv", ())


def test_a_training_of_ours_is_compiled_with_its_evaluations(tmp_path: Path) -> None:
    (tmp_path / "counting.yaml").write_text(COUNTING)
    (tmp_path / "counted.py").write_text(MODULE)
    trained = rlsys(tmp_path, "launch", "counting.yaml", "--inline", "run.run_tag=a")
    assert trained.returncode == 0, trained.stderr
    done = rlsys(tmp_path, "scores", "runs", "scores.json", "--series", "total=loss/total")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "scores.json: 1 run"
    rows = [row for row in read_metrics(tmp_path / "runs" / "counting" / "a") if "evaluation/return" in row]
    found = json.loads((tmp_path / "scores.json").read_text())["counting"]["a"]
    assert found["test_score"] == [row["evaluation/return"] for row in rows]
    assert found["steps"]["test_score"] == [10, 20] and len(found["total"]) == 4
    write_histograms(tmp_path / "runs", tmp_path / "histograms.json", ["weights=weights/steps"])
    found = json.loads((tmp_path / "histograms.json").read_text())["counting"]["a"]
    assert [len(samples) for samples in found["return_hist"]] == [3, 3]
    assert sum(found["return_hist"][-1]) / 3 == pytest.approx(rows[-1]["evaluation/return"], rel=0.1)
    assert found["steps"]["return_hist"] == [10, 20] and len(found["weights"][0]) == 1
