"""What a run shows: lines without a terminal, a live panel with one."""

import io
import math
from pathlib import Path

import pytest
import rich.console

from rlsys.config import EnvConfig, Experiment, Loaded
from rlsys.metrics.console import Console, Status, describe, report_line

LOADED = Loaded("muzero-breakout", "laptop", Experiment(algorithm="muzero", env=EnvConfig(id="Breakout")), {})
STATUS = Status(
    elapsed_s=151.0,
    time_left_s=3_849.0,
    learner_steps=1_240,
    updates_per_s=31.4,
    env_steps=128_000,
    env_steps_per_s=3_204.0,
    frames=512_000,
    frames_per_s=12_816.0,
    episodes=40,
    mean_return=12.34,
    returns=(1.0, 2.0, 3.0, 4.0),
    evaluation_return=14.0,
    best_return=15.5,
    losses={"loss/value": 0.123, "loss/policy": 1.5},
    replay_items=100_000,
    replay_size=200_000,
    samples_per_insert=3.97,
    samples_per_insert_target=4.0,
    batches_in_flight=3,
    queues={"segments": 2},
    version_lag=1.0,
    learner_idle_share=0.12,
    waits=("learner waits for replay: 1,240 of 50,000 items (min_size_to_sample)",),
    restarts=2,
    checkpoint_step=1_000,
)


def output(*, terminal: bool) -> rich.console.Console:
    """Returns a console that writes into memory."""
    return rich.console.Console(file=io.StringIO(), width=100, force_terminal=terminal, highlight=False)


def written(console: rich.console.Console) -> str:
    """Returns what was written."""
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_a_terminal_each_report_and_each_event_is_one_plain_line() -> None:
    sink = output(terminal=False)
    with Console(LOADED, Path("runs/muzero-breakout/r"), output=sink) as console:
        console.update(STATUS)
        console.message("checkpoint at step 1,000")
        console.update(STATUS)
        console.finish("done. [bold]not markup[/bold]")
    lines = written(sink).splitlines()
    assert lines[0] == "muzero-breakout: muzero on Breakout, profile laptop"
    assert lines[1].endswith("runs/muzero-breakout/r")
    assert lines[2] == lines[4] == report_line(STATUS)
    assert lines[3] == "0:02:31  checkpoint at step 1,000"
    assert lines[5:] == ["done. [bold]not markup[/bold]"]
    assert "\x1b" not in written(sink)


def test_a_report_line_says_everything_that_is_known() -> None:
    assert report_line(STATUS) == (
        "0:02:31  step 1,240  (31/s)  env 128,000  (3,204/s)  episodes 40  return 12.3  evaluation 14.0  "
        "loss value 0.123, policy 1.5  replay 100,000 of 200,000 items  samples per insert 3.97 of 4  "
        "segments in flight 2, batches in flight 3  lag 1  idle 12 %  restarts 2  left 1:04:09"
    )


def test_a_report_line_leaves_out_what_is_not_known() -> None:
    line = report_line(Status(elapsed_s=1.0))
    assert line == "0:00:01  step 0  env 0  episodes 0"
    assert "nan" not in report_line(Status(mean_return=math.nan, best_return=-math.inf))


def test_a_report_line_explains_waiting_while_nothing_is_learned() -> None:
    waits = ("learner waits for replay: 1,240 of 50,000 items (min_size_to_sample)",)
    assert report_line(Status(waits=waits, updates_per_s=0.0)).endswith(waits[0])
    assert report_line(Status(waits=waits)).endswith(waits[0])
    assert "waits" not in report_line(Status(waits=waits, updates_per_s=5.0))


def test_on_a_terminal_a_panel_shows_the_status_and_events_stay_above_it() -> None:
    sink = output(terminal=True)
    with Console(LOADED, Path("runs/x"), output=sink) as console:
        assert "starting workers" in drawn(console)
        console.update(STATUS)
        console.message("rollout worker 3 is restarted")
        panel = drawn(console)
        console.finish("complete")
    text = written(sink)
    for part in (
        "muzero-breakout  0:02:3",
        "1:04:09 left",
        "128,000 env steps",
        "(31/s)",
        "idle 12 %",
        "▁▃▆█",
        "best 15.5",
    ):
        assert part in panel, part
    assert "learner waits for replay: 1,240 of 50,000 items" in panel
    assert "rollout worker 3 is restarted" in text
    assert text.rstrip().endswith("complete")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor is hidden and shown again"


def test_the_terminal_is_restored_when_a_run_fails() -> None:
    sink = output(terminal=True)
    with pytest.raises(RuntimeError), Console(LOADED, Path("runs/x"), output=sink):
        raise RuntimeError
    assert written(sink).count("\x1b[?25h") == 1


def test_the_kind_of_view_can_be_forced() -> None:
    sink = output(terminal=True)
    with Console(LOADED, Path("runs/x"), output=sink, terminal=False) as console:
        console.update(STATUS)
    assert "╭" not in written(sink)


def test_describe_has_no_row_for_what_is_not_known() -> None:
    rows = dict(describe(Status()))
    assert set(rows) == {"acting", "learning", "return"}
    assert rows["return"] == "no episode yet"
    assert set(describe_names(STATUS)) >= {
        "evaluation",
        "loss",
        "replay",
        "weights",
        "checkpoint",
        "restarts",
        "waiting",
    }


def test_advice_is_the_last_row_of_the_live_view() -> None:
    assert describe(Status(advice="the learner binds"))[-1] == ("advice", "the learner binds")


def describe_names(status: Status) -> list[str]:
    """Returns the names of the rows of the live view."""
    return [name for name, _ in describe(status)]


def drawn(console: Console) -> str:
    """Returns the live view as text."""
    sink = rich.console.Console(file=io.StringIO(), width=120)
    sink.print(console.view())
    return written(sink)
