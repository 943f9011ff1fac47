"""From reports to a row of metrics: what is summed, and what becomes of a learner that is held back."""

import json
import math

import imageio.v3 as iio
import numpy as np
import pytest
from support.runs import MakeRecorder, MakeSpec

from rlsys.metrics.process_stats import ProcessMeter
from rlsys.metrics.rows import read_metrics
from rlsys.runs.progress import Progress
from rlsys.runs.spec import RunSpec
from rlsys.runs.workers import Worker, WorkerKind
from rlsys.runtime.driver.recorder import Recorder
from rlsys.runtime.workers.learning import LearnerReport
from rlsys.runtime.workers.rollout import RolloutReport
from rlsys.runtime.workers.shard import ShardReport
from rlsys.types import ModelComparison


def written(recorder: Recorder, spec: RunSpec) -> dict[str, float]:
    recorder.write()
    return read_metrics(spec.folder)[-1]


def test_shares_are_of_all_workers_of_a_kind_and_idle_is_of_the_time_at_work(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_spec()
    recorder = make_recorder(spec, Progress(spec.run))
    for index, env_s in enumerate((3.0, 1.0)):
        recorder.rollout(RolloutReport(index, env_steps=4, spent={"env": env_s, "act": 4.0 - env_s}))
    spent = {"update": 3.0, "wait_replay": 1.0, "other": 4.0}
    recorder.learner(LearnerReport(1, steps=1, spent=spent, metrics={"loss/total": [2.0]}))
    recorder.learner(LearnerReport(1, steps=1, spent=spent, metrics={"loss/total": [9.0]}), rank=1)
    row = written(recorder, spec)
    assert row["workers/rollout_env_share"] == row["workers/rollout_act_share"] == 0.5
    assert row["workers/learner_wait_replay_share"] == 0.125
    assert row["learner/idle_share"] == pytest.approx(0.25)
    assert row["loss/total"] == 2.0, "all ranks compute the same"


def test_time_between_calls_is_held_time_when_the_learner_waited_for_newer_weights(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_spec()
    recorder = make_recorder(spec, Progress(spec.run))
    spent = {"update": 1.0, "other": 3.0}
    recorder.waits(Worker(WorkerKind.LEARNER, 0), "rollout worker 0 to act with newer weights")
    recorder.learner(LearnerReport(1, steps=1, spent=spent))
    assert written(recorder, spec)["workers/learner_held_share"] == 0.75
    recorder.learner(LearnerReport(2, steps=1, spent=spent))
    row = written(recorder, spec)
    assert (row["workers/learner_other_share"], "workers/learner_held_share" in row) == (0.75, False)


def test_rows_by_steps_come_as_soon_as_such_a_step_is_past_and_again_after_a_learner_went_back(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_spec(run={"log_every_learner_steps": 10, "log_every_s": 1e-3})
    progress = Progress(spec.run)
    recorder = make_recorder(spec, progress)
    for progress.learner_steps in (3, 9, 12, 19, 20, 20, 47):
        recorder.tick()
    assert [row["learner_step"] for row in read_metrics(spec.folder)] == [12, 20, 47]
    recorder.rewind(30)
    for progress.learner_steps in (30, 38, 40):
        recorder.tick()
    assert [row["learner_step"] for row in read_metrics(spec.folder)] == [12, 20, 30, 40]
    progress.learner_steps = 49
    recorder.finish()
    progress.learner_steps = 50
    recorder.finish()
    assert [row["learner_step"] for row in read_metrics(spec.folder)][4:] == [50]


FORETOLD = ModelComparison(
    observation=np.zeros((5, 20, 16), np.uint8),
    model_observation=np.full((5, 20, 16), 200, np.uint8),
    reward=np.zeros(5, np.float32),
    model_reward=np.ones(5, np.float32),
)


def test_what_a_world_model_foretold_becomes_a_film(make_spec: MakeSpec, make_recorder: MakeRecorder) -> None:
    spec = make_spec()
    recorder = make_recorder(spec, Progress(spec.run))
    recorder.learner(LearnerReport(7, steps=1, shown={"world/comparison": [FORETOLD, FORETOLD]}))
    film = spec.folder / "media" / "world-comparison-000000007.mp4"
    frames = iio.imread(film, plugin="FFMPEG")
    assert len(frames) == 2 * (5 + 2)
    assert frames[0, -1, 100].min() > 150 and frames[0, -1, frames.shape[2] // 2].max() < 60, "the model, then the game"


def test_a_long_film_of_a_world_model_ends_and_one_line_says_so(
    make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(run={"video_frames": 4})
    recorder = make_recorder(spec, Progress(spec.run))
    said: list[str] = []
    monkeypatch.setattr(recorder, "message", said.append)
    for step in (7, 8):
        recorder.learner(LearnerReport(step, steps=1, shown={"world/comparison": [FORETOLD]}))
        film = spec.folder / "media" / f"world-comparison-{step:09d}.mp4"
        assert len(iio.imread(film, plugin="FFMPEG")) == 4
    assert said == ["the film world/comparison shows only the beginning, video_frames = 4. Training goes on."]


def test_a_film_that_cannot_be_written_ends_nothing(
    make_spec: MakeSpec, make_recorder: MakeRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec()
    recorder = make_recorder(spec, Progress(spec.run))
    said: list[str] = []
    monkeypatch.setattr(recorder, "message", said.append)
    (spec.folder / "media").write_text("in the way")
    recorder.learner(LearnerReport(7, steps=1, shown={"world/comparison": [FORETOLD]}, metrics={"loss/total": [2.0]}))
    assert written(recorder, spec)["loss/total"] == 2.0
    assert len(said) == 1 and "world/comparison is left out" in said[0]


def test_an_average_is_the_same_in_whatever_portions_it_comes_and_over_a_checkpoint(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_spec()
    values = np.random.default_rng(0).normal(scale=1e3, size=99).tolist()
    rows = []
    for sizes in ([99], [1] * 99, [40, 59]):
        recorder, left = make_recorder(spec, Progress(spec.run)), list(values)
        for size in sizes:
            portion, left = left[:size], left[size:]
            ages = np.arange(size)
            recorder.learner(LearnerReport(1, size, {"loss/total": portion}, lags=ages, ages=5 * ages))
            recorder.rollout(RolloutReport(0, env_steps=4, means={"rollout/value": portion[0]}))
            other = make_recorder(spec, Progress(spec.run))
            other.load(json.loads(json.dumps(recorder.save(), default=np.ndarray.tolist)))
            recorder = other
        rows.append(written(recorder, spec))
    assert rows[0]["loss/total"] == rows[1]["loss/total"] == rows[2]["loss/total"] == math.fsum(values) / 99
    assert rows[2]["rollout/value"] == math.fsum([values[0], values[40]]) / 2
    assert rows[0]["replay/version_lag_max"] == 98
    assert (rows[0]["replay/target_age_mean"], rows[0]["replay/target_age_max"]) == (5 * 49, 5 * 98)


def test_what_is_left_to_report_by_a_run_from_before_there_were_ages_is_reported(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_spec()
    before = make_recorder(spec, Progress(spec.run))
    before.learner(LearnerReport(1, 2, {}, lags=np.array([3, 5])))
    saved = before.save()
    del saved["ages"]
    recorder = make_recorder(spec, Progress(spec.run))
    recorder.load(saved)
    row = written(recorder, spec)
    assert row["replay/version_lag_max"] == 5 and "replay/target_age_max" not in row


def test_counts_of_replay_go_on_where_a_shard_that_died_left_off(
    make_spec: MakeSpec, make_recorder: MakeRecorder
) -> None:
    spec = make_spec()
    recorder = make_recorder(spec, Progress(spec.run))
    process_stats = ProcessMeter().take()

    def row(first: float, second: float, seen: float, items: float) -> dict[str, float]:
        for index, count in enumerate((first, second)):
            recorder.shard(ShardReport(index, process_stats, stats={"inserted_items": count, "items": count}))
        recorder.learner(LearnerReport(1, replay={"inserted": seen, "inserted_items": seen, "items": items}))
        return written(recorder, spec)

    assert row(100, 50, 150, 150)["replay/inserted"] == 150
    after = row(20, 60, 80, 80)  # the first came back with what its checkpoint held
    assert (after["replay/inserted"], after["replay/items"]) == (160, 80)
    assert row(30, 70, 100, 100)["replay/inserted"] == 180
    assert row(30, 70, 0, 0)["replay/inserted"] == 180, "a new learner has not asked the shards yet"
    assert row(35, 75, 110, 110)["replay/inserted"] == 190
    resumed = make_recorder(spec, Progress(spec.run))
    resumed.load(recorder.save())
    recorder = resumed
    assert row(40, 80, 120, 120)["replay/inserted_items"] == 200
