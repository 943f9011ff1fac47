"""`rlsys top`: what a run tells of its processes is what is shown of them."""

import io
import json
import threading
import time
from pathlib import Path

import pytest
import rich.console

from rlsys.commands import top
from rlsys.errors import ConfigError
from rlsys.metrics.report import write_report
from rlsys.runs.heartbeat import Heartbeat, look, workers
from rlsys.runs.status import Status
from rlsys.runs.workers import WorkerRow

MIB = 2**20
ROLLOUT = WorkerRow(
    kind="rollout",
    index=3,
    node="spot-1",
    pid=4_711,
    cores_used=0.93,
    rss_bytes=260 * MIB,
    pss_bytes=184 * MIB,
    does="waits for replay: room in the queue of 64 unrolls",
    rates={"env steps": 310.4},
    version=12,
    lag=2,
    restarts=1,
    shares={"env": 0.8, "act": 0.2},
    seen=100.0,
)
LEARNER = WorkerRow("learner", 0, "gpu", 99, 0.5, 800 * MIB, 700 * MIB, "learns", {"updates": 38.0}, seen=103.0)
STATUS = Status(
    elapsed_s=31.0,
    shares={
        "workers/rollout_env_share": 0.82,
        "workers/rollout_wait_replay_share": 0.12,
        "workers/rollout_wait_weights_share": 0.06,
        "workers/learner_update_share": 1.0,
    },
    advice="environments bind: add rollout workers",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "checking" / "here"
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("# rlsys launch checking\n")
    return path


def tell(heartbeat: Heartbeat, rows: list[WorkerRow]) -> None:
    heartbeat.tell_of(lambda: rows)
    heartbeat.update(STATUS)
    heartbeat.end("ending", "")


def test_what_a_run_tells_of_its_workers_is_read_back_whole(folder: Path) -> None:
    assert workers(folder) == []
    with Heartbeat(folder) as heartbeat:
        tell(heartbeat, [LEARNER, ROLLOUT])
        assert workers(folder) == [LEARNER, ROLLOUT]
        seen = look(folder)
    assert seen is not None and seen.status is not None
    assert (seen.status.shares, seen.status.advice) == (STATUS.shares, STATUS.advice)
    (folder / "workers.json").write_text("[{")
    assert workers(folder) == []


def test_one_table_is_printed_for_pipes_with_where_time_goes_and_the_advice(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    with Heartbeat(folder) as heartbeat:
        tell(heartbeat, [LEARNER, ROLLOUT])
        top.show_top("checking/here", folder.parent.parent, once=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("# checking/here is ending  0:00:31")
    (row,) = [line for line in lines if line.startswith("rollout 3")]
    told = ("spot-1", "4711", "93 %", "184 MiB", "260 MiB", "room in the queue", "(310/s)", "version 12, 2 behind")
    assert all(cell in row for cell in told), row
    (total,) = [line for line in lines if line.startswith("all 2")]
    assert "143 %" in total and "884 MiB" in total
    assert "rollout  wait for replay   12 %" in lines
    assert lines.index("learner  update            100 %") < lines.index("rollout  env               82 %")
    assert STATUS.advice in lines


def test_the_live_view_draws_trees_and_says_how_many_rows_do_not_fit(folder: Path) -> None:
    with Heartbeat(folder) as heartbeat:
        tell(heartbeat, [LEARNER, ROLLOUT])
        sighting = look(folder)
    assert sighting is not None
    sink = rich.console.Console(file=io.StringIO(), width=200)
    sink.print(top._view(sighting, [LEARNER, *[ROLLOUT] * 9], most_rows=4))
    assert isinstance(sink.file, io.StringIO)
    text = sink.file.getvalue()
    assert text.count("rollout 3") == 3 and "and 6 more" in text
    assert "all 10" in text
    for part in ("env 82 %", "wait 18 %", "replay 12 %", "weights 6 %", "update 100 %", STATUS.advice):
        assert part in text, part


def test_the_live_view_ends_with_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(top, "_LOOK_S", 0.02)
    monkeypatch.setattr(top.sys.stdout, "isatty", lambda: True, raising=False)

    def lead() -> None:
        with Heartbeat(folder) as heartbeat:
            tell(heartbeat, [LEARNER, ROLLOUT])
            time.sleep(0.2)
            heartbeat.end("done", "its budget is spent")

    thread = threading.Thread(target=lead)
    thread.start()
    deadline = time.monotonic() + 10.0
    while (seen := look(folder)) is None or seen.state != "ending":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    top.show_top("checking/here", folder.parent.parent, once=False)
    thread.join()
    assert "checking/here is done: its budget is spent" in capsys.readouterr().out


def test_a_run_that_nobody_trained_has_no_processes_to_show(folder: Path) -> None:
    with pytest.raises(ConfigError, match="nobody has trained it yet"):
        top.show_top("checking/here", folder.parent.parent, once=True)


def test_the_report_says_where_time_went_in_the_whole_run_and_what_bound_it_at_last(folder: Path) -> None:
    (folder / "config.yaml").write_text("algorithm: checking\n")
    rows = [
        {"learner_step": step, "env_steps": step, "time_s": time_s, "workers/rollout_env_share": share}
        for step, time_s, share in ((1, 1.0, 0.0), (2, 2.0, 0.5), (3, 5.0, 0.9))
    ]
    rows.insert(2, {"learner_step": 2, "env_steps": 2, "time_s": 4.0, "evaluation/return": 1.0})
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with Heartbeat(folder) as heartbeat:
        tell(heartbeat, [])
        page = write_report(folder).read_text()
    assert "<td>rollout</td><td>env</td><td>80 %</td>" in page, "half for one second, nine tenths for three"
    assert STATUS.advice in page
