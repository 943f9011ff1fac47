"""Evaluation while a run trains."""

from collections.abc import Callable
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from rlsys.checkpoints.checkpoint import Checkpoints
from rlsys.evaluation import kept_games
from rlsys.evaluation.evaluator import evaluate
from rlsys.metrics.rows import read_metrics
from rlsys.runs.progress import Progress
from rlsys.runtime.driver.inline import InlineRun
from rlsys.types import Weights
from rlsys.viewer.episodes import folder_of, kept_in, read_episode


def test_while_training_the_first_cell_is_the_runs_return_and_each_is_a_metric(
    make_spec: Callable[..., Any], make_recorder: Callable[..., Any]
) -> None:
    grid = {"evaluation_temperatures": (0.0,), "evaluation_noops": (0,), "evaluation_episodes": 2, "video": False}
    spec = make_spec(run={**grid, "evaluate_every_learner_steps": 20, "training_steps": 20})
    progress = Progress(spec.run)
    recorder = make_recorder(spec, progress)
    run = InlineRun(spec, progress, recorder, Checkpoints(spec.checkpoints, keep=1))
    run.start(None)
    run.run()
    (row,) = [row for row in read_metrics(spec.folder) if "evaluation/return" in row]
    name = "mean_reward/eval/sampling_temp_0.0_max_noops_0"
    assert row[f"{name}_unclipped"] == row["evaluation/return"]
    assert row[f"{name}_clipped"] == row["evaluation/length"]


def test_the_line_of_an_evaluation_says_where_its_film_is_only_the_beginning(
    make_spec: Callable[..., Any], make_recorder: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(run={"evaluation_episodes": 2, "video_frames": 3})
    spec.folder.mkdir(parents=True, exist_ok=True)
    (spec.folder / "config.yaml").touch()
    found = evaluate(spec, Weights(1, 10, {}))
    assert found.film is not None and len(iio.imread(found.film, plugin="FFMPEG")) == 3
    recorder = make_recorder(spec, Progress(spec.run))
    said: list[str] = []
    monkeypatch.setattr(recorder, "message", said.append)
    recorder.evaluation(found, 100)
    (line,) = said
    length = int(found.statistics.lengths[0]) + 1
    assert line.endswith(f"2 episodes; the film is the first 3 of {length} pictures, video_frames = 3")


def test_numbers_that_the_policy_tells_are_histograms_where_they_are_asked_for(make_spec: Callable[..., Any]) -> None:
    settings = {"evaluation_episodes": 3, "video": False}
    found = evaluate(make_spec(run=settings), Weights(1, 10, {}))
    assert list(found.histograms) == ["return_hist", "action"]
    assert len(found.histograms["action"]) == found.statistics.lengths.sum()
    assert found.histograms["return_hist"].tolist() == found.statistics.returns.tolist()
    told = evaluate(make_spec(run={**settings, "debug_histograms": True}), Weights(1, 10, {}))
    assert told.statistics.traces == () and set(told.histograms) == {"return_hist", "action", "seen", "value"}
    expected = np.concatenate([np.arange(length) for length in told.statistics.lengths])
    assert told.histograms["value"].tolist() == expected.tolist()
    assert len(told.histograms["seen"]) == 3 * len(expected)


def test_the_first_games_are_kept_as_the_policy_saw_them(make_spec: Callable[..., Any]) -> None:
    spec = make_spec(run={"evaluation_episodes": 3, "video": False, "kept_episodes": 2})
    spec.folder.mkdir(parents=True)
    (spec.folder / "config.yaml").touch()
    found = evaluate(spec, Weights(1, 10, {}))
    kept = [read_episode(path) for path in kept_in(folder_of(spec.folder, "test"))]
    assert len(kept) == 3, "two games, and the better one once more"
    for game, episode_return, length in zip(kept[:2], found.statistics.returns, found.statistics.lengths, strict=False):
        assert game.episode_return == episode_return and len(game.action) == length
        assert len(game.observation) == length + 1 and game.terminated[-1] and not game.terminated[:-1].any()


def test_games_that_are_too_long_are_not_kept(make_spec: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_games, "MOST_KEPT", 5)
    spec = make_spec(run={"evaluation_episodes": 3, "video": False, "kept_episodes": 3})
    spec.folder.mkdir(parents=True)
    (spec.folder / "config.yaml").touch()
    lengths = evaluate(spec, Weights(1, 10, {})).statistics.lengths
    assert max(lengths) > 5
    kept = [path for path in kept_in(folder_of(spec.folder, "test")) if not path.name.startswith("best_")]
    assert len(kept) == sum(length <= 5 for length in lengths)


def test_a_run_that_keeps_no_episodes_has_none(make_spec: Callable[..., Any]) -> None:
    spec = make_spec(run={"evaluation_episodes": 1, "video": False, "kept_episodes": 0})
    spec.folder.mkdir(parents=True)
    (spec.folder / "config.yaml").touch()
    assert list(evaluate(spec, Weights(1, 10, {})).histograms) == ["return_hist"]
    assert not (spec.folder / "media").exists()


def test_without_a_grid_evaluations_report_what_they_did(make_spec: Callable[..., Any]) -> None:
    spec = make_spec(run={"evaluation_episodes": 1, "video": False})
    assert evaluate(spec, Weights(1, 10, {})).metrics == {}
