"""Whatever becomes of metrics.jsonl on a disk, what is whole of it is read, and a run goes on writing it."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsys.config import EnvConfig, Experiment, Loaded, RunConfig, RuntimeConfig
from rlsys.metrics.rows import Rows, read_metrics
from rlsys.metrics.tracking import Tracker


def line(step: int, **metrics: float | None) -> bytes:
    row = {"learner_step": step, "env_steps": 10 * step, "time_s": step + 0.5, **metrics}
    return json.dumps(row).encode() + b"\n"


REWIND = b'{"rewound_to": 2, "time_s": 4.5}\n'
LINES = [
    line(1, loss=0.5),
    line(2, loss=None),
    line(3),
    line(4),
    REWIND,
    REWIND,
    line(3, again=1.0),
    line(4, again=1.0),
]
WHOLE = b"".join(LINES)


def tracker(folder: Path, said: list[str]) -> Tracker:
    run = RunConfig(wandb="disabled", tensorboard=False)
    experiment = Experiment(algorithm="checking", env=EnvConfig(), runtime=RuntimeConfig(), run=run)
    return Tracker(folder, Loaded("checking", "test", experiment, {}), "r", resume=True, warn=said.append)


def test_rows_are_those_that_count() -> None:
    found = Rows.of(WHOLE)
    assert [(row["learner_step"], "again" in row) for row in found.rows] == [(1, 0), (2, 0), (3, 1), (4, 1)]
    assert math.isnan(found.rows[1]["loss"])
    assert (found.num_lines, found.num_bytes, found.num_damaged, found.last_time_s) == (8, len(WHOLE), 0, 4.5)


@given(position=st.integers(0, len(WHOLE) - 1), mask=st.integers(1, 255))
def test_a_byte_that_flips_costs_no_more_than_its_own_line(position: int, mask: int) -> None:
    data = bytearray(WHOLE)
    data[position] ^= mask
    damaged = data.count(b"\n", 0, position)  # its line; a line break belongs to the one before
    rows = Rows.of(bytes(data)).rows
    kept = [
        row for text, row in zip((0, 1, 6, 7), Rows.of(WHOLE).rows, strict=True) if text not in (damaged, damaged + 1)
    ]
    assert [row["env_steps"] for row in kept if row["learner_step"] != 2] == [
        row["env_steps"] for row in rows if row in kept and row["learner_step"] != 2
    ]


@pytest.mark.parametrize("damaged", [4, 5])
def test_rows_do_not_count_twice_where_a_rewind_cannot_be_read(damaged: int) -> None:
    lines = [b"?\n" if index == damaged else text for index, text in enumerate(LINES)]
    assert [row["learner_step"] for row in Rows.of(b"".join(lines)).rows] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("damage", "steps", "damaged"),
    [
        (b"nonsense\n", [1, 2], 1),
        (b"\xff\xfe\n", [1, 2], 1),
        (bytes(512) + b"\n", [1, 2], 1),
        (bytes(512), [1, 2], 1),  # the row after it shares its line
        (b"[" * 100_000 + b"\n", [1, 2], 1),
        (b'null\n[1]\n3\n"text"\n', [1, 2], 4),
        (b'{"learner_step": 1, "env_steps": 1, "time_s": 1, "a": {}}\n', [1, 2], 1),
        (b'{"learner_step": "1", "env_steps": 1, "time_s": 1}\n', [1, 2], 1),
        (b'{"learner_step": 1, "env_steps": 1, "time_s": null}\n', [1, 2], 1),
        (b'{"learner_step": 1, "env_steps": 1, "time_s": 1, "a": 1' + b"0" * 400 + b"}\n", [1, 2], 1),
        (b'{"learner_step": 1, "env_steps": 1, "time_s": 1, "a": 1' + b"0" * 9_000 + b"}\n", [1, 2], 1),
        (line(7)[:-1] + b"J" + line(8), [1, 7, 8, 2], 1),  # a line break that flipped
        (line(7)[:20], [1, 2], 1),
    ],
)
def test_what_cannot_be_read_is_left_out_and_counted(damage: bytes, steps: list[int], damaged: int) -> None:
    found = Rows.of(line(1) + damage + line(2))
    assert [row["learner_step"] for row in found.rows] == steps
    assert found.num_damaged == damaged


def test_a_run_goes_on_writing_a_damaged_file_says_so_once_and_keeps_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    torn = line(9)[:-9]
    path.write_bytes(line(1) + b"\xff" + line(2)[1:] + line(3) + line(4) + torn)
    said: list[str] = []
    resumed = tracker(tmp_path, said)
    resumed.rewind(3)
    resumed.log({"loss": 1.0}, learner_step=4, env_steps=40)
    resumed.close()
    assert said == [f"{path}: 1 of 4 lines cannot be read, and are left out"]
    again: list[str] = []
    rows = read_metrics(tmp_path, again.append)
    assert [row["learner_step"] for row in rows] == [1, 3, 4]
    assert rows[-1]["loss"] == 1.0
    assert rows[-1]["time_s"] >= 4.5, "time goes on from the last row"
    assert len(again) == 1
    assert torn not in path.read_bytes()


def test_nothing_but_damage_is_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(bytes(4096))
    resumed = tracker(tmp_path, [])
    resumed.log({"loss": 1.0}, learner_step=1, env_steps=1)
    resumed.close()
    assert len(read_metrics(tmp_path)) == 1
