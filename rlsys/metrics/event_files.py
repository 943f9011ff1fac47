"""TensorBoard event files as they are read: scalars and histograms, whoever wrote them.

A file is one record after the other: the length of its content (8 bytes), a checksum of these (4), the content (an
`Event` as a protocol buffer) and a checksum of that (4). Checksums are CRC-32C, masked (TensorFlow,
core/lib/io/record_writer.h). Where a file is damaged, what can be told apart is read, and the rest is said.
"""

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from google.protobuf.message import DecodeError
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c

from rlsys.types import Array

EVENTS = "tfevents"
"""What names of event files have in common."""

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_TYPES = {1: ("<f4", "float_val"), 2: ("<f8", "double_val")}
"""`DataType` of a tensor -> how its bytes are read, and the field that holds its numbers otherwise."""
_MOST_SAMPLES = 10_000_000
"""Of one histogram; more are damage, for nobody summarises so many at once."""


@dataclass
class Series:
    """What was written under one tag, oldest first.

    Attributes:
      steps: the writer's.
      values: a number for each, or of histograms the samples `[N]`.
    """

    steps: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, step: int, value: Any) -> None:
        """Appends a value; one that goes back, as after a checkpoint, replaces what is repeated from there."""
        if self.steps and step < self.steps[-1]:
            self.forget(step)
        self.steps.append(step)
        self.values.append(value)

    def forget(self, step: int) -> None:
        """Leaves out what was written from a step on."""
        kept = [index for index, one in enumerate(self.steps) if one < step]
        self.steps = [self.steps[index] for index in kept]
        self.values = [self.values[index] for index in kept]


@dataclass
class Events:
    """What is in the event files of a folder.

    Attributes:
      scalars, histograms: by tag, in the order in which tags were first written.
      troubles: some words about each file of which something is left out.
    """

    scalars: dict[str, Series] = field(default_factory=dict)
    histograms: dict[str, Series] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def forget(self, step: int) -> None:
        """Leaves out what was written from a step on."""
        for series in (*self.scalars.values(), *self.histograms.values()):
            series.forget(step)


def event_files(folder: Path) -> list[Path]:
    """Returns a folder's event files, in the order in which they were begun, which is that of their names."""
    return sorted(path for path in folder.glob(f"*{EVENTS}*") if path.is_file())


def read_events(folder: Path, wants: Callable[[str], bool]) -> Events:
    """Reads all event files of a folder.

    Args:
      folder: of the files; whoever writes them may go on doing so.
      wants: tells by its tag whether a series is kept.
    """
    events = Events()
    for path in event_files(folder):
        troubles: list[str] = []
        try:
            with path.open("rb") as file:
                for content, is_whole in _records(file, path.stat().st_size, troubles):
                    _take(events, content, is_whole, wants, troubles)
        except OSError as error:
            troubles.append(f"it cannot be read: {error.strerror or error}")
        events.troubles += [f"{path.name}: {_counted(troubles)}"] if troubles else []
    return events


def _records(file: BinaryIO, num_bytes: int, troubles: list[str]) -> Iterator[tuple[bytes, Callable[[], bool]]]:
    """Yields contents, each with a function that tells whether its checksum holds; for pictures it costs too much."""
    place = 0
    while header := file.read(_HEADER.size):
        if len(header) < _HEADER.size:
            troubles.append("it ends within a record")
            return
        length, checksum = _HEADER.unpack(header)
        if masked_crc32c(header[:8]) != checksum:
            troubles.append(f"it is damaged at byte {place:,}; the rest is left out")
            return
        place += _HEADER.size + length + _CHECKSUM.size
        if place > num_bytes:
            troubles.append("it ends within a record")
            return
        content, footer = file.read(length), file.read(_CHECKSUM.size)
        yield content, partial(_is_whole, content, footer)


def _is_whole(content: bytes, footer: bytes) -> bool:
    return bool(_CHECKSUM.pack(masked_crc32c(content)) == footer)


def _take(
    events: Events,
    content: bytes,
    is_whole: Callable[[], bool],
    wants: Callable[[str], bool],
    troubles: list[str],
) -> None:
    """Takes in one record."""
    event = Event()
    try:
        event.ParseFromString(content)
    except DecodeError:
        troubles.append("a record is damaged and left out")
        return
    is_start = event.HasField("session_log") and event.session_log.status == SessionLog.START
    values = [value for value in event.summary.value if wants(value.tag)]
    if not (values or is_start):
        return
    if not is_whole():
        troubles.append("a record is damaged and left out")
        return
    if is_start:
        events.forget(event.step)
    for value in values:
        try:
            _take_value(events, event.step, value)
        except ValueError as error:
            troubles.append(f"{value.tag}: {error}")


def _take_value(events: Events, step: int, value: Any) -> None:
    """Takes in one summary; what is neither scalar nor histogram is passed over."""
    scalar: float | None = None
    samples: Array | None = None
    match value.WhichOneof("value"):
        case "simple_value":
            scalar = value.simple_value
        case "histo":
            histo = value.histo
            samples = _samples(np.array(histo.bucket_limit), np.array(histo.bucket), histo.min, histo.max)
        case "tensor" if value.tensor.dtype in _TYPES:
            array = _array(value.tensor)
            if array.size == 1:
                scalar = float(array.reshape(()))
            elif array.ndim == 2 and array.shape[1] == 3:
                _, upper, counts = array.T
                samples = _samples(upper, counts, -math.inf, math.inf)
    if scalar is not None:
        if not math.isfinite(scalar):
            raise ValueError("a number that is not finite is left out")
        events.scalars.setdefault(value.tag, Series()).add(step, scalar)
    if samples is not None:
        events.histograms.setdefault(value.tag, Series()).add(step, samples)


def _samples(limits: Array, counts: Array, low: float, high: float) -> Array:
    """Returns what a histogram counted, `[N]`: each sample as the upper limit of its bucket, within the extremes.

    Args:
      limits: upper limits of the buckets, `[K]`; the last may be the largest number there is.
      counts: samples in each, `[K]`.
      low: the smallest sample.
      high: the largest.

    Raises:
      ValueError: these are no buckets.
    """
    is_sound = len(limits) == len(counts) and np.isfinite(counts).all() and (counts >= 0).all()
    total = float(counts.sum()) if is_sound else math.inf
    if total == 0:
        return np.zeros(0)
    if total > _MOST_SAMPLES or not low <= high:
        raise ValueError("a histogram is damaged and left out")
    samples = np.repeat(np.clip(limits, low, high), np.rint(counts).astype(np.int64))
    if not np.isfinite(samples).all():
        raise ValueError("a histogram of numbers that are not finite is left out")
    return samples


def _array(tensor: Any) -> Array:
    """Returns a tensor of numbers; raises ValueError where its content and its shape differ."""
    kind, name = _TYPES[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    try:
        if tensor.tensor_content:
            return np.frombuffer(tensor.tensor_content, kind).reshape(shape)
        return np.array(getattr(tensor, name), kind).reshape(shape)
    except ValueError:
        raise ValueError("a tensor is damaged and left out") from None


def _counted(troubles: list[str]) -> str:
    """Returns what went wrong, each thing once."""
    counts = {text: troubles.count(text) for text in troubles}
    return "; ".join(text if count == 1 else f"{text} ({count:,} times)" for text, count in counts.items())
