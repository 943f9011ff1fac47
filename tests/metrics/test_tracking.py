"""Tracking: one row everywhere, nothing lost or torn, and no sink that can take training down unsaid."""

import json
import math
import resource
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest

from rlsys.config import Experiment, Loaded, RunConfig
from rlsys.errors import CheckpointError, ConfigError, WorkerError
from rlsys.metrics import sinks, tracking
from rlsys.metrics.rows import read_metrics
from rlsys.metrics.sinks import Row, has_wandb_login, wandb_mode
from rlsys.metrics.tracking import Tracker


def loaded(**run: Any) -> Loaded:
    """Returns an experiment without sinks besides metrics.jsonl, unless asked for."""
    settings = {"wandb": "disabled", "tensorboard": False, **run}
    return Loaded("checking", "laptop", Experiment(algorithm="checking", run=RunConfig(**settings)), {})


def log(tracker: Tracker, step: int, **metrics: float) -> None:
    """Writes one row at `step` with 10 environment steps per learner step."""
    tracker.log(
        {name.replace("__", "/"): value for name, value in metrics.items()}, learner_step=step, env_steps=10 * step
    )


class Recording:
    """A sink that keeps what it is given, and fails when told to."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.rewound: list[int] = []
        self.closed = 0
        self.fails = False

    def write(self, row: Row) -> None:
        if self.fails:
            raise ConnectionError("the network\nis gone")
        self.rows.append(row)

    def rewind(self, learner_step: int) -> None:
        self.rewound.append(learner_step)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    """A sink in TensorBoard's place."""
    sink = Recording()
    monkeypatch.setattr(tracking, "TensorBoard", lambda folder: sink)
    return sink


def test_each_row_is_one_line_with_its_steps_and_null_for_what_is_not_finite(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, loaded(), "r", resume=False)
    log(tracker, 1, loss__value=0.5, loss__policy=math.nan, episodes__return=-math.inf)
    log(tracker, 2, loss__value=np.float32(0.25))
    first, second = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert list(first) == ["learner_step", "env_steps", "time_s", "loss/value", "loss/policy", "episodes/return"]
    assert (first["learner_step"], first["env_steps"], first["loss/value"]) == (1, 10, 0.5)
    assert first["loss/policy"] is None and first["episodes/return"] is None
    assert second["loss/value"] == 0.25
    assert 0 <= first["time_s"] <= second["time_s"]
    tracker.close()


def test_rows_read_back_are_the_rows_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=20)
    tracker = Tracker(tmp_path, loaded(), "r", resume=False)
    for step, value in enumerate(values):
        log(tracker, step, loss__value=value, loss__nan=math.nan)
        assert len(read_metrics(tmp_path)) == step + 1
    tracker.close()
    rows = read_metrics(tmp_path)
    assert [row["loss/value"] for row in rows] == list(values)
    assert all(math.isnan(row["loss/nan"]) for row in rows)


@pytest.mark.parametrize(
    "torn", ['{"learner_step": 3, "env', "{", '{"learner_step": 3, "env_steps": 30, "time_s": 9.0}']
)
def test_a_torn_last_line_is_ignored_by_readers_and_removed_on_resume(tmp_path: Path, torn: str) -> None:
    tracker = Tracker(tmp_path, loaded(), "r", resume=False)
    log(tracker, 1, loss__value=1.0)
    log(tracker, 2, loss__value=2.0)
    tracker.close()
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode())
    assert [row["learner_step"] for row in read_metrics(tmp_path)] == [1, 2]
    resumed = Tracker(tmp_path, loaded(), "r", resume=True)
    assert path.read_bytes() == whole
    log(resumed, 3, loss__value=3.0)
    resumed.close()
    assert [row["loss/value"] for row in read_metrics(tmp_path)] == [1.0, 2.0, 3.0]


def test_time_goes_on_where_the_last_session_ended(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"learner_step": 5, "env_steps": 50, "time_s": 100.0}\n')
    tracker = Tracker(tmp_path, loaded(), "r", resume=True)
    log(tracker, 6)
    tracker.close()
    assert 100.0 <= read_metrics(tmp_path)[-1]["time_s"] < 110.0


