"""Evaluation in a grid: what each cell plays, how it is called, and where its results go."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from support.games import COUNTING, SEARCHING, evaluation_of, making_runs, played_alone

from rlsys.config import EnvConfig
from rlsys.envs.make import make, max_noops, with_max_noops
from rlsys.errors import CheckpointError, ConfigError
from rlsys.evaluation.evaluator import evaluate
from rlsys.evaluation.planning_policy import Planning
from rlsys.evaluation.run import EvaluationOptions, evaluate_run
from rlsys.metrics.rows import read_metrics
from rlsys.metrics.tracking import Tracker
from rlsys.runs import folder as run_folder
from rlsys.runs.heartbeat import Heartbeat
from rlsys.runs.progress import Progress
from rlsys.runs.resolve import check
from rlsys.runtime.driver.inline import InlineRun
from rlsys.types import Weights
from rlsys.viewer.header import HEADER_HEIGHT, with_header

BREAKOUT = EnvConfig(id="BreakoutNoFrameskip-v4", frame_size=(12, 12), frame_skip=4)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    return making_runs(tmp_path, monkeypatch)


def noops_played(config: EnvConfig, seed: int) -> int:
    env = make(config, seed, training=False)
    env.reset()
    return int(env.unwrapped.ale.getEpisodeFrameNumber())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("env_id", "frames"), [("BreakoutNoFrameskip-v4", 12), ("BreakoutDeterministic-v4", 12), ("CartPole-v1", None)]
)
def test_no_ops_are_counted_in_decisions_and_drawn_in_the_emulators_steps(env_id: str, frames: int | None) -> None:
    config = EnvConfig(id=env_id, frame_skip=1 if "Deterministic" in env_id else 4, noop_reset=frames is not None)
    assert with_max_noops(config, 0).noop_reset is False
    assert max_noops(with_max_noops(config, 0)) == 0
    if frames is None:
        return
    changed = with_max_noops(config, 3)
    assert max_noops(changed) == 3
    played = {noops_played(changed, seed) for seed in range(40)}
    assert min(played) == 0 and max(played) == frames
    assert all(count % 4 == 0 for count in played) is ("Deterministic" in env_id)


def test_each_cell_is_a_row_and_two_metrics_of_the_run_at_the_checkpoints_step(run: Callable[..., Path]) -> None:
    folder = run("searching", BREAKOUT)
    row = {"learner_step": 30, "env_steps": 3_000, "time_s": 1.5, "loss/total": 1.0}
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    options = EvaluationOptions(str(folder), episodes=2, temperatures=(0.0, 0.5), noops=(0, 8), max_steps=3)
    assert evaluate_run(options) == 0
    results = evaluation_of(folder)["results"]
    assert [result["label"] for result in results] == [
        f"temperature {t}, noops {n}, max_steps 3" for t in ("0", "0.5") for n in (0, 8)
    ]
    assert all(result["lengths"] == [3, 3] for result in results)
    _, evaluated = read_metrics(folder)
    assert (evaluated["learner_step"], evaluated["env_steps"]) == (20, 2_000)
    assert evaluated["time_s"] == 1.5, "no time of the run passes while it is evaluated"
    names = {
        f"mean_reward/eval/sampling_temp_{t}_max_noops_{n}_{kind}"
        for t in ("0.0", "0.5")
        for n in (0, 8)
        for kind in ("clipped", "unclipped")
    }
    assert evaluated.keys() - {"learner_step", "env_steps", "time_s"} == names
    page = (folder / "report.html").read_text()
    assert "<td>temperature 0.5, noops 8, max_steps 3</td>" in page
    assert "30 learner steps and 3,000 environment steps" in page


def test_clipped_returns_are_sums_of_signs(run: Callable[..., Path]) -> None:
    folder = run("checking")
    evaluate_run(EvaluationOptions(str(folder), episodes=3))
    (result,) = evaluation_of(folder)["results"]
    assert result["clipped"] == result["lengths"], "every reward of the counting environment is positive"
    assert result["metrics"] == {
        "mean_reward/eval/sampling_temp_0.0_max_noops_0_unclipped": pytest.approx(np.mean(result["returns"])),
        "mean_reward/eval/sampling_temp_0.0_max_noops_0_clipped": pytest.approx(np.mean(result["lengths"])),
    }


def test_an_episode_is_cut_after_max_steps_and_counts_with_what_it_has_earned(run: Callable[..., Path]) -> None:
    folder = run("checking")
    evaluate_run(EvaluationOptions(str(folder), episodes=6, max_steps=12))
    (result,) = evaluation_of(folder)["results"]
    lengths = [played_alone(COUNTING, 5 + index)[1] for index in range(6)]
    assert min(lengths) < 12 < max(lengths), "some must be cut and some not for this to say something"
    assert result["lengths"] == [min(length, 12) for length in lengths]
    assert result["returns"] == [length * (length + 1) / 2 for length in result["lengths"]]


def test_every_kept_checkpoint_is_a_row_at_its_own_step(run: Callable[..., Path]) -> None:
    folder = run("checking")
    (folder / "metrics.jsonl").touch()
    evaluate_run(EvaluationOptions(str(folder), episodes=2, all_checkpoints=True))
    found = evaluation_of(folder)
    assert [result["label"] for result in found["results"]] == ["step 10, temperature 0", "step 20, temperature 0"]
    assert [row["learner_step"] for row in read_metrics(folder)] == [10, 20]


def test_the_planner_plays_with_the_model_of_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = EvaluationOptions("simple-catch", episodes=3, agent="planner", planning=Planning(3, 2), max_steps=5)
    evaluate_run(dataclasses.replace(options, parallel=2))
    [row] = json.loads((tmp_path / "runs/exports/simple-catch/eval.json").read_text())["results"]
    assert row["label"] == "planner, temperature 0, max_steps 5"
    assert row["lengths"] == [5, 5, 5]
    names = [f"mean_reward/eval/planner_sampling_temp_0.0_max_noops_0_{kind}" for kind in ("unclipped", "clipped")]
    assert [*row["metrics"]] == names


def test_a_planner_without_a_model_is_refused(run: Callable[..., Path]) -> None:
    with pytest.raises(CheckpointError, match="holds no world model; it was written without one"):
        evaluate_run(EvaluationOptions(str(run("searching", COUNTING)), agent="planner"))
    with pytest.raises(ConfigError, match="rollouts or horizon with agent = policy; only the planner"):
        evaluate_run(EvaluationOptions(str(run("searching", COUNTING)), planning=Planning(3, 2)))


def test_random_actions_need_no_checkpoint_and_have_names_of_their_own(
    run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run("checking")
    for manifest in folder.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    evaluate_run(EvaluationOptions(str(folder), episodes=2, agent="random"))
    (result,) = evaluation_of(folder)["results"]
    assert result["label"] == "random"
    assert [*result["metrics"]] == [f"mean_reward/eval/random_max_noops_0_{kind}" for kind in ("unclipped", "clipped")]
    assert "rlsys/Counting-v0, seeds from 5" in capsys.readouterr().out


def test_the_first_episodes_of_each_cell_are_filmed_below_a_header(run: Callable[..., Path], tmp_path: Path) -> None:
    folder = run("searching")
    options = EvaluationOptions(str(folder), episodes=4, temperatures=(0.0, 1.0), films=3, parallel=2)
    evaluate_run(options)
    names = [
        f"evaluation-000000020-sampling_temp_{t}_max_noops_0-{index}.mp4" for t in ("0.0", "1.0") for index in range(3)
    ]
    assert sorted(path.name for path in (folder / "media").iterdir()) == names
    for index in range(3):
        pictures = iio.imread(folder / "media" / names[index], plugin="FFMPEG")
        assert len(pictures) == played_alone(COUNTING, 5 + index)[1] + 1


def test_a_header_is_red_text_above_an_untouched_picture() -> None:
    picture = np.full((40, 160, 3), 7, np.uint8)
    below = with_header(picture, "c:12 r:1", "f:8")
    assert below.shape == (40 + HEADER_HEIGHT, 160, 3)
    np.testing.assert_array_equal(below[HEADER_HEIGHT:], picture)
    header = below[:HEADER_HEIGHT]
    assert header[:13, :, 0].max() == 255 and header[13:, :, 0].max() == 255
    assert header[..., 1:].max() == 0
    assert (with_header(picture, "c:12 r:1", "f:9") != below).any()


def test_rows_of_a_finished_run_go_where_its_own_went_and_it_can_be_resumed(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = run("checking")
    loaded = run_folder.load(folder)
    tracker = Tracker(folder, loaded, folder.name, resume=False)
    for step in (10, 20, 30):
        tracker.log({"loss/total": 1.0}, learner_step=step, env_steps=100 * step)
    tracker.close()
    sessions = len([*folder.glob("wandb/offline-run-*")])
    evaluate_run(EvaluationOptions(str(folder), episodes=1))
    assert len([*folder.glob("tensorboard/*")]) == 2
    assert len([*folder.glob("wandb/offline-run-*")]) == sessions + 1 or sessions > 1
    resumed = Tracker(folder, loaded, folder.name, resume=True)
    resumed.rewind(20)
    resumed.log({"loss/total": 2.0}, learner_step=25, env_steps=2_500)
    resumed.close()
    rows = read_metrics(folder)
    assert [row["learner_step"] for row in rows] == [10, 20, 20, 25]
    assert "mean_reward/eval/sampling_temp_0.0_max_noops_0_unclipped" in rows[2]
    times = [row["time_s"] for row in rows]
    assert times == sorted(times)


def test_nothing_is_added_to_the_metrics_of_a_run_that_is_being_trained(run: Callable[..., Path]) -> None:
    folder = run("checking")
    (folder / "metrics.jsonl").touch()
    with Heartbeat(folder):
        evaluate_run(EvaluationOptions(str(folder), episodes=1))
    assert (folder / "eval.json").is_file()
    assert read_metrics(folder) == []


def test_while_training_the_first_cell_is_the_runs_return_and_each_is_a_metric(
    make_spec: Callable[..., Any], make_recorder: Callable[..., Any]
) -> None:
    grid = {"evaluation_temperatures": (0.0,), "evaluation_noops": (0,), "evaluation_episodes": 2, "video": False}
    spec = make_spec(run={**grid, "evaluate_every_learner_steps": 20, "training_steps": 20})
    progress = Progress(spec.run)
    recorder = make_recorder(spec, progress)
    from rlsys.checkpoints.checkpoint import Checkpoints

    run = InlineRun(spec, progress, recorder, Checkpoints(spec.checkpoints, keep=1))
    run.start(None)
    run.run()
    (row,) = [row for row in read_metrics(spec.folder) if "evaluation/return" in row]
    name = "mean_reward/eval/sampling_temp_0.0_max_noops_0"
    assert row[f"{name}_unclipped"] == row["evaluation/return"]
    assert row[f"{name}_clipped"] == row["evaluation/length"]


def test_without_a_grid_evaluations_report_what_they_did(make_spec: Callable[..., Any]) -> None:
    spec = make_spec(run={"evaluation_episodes": 1, "video": False})
    assert evaluate(spec, Weights(1, 10, {})).metrics == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"evaluation_temperatures": (0.0, 0.5)}, r"run\.evaluation_temperatures .* eval_temperature = 0\.5 cannot"),
        ({"evaluation_noops": (8,)}, r"run\.evaluation_noops: no-ops = 8 with 'rlsys/Counting-v0'; only Atari games"),
        (
            {"evaluation_temperatures": (0.0,), "evaluation_explore": True},
            r"run\.evaluation_temperatures with run\.evaluation_explore = True",
        ),
    ],
)
def test_a_grid_that_cannot_be_played_is_refused_before_anything_starts(
    make_spec: Callable[..., Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check(make_spec(run=settings))


def test_the_grid_of_a_section_with_a_temperature_has_it_in_each_cell(make_spec: Callable[..., Any]) -> None:
    spec = make_spec(run={"evaluation_temperatures": (0.0, 0.5)})
    object.__setattr__(spec, "section", SEARCHING.config_type(eval_temperature=0.25))
    assert [cell.section.eval_temperature for cell in spec.evaluation_grid] == [0.0, 0.5]
    assert [cell.name for cell in spec.evaluation_grid] == [f"sampling_temp_{t}_max_noops_0" for t in ("0.0", "0.5")]
