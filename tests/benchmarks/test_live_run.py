"""A run is measured while it trains, and only then."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@contextlib.contextmanager
def running(live_run: ModuleType, folder: Path, program: str) -> Iterator[Any]:
    """Yields a run that is led by a program, with one row of metrics."""
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(json.dumps({"time_s": 1.0, "env_steps": 5, "learner_step": 5}) + "\n")
    output = folder / "output.txt"
    output.write_text("starts\nended at step 5\n")
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    try:
        yield live_run.LiveRun(process, folder, output, log_every_s=0.0)
    finally:
        process.kill()
        process.communicate()


WAITS = "input()"


def test_a_run_that_has_ended_is_not_measured(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    live_run = load("live_run")
    with running(live_run, tmp_path / "run", "raise SystemExit(3)") as run:
        run.process.wait()
        with pytest.raises(
            live_run.Implausible, match=r"ended with status 3 before it could .* said last: ended at step 5"
        ):
            run.wait(lambda row: False)
        with pytest.raises(live_run.Implausible, match="ended with status 3"):
            run.measure(0.01, lambda row: True)


def test_a_run_that_stands_still_is_not_measured(load: Callable[[str], ModuleType], tmp_path: Path) -> None:
    live_run = load("live_run")
    with (
        running(live_run, tmp_path / "run", WAITS) as run,
        pytest.raises(live_run.Implausible, match="decisions and updates did not both go on"),
    ):
        run.measure(0.01, lambda row: True)


def test_a_run_that_goes_on_is_measured(
    load: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live_run = load("live_run")
    clock = [time.monotonic()]
    with running(live_run, tmp_path / "run", WAITS) as run:

        def sleep(seconds: float) -> None:
            clock[0] += seconds
            row = {"time_s": clock[0], "env_steps": round(100 * clock[0]), "learner_step": round(10 * clock[0])}
            with (run.folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")

        monkeypatch.setattr(live_run, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: clock[0]))
        sleep(0.0)
        window = run.measure(20.0, lambda row: True)
    assert window.wall_s == pytest.approx(20.0)
    assert window.per_s("env_steps") == pytest.approx(100.0, rel=0.01)
    assert window.per_s("learner_step") == pytest.approx(10.0, rel=0.01)