def test_a_rewind_hides_the_rows_to_be_repeated_but_keeps_them_in_the_file(
    tmp_path: Path, recording: Recording
) -> None:
    tracker = Tracker(tmp_path, loaded(tensorboard=True), "r", resume=False)
    for step in (1, 2, 3):
        log(tracker, step, loss__value=float(step))
    tracker.close()
    resumed = Tracker(tmp_path, loaded(tensorboard=True), "r", resume=True)
    resumed.rewind(2)
    log(resumed, 3, loss__value=-3.0)
    resumed.close()
    assert [row["loss/value"] for row in read_metrics(tmp_path)] == [1.0, 2.0, -3.0]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 6
    assert recording.rewound == [2]
    assert [row.number for row in recording.rows] == [0, 1, 2, 5]


def test_a_new_run_never_continues_the_metrics_of_another(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    with pytest.raises(ConfigError, match="holds the metrics of another run"):
        Tracker(tmp_path, loaded(), "r", resume=False)


def test_metrics_of_no_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"Is .* the folder of a run"):
        read_metrics(tmp_path / "elsewhere")


def test_films_and_histograms_travel_once_with_the_next_row(tmp_path: Path, recording: Recording) -> None:
    tracker = Tracker(tmp_path, loaded(tensorboard=True), "r", resume=False)
    tracker.film("evaluation/film", tmp_path / "a.mp4")
    tracker.histograms({"weights/w": np.ones(3)})
    log(tracker, 1, loss__value=1.0)
    log(tracker, 2, loss__value=1.0)
    tracker.close()
    first, second = recording.rows
    assert (dict(first.films), list(first.histograms)) == ({"evaluation/film": tmp_path / "a.mp4"}, ["weights/w"])
    assert not second.films and not second.histograms


