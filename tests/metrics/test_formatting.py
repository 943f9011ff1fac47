"""Numbers, durations and lists as people read them."""

import math

import numpy as np
import pytest

from rlsys.metrics.formatting import duration, group_waits, number, rate, sparkline
from rlsys.runs.workers import Worker, WorkerKind


@pytest.mark.parametrize(
    ("values", "blocks"),
    [
        ((), ""),
        ((1.0,), ""),
        ((1.0, 1.0, 1.0), "▄▄▄"),
        ((0.0, 7.0), "▁█"),
        ((7.0, math.nan, 0.0), "█▁"),
        (range(8), "▁▂▃▄▅▆▇█"),
    ],
)
def test_sparklines_map_values_to_blocks(values: tuple[float, ...], blocks: str) -> None:
    assert sparkline(values) == blocks


def test_a_long_history_is_averaged_into_the_width() -> None:
    rng = np.random.default_rng(0)
    for size in (33, 100, 1_000):
        drawn_blocks = sparkline(list(np.arange(size) + rng.normal(size=size)))
        assert len(drawn_blocks) == 32
        assert (drawn_blocks[0], drawn_blocks[-1]) == ("▁", "█")


def test_workers_that_wait_for_the_same_are_named_together() -> None:
    waits = {Worker.rollout(index): "newer weights" for index in range(12)}
    assert group_waits(waits) == ("12 rollout workers wait for newer weights",)
    assert group_waits(dict(list(waits.items())[:2])) == ("rollout workers 0, 1 wait for newer weights",)
    learner, one = Worker(WorkerKind.LEARNER, 0), Worker.rollout(3)
    assert group_waits({one: "newer weights", learner: "replay", Worker.rollout(4): ""}) == (
        "learner waits for replay",
        "rollout worker 3 waits for newer weights",
    )
    many = [f"rollout worker {index} waits for {index}" for index in range(10)]
    assert group_waits({Worker.rollout(index): str(index) for index in range(10)}) == (*many[:4], "and 6 more")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (59.9, "0:00:59"), (3_661, "1:01:01"), (90_061, "1 d 1:01:01"), (-5, "0:00:00")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_and_rates_keep_three_digits_or_separators() -> None:
    assert [number(value) for value in (0.123456, 9.87654, 12.345, 12_345.6, -0.001)] == [
        "0.123",
        "9.88",
        "12.3",
        "12,345.6",
        "-0.001",
    ]
    assert [rate(value) for value in (0.123, 3.21, 31.4, 12_345.6)] == ["(0.12/s)", "(3.2/s)", "(31/s)", "(12,346/s)"]
