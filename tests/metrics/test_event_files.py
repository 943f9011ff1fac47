"""TensorBoard's event files: what a real writer wrote comes back, and of a damaged file what can be told apart."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import HistogramProto, Summary
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboardX.record_writer import RecordWriter

from rlsys.metrics.event_files import Series, event_files, read_events
from rlsys.metrics.sinks import Row, TensorBoard

FLOAT, DOUBLE, TEXT = 1, 2, 7


def everything(tag: str) -> bool:
    return True


def write(folder: Path, *values: Summary.Value, name: str = "events.out.tfevents.1.a") -> Path:
    """Writes a value per step, from 0 on, as TensorFlow does."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = RecordWriter(str(folder / name))
    writer.write(Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString())
    for step, value in enumerate(values):
        writer.write(Event(wall_time=2.0, step=step, summary=Summary(value=[value])).SerializeToString())
    writer.close()
    return folder / name


def scalar(value: float, tag: str = "loss") -> Summary.Value:
    return Summary.Value(tag=tag, simple_value=value)


def tensor(tag: str, kind: int, shape: list[int], **content: object) -> Summary.Value:
    dims = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in shape])
    return Summary.Value(tag=tag, tensor=TensorProto(dtype=kind, tensor_shape=dims, **content))


def test_scalars_and_histograms_of_a_real_writer_come_back_with_their_steps(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(3.0, 2.0, 1_000)
    with SummaryWriter(str(tmp_path)) as writer:
        for step in (10, 20, 30):
            writer.add_scalar("trainer/score", step / 2, step)
            writer.add_histogram("returns", samples + step, step)
            writer.add_image("picture", np.zeros((3, 8, 8), np.uint8), step)
            writer.add_text("words", "none of these are numbers", step)
    events = read_events(tmp_path, everything)
    assert events.troubles == []
    assert events.scalars == {"trainer/score": Series([10, 20, 30], [5.0, 10.0, 15.0])}
    (returns,) = events.histograms.values()
    assert returns.steps == [10, 20, 30]
    for step, found in zip(returns.steps, returns.values, strict=True):
        assert len(found) == len(samples)
        assert found.max() == (samples + step).max()
        assert np.abs(np.sort(found) - np.sort(samples + step)).max() < 0.1 * (samples + step).max()  # a bucket's width


def test_what_our_own_sink_writes_is_read_without_what_it_gave_up(tmp_path: Path) -> None:
    sink = TensorBoard(tmp_path)
    for step in (1, 2, 3):
        sink.write(Row(step, step, step, 0.0, {"loss/total": float(step)}, {"replay/lag": np.arange(step)}, {}))
    sink.rewind(1)
    sink.write(Row(4, 2, 2, 0.0, {"loss/total": 20.0}, {"replay/lag": np.arange(7)}, {}))
    sink.close()
    events = read_events(tmp_path, everything)
    assert events.scalars["loss/total"] == Series([1, 2], [1.0, 20.0])
    assert [len(values) for values in events.histograms["replay/lag"].values] == [1, 7]
    assert len(event_files(tmp_path)) == 2


def test_only_what_is_wanted_is_kept(tmp_path: Path) -> None:
    write(tmp_path, scalar(1.0), scalar(2.0, "other"))
    assert list(read_events(tmp_path, lambda tag: tag == "other").scalars) == ["other"]
    assert read_events(tmp_path / "nothing here", everything).scalars == {}


def test_a_run_that_was_resumed_counts_what_it_repeated_once(tmp_path: Path) -> None:
    write(tmp_path, *(scalar(float(step)) for step in range(5)), name="events.out.tfevents.1.a")
    writer = RecordWriter(str(tmp_path / "events.out.tfevents.2.a"))
    for step in (3, 4, 5):
        writer.write(Event(step=step, summary=Summary(value=[scalar(10.0 * step)])).SerializeToString())
    writer.close()
    assert read_events(tmp_path, everything).scalars["loss"] == Series([0, 1, 2, 3, 4, 5], [0, 1, 2, 30, 40, 50])


def test_values_at_one_step_are_all_kept(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for value in (1.0, 2.0, 3.0):
            writer.add_scalar("loss", value, 0)
    assert read_events(tmp_path, everything).scalars["loss"] == Series([0, 0, 0], [1.0, 2.0, 3.0])


def test_numbers_that_newer_writers_store_as_tensors_are_read(tmp_path: Path) -> None:
    buckets = np.array([[0.0, 1.0, 2.0], [1.0, 3.0, 1.0]])
    write(
        tmp_path,
        tensor("packed", FLOAT, [], tensor_content=np.float32(1.5).tobytes()),
        tensor("listed", DOUBLE, [1], double_val=[2.5]),
        tensor("returns", DOUBLE, [2, 3], tensor_content=buckets.tobytes()),
        tensor("words", TEXT, [1], string_val=[b"text"]),
        tensor("curve", FLOAT, [2, 2], float_val=[1.0, 2.0, 3.0, 4.0]),
    )
    events = read_events(tmp_path, everything)
    assert events.scalars == {"packed": Series([0], [1.5]), "listed": Series([1], [2.5])}
    assert [values.tolist() for values in events.histograms["returns"].values] == [[1.0, 1.0, 3.0]]
    assert events.troubles == []


def test_the_last_bucket_ends_at_the_largest_sample(tmp_path: Path) -> None:
    histo = HistogramProto(min=1, max=5, num=3, bucket_limit=[0.5, 2.0, 1.797e308], bucket=[0, 1, 2])
    write(tmp_path, Summary.Value(tag="returns", histo=histo))
    assert read_events(tmp_path, everything).histograms["returns"].values[0].tolist() == [2.0, 5.0, 5.0]


def test_of_nothing_there_is_no_sample(tmp_path: Path) -> None:
    histo = HistogramProto(min=1.7e308, max=-1.7e308, num=0, bucket_limit=[0.0], bucket=[0.0])
    write(tmp_path, Summary.Value(tag="returns", histo=histo))
    assert read_events(tmp_path, everything).histograms["returns"].values[0].tolist() == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (scalar(float("nan")), "loss: a number that is not finite is left out"),
        (scalar(float("inf")), "loss: a number that is not finite is left out"),
        (
            Summary.Value(tag="r", histo=HistogramProto(min=0, max=1, bucket_limit=[1.0], bucket=[1e300])),
            "r: a histogram is damaged and left out",
        ),
        (
            Summary.Value(tag="r", histo=HistogramProto(min=0, max=1, bucket_limit=[1.0], bucket=[-3])),
            "r: a histogram is damaged and left out",
        ),
        (
            Summary.Value(tag="r", histo=HistogramProto(min=0, max=1, bucket_limit=[1.0, 2.0], bucket=[3])),
            "r: a histogram is damaged and left out",
        ),
        (
            Summary.Value(tag="r", histo=HistogramProto(min=2, max=1, bucket_limit=[1.0], bucket=[3])),
            "r: a histogram is damaged and left out",
        ),
        (tensor("t", DOUBLE, [2, 3], tensor_content=b"12345"), "t: a tensor is damaged and left out"),
        (tensor("t", FLOAT, [2, 3], float_val=[1.0]), "t: a tensor is damaged and left out"),
    ],
)
def test_values_that_cannot_be_meant_are_said_and_left_out(tmp_path: Path, value: Summary.Value, said: str) -> None:
    write(tmp_path, scalar(1.0, "sound"), value, scalar(2.0, "sound"))
    events = read_events(tmp_path, everything)
    assert events.scalars["sound"] == Series([0, 2], [1.0, 2.0])
    assert (list(events.scalars), events.histograms) == (["sound"], {})
    assert events.troubles == [f"events.out.tfevents.1.a: {said}"]