def test_a_sink_that_fails_is_left_out_with_one_warning(tmp_path: Path, recording: Recording) -> None:
    warnings: list[str] = []
    tracker = Tracker(tmp_path, loaded(tensorboard=True), "r", resume=False, warn=warnings.append)
    log(tracker, 1)
    recording.fails = True
    for step in (2, 3):
        log(tracker, step)
    recording.fails = False
    log(tracker, 4)
    tracker.close()
    assert [row.learner_step for row in recording.rows] == [1]
    assert recording.closed == 1
    assert warnings == [
        "TensorBoard is left out from here on (ConnectionError: the network is gone); metrics.jsonl goes on."
    ]
    assert [row["learner_step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4]


def test_a_sink_that_cannot_be_opened_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path) -> None:
        raise ModuleNotFoundError("No module named 'tensorboardX'")

    monkeypatch.setattr(tracking, "TensorBoard", broken)
    warnings: list[str] = []
    tracker = Tracker(tmp_path, loaded(tensorboard=True), "r", resume=False, warn=warnings.append)
    log(tracker, 1)
    tracker.close()
    assert len(warnings) == 1 and "tensorboardX" in warnings[0]


def test_while_the_disk_is_full_rows_wait_and_none_is_lost(tmp_path: Path) -> None:
    warnings: list[str] = []
    tracker = Tracker(tmp_path, loaded(), "r", resume=False, warn=warnings.append)
    log(tracker, 1)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, limits[1]))  # room for a part of a line
    try:
        log(tracker, 2)
        log(tracker, 3)
        assert path.read_bytes() == whole, "no line is torn"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    log(tracker, 4)
    assert [row["learner_step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4]
    assert warnings == [
        f"cannot write {path}: No space left on device. Make room: rows are kept in memory until then.",
        f"{path} can be written again; no row is lost",
    ]
    tracker.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_disk_that_stays_full_to_the_end_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    tracker = Tracker(tmp_path, loaded(), "r", resume=True)
    log(tracker, 1)
    with pytest.raises(WorkerError, match=r"cannot write .*: No space left on device\. Make room, then"):
        tracker.close()
    monkeypatch.setattr(tracking, "_MOST_LATE", 2)
    tracker = Tracker(tmp_path, loaded(), "r", resume=True)
    log(tracker, 1)
    log(tracker, 2)
    with pytest.raises(WorkerError, match="No space left on device"):
        log(tracker, 3)


def test_auto_tracks_online_with_a_login_and_offline_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    assert not has_wandb_login()
    assert wandb_mode("auto") == "offline"
    with pytest.raises(ConfigError, match=r"run\.wandb = online, but there is no Weights & Biases login"):
        wandb_mode("online")
    netrc.write_text("machine api.wandb.ai login user password secret\n")
    assert wandb_mode("auto") == wandb_mode("online") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert wandb_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert wandb_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode("auto") == "disabled"
    assert wandb_mode("offline") == "offline"


def test_tensorboard_files_hold_the_finite_scalars_at_their_learner_steps(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, loaded(tensorboard=True), "r", resume=False)
    log(tracker, 1, loss__value=0.5, loss__nan=math.nan)
    tracker.histograms({"weights/w": np.arange(4.0)})
    log(tracker, 2, loss__value=0.25)
    tracker.rewind(1)
    log(tracker, 2, loss__value=0.125)
    tracker.close()
    events = list(tensorboard_events(tmp_path / "tensorboard"))
    scalars = [
        (event.step, v.tag, v.simple_value) for event in events for v in event.summary.value if not v.HasField("histo")
    ]
    losses = [entry for entry in scalars if entry[1].startswith("loss/")]
    assert losses == [(1, "loss/value", 0.5), (2, "loss/value", 0.25), (2, "loss/value", 0.125)]
    assert (1, "progress/env_steps", 10.0) in scalars
    assert any(v.tag == "weights/w" and v.HasField("histo") for event in events for v in event.summary.value)
    assert [event.step for event in events if event.HasField("session_log")] == [2]


def test_wandb_offline_gets_one_call_per_row_with_group_axes_config_and_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RLSYS_TEST_SECRET", "correct-horse-battery")
    film = tmp_path / "film.mp4"
    write_film(film)
    warnings: list[str] = []
    settings = loaded(wandb="offline", wandb_project="p", group_tag="g")
    tracker = Tracker(tmp_path, settings, "r/1", resume=False, warn=warnings.append)
    log(tracker, 0, loss__value=0.5, episodes__return=1.0, system__rollout_cpu_cores=1.5)
    tracker.film("evaluation/film", film)
    tracker.histograms({"weights/w": np.arange(4.0)})
    log(tracker, 0, loss__value=math.nan, episodes__return=2.0)
    tracker.close()
    assert warnings == []
    records = list(wandb_records(tmp_path))
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.project, run.run_group, run.job_type, run.run_id) == ("p", "g", "checking", "checking.r-1")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["run"]["wandb_project"] == "p"
    rows = [
        {
            (item.nested_key[0] if item.nested_key else item.key): json.loads(item.value_json)
            for item in record.history.item
        }
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    assert [row["_step"] for row in rows] == [0, 1]
    assert [row["learner_step"] for row in rows] == [0, 0]
    assert [row["episodes/return"] for row in rows] == [1.0, 2.0]
    assert "loss/value" not in rows[1]
    axes = {r.metric.glob_name: r.metric.step_metric for r in records if r.WhichOneof("record_type") == "metric"}
    assert (axes["loss/*"], axes["episodes/*"], axes["evaluation/*"]) == ("learner_step", "env_steps", "env_steps")
    assert axes["system/*"] == "time_s"
    assert rows[0]["system/rollout_cpu_cores"] == 1.5
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/videos/evaluation/*.mp4"))) == 1
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"correct-horse-battery" not in path.read_bytes(), path


def test_wandb_falls_back_to_offline_when_it_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    class FakeRun:
        def define_metric(self, *arguments: str, **options: str) -> None: ...

    modes = []

    def init(**options: Any) -> FakeRun:
        modes.append(options["mode"])
        if options["mode"] == "online":
            raise wandb.errors.CommError("timed out")
        return FakeRun()

    monkeypatch.setattr(wandb, "init", init)
    warnings: list[str] = []
    sinks.Wandb(tmp_path, loaded(), "r", "online", warnings.append)
    assert modes == ["online", "offline"]
    assert len(warnings) == 1 and "timed out" in warnings[0]


def write_film(path: Path) -> None:
    """Writes two small frames."""
    encoder = imageio_ffmpeg.write_frames(str(path), (32, 32))
    encoder.send(None)
    for value in (0, 255):
        encoder.send(np.full((32, 32, 3), value, np.uint8))
    encoder.close()


def tensorboard_events(folder: Path) -> Iterator[Any]:
    """Yields the events of all files, oldest first: length (8 bytes), its checksum (4), the event, its checksum (4)."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            yield Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]


def wandb_records(folder: Path) -> Iterator[Any]:
    """Yields the records of an offline run: LevelDB's log format behind a header of 7 bytes, in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        left_in_block = 32_768 - position % 32_768
        if left_in_block < 7:
            position += left_in_block
            continue
        length, kind = struct.unpack("<HB", data[position + 4 : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""