def cut(data: bytearray) -> bytearray:
    return data[:-3]


def cut_in_a_header(data: bytearray) -> bytearray:
    return data + b"\x07\x00"


def flip_in_the_last_value(data: bytearray) -> bytearray:
    data[-6] ^= 0xFF
    return data


def flip_in_the_last_length(data: bytearray) -> bytearray:
    length = len(Event(wall_time=2.0, step=2, summary=Summary(value=[scalar(2.0)])).SerializeToString())
    data[-(length + 16)] ^= 0x01
    return data


@pytest.mark.parametrize(
    ("damage", "said", "kept"),
    [
        (cut, "it ends within a record", 2),
        (cut_in_a_header, "it ends within a record", 3),
        (flip_in_the_last_value, "a record is damaged and left out", 2),
        (flip_in_the_last_length, r"it is damaged at byte \d+; the rest is left out", 2),
    ],
)
def test_of_a_damaged_file_what_is_whole_counts(
    tmp_path: Path, damage: Callable[[bytearray], bytearray], said: str, kept: int
) -> None:
    path = write(tmp_path, *(scalar(float(step)) for step in range(3)))
    path.write_bytes(damage(bytearray(path.read_bytes())))
    events = read_events(tmp_path, everything)
    assert events.scalars["loss"] == Series([0, 1, 2][:kept], [0.0, 1.0, 2.0][:kept])
    (trouble,) = events.troubles
    assert re.fullmatch(rf"events\.out\.tfevents\.1\.a: {said}", trouble)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_whatever_happens_to_a_file_the_rest_is_read(data: st.DataObject, tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("events")
    histo = HistogramProto(min=0, max=2, bucket_limit=[1.0, 2.0], bucket=[3, 4])
    values = [scalar(1.0), Summary.Value(tag="r", histo=histo), tensor("t", DOUBLE, [1], double_val=[2.5])]
    path = write(folder, *values, scalar(2.0))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    events = read_events(folder, everything)
    assert set(events.scalars) <= {"loss", "t"} and set(events.histograms) <= {"r"}
    assert set(events.scalars.get("loss", Series()).values) <= {1.0, 2.0}


def test_a_file_of_something_else_is_said(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.a").write_text("no event file at all, but longer than a header")
    (tmp_path / "events.out.tfevents.2.a").write_bytes(b"")
    events = read_events(tmp_path, everything)
    assert events.scalars == {}
    assert events.troubles == ["events.out.tfevents.1.a: it is damaged at byte 0; the rest is left out"]
