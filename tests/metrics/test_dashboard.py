"""What a real run shows of itself: rows of its processes, gauges for Prometheus, and dashboards that draw them."""

import functools
import json
import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.runs import MakeSpec, Run, started

from rlsys.errors import ConfigError
from rlsys.metrics import dashboard
from rlsys.metrics.rows import read_metrics
from rlsys.metrics.sinks import series_name
from rlsys.metrics.timing import by_kind
from rlsys.runs.heartbeat import Heartbeat, workers
from rlsys.runs.workers import WorkerKind, WorkerRow
from rlsys.runtime.driver.recorder import Recorder

SHIPPED = Path(__file__).parents[2] / "cluster" / "grafana" / "rlsys.json"
PATIENCE_S = 60.0


def scraped(is_complete: Callable[[str], bool]) -> str:
    """Returns what Ray's exporter serves, once it is complete: processes send their gauges every two seconds."""
    import ray

    (node,) = ray.nodes()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        text = urllib.request.urlopen(url, timeout=10).read().decode()
        if is_complete(text):
            return str(text)
        assert time.monotonic() < deadline, (
            f"the newest row is not exported, or these panels are empty: {undrawn(text)}"
        )
        time.sleep(0.2)


def series_of(text: str) -> dict[str, float]:
    """Returns the series of this run: name -> value."""
    lines = [line for line in text.splitlines() if line.startswith("ray_rlsys_") and 'run="test"' in line]
    assert all('experiment="checking"' in line for line in lines)
    names = [line.partition("{")[0] for line in lines]
    assert len(names) == len(set(names)), "one series per metric"
    return {name: float(line.rpartition(" ")[2]) for name, line in zip(names, lines, strict=True)}


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.xdist_group("ray")
def test_a_run_of_every_kind_of_worker_is_seen_as_it_is(
    make_spec: MakeSpec, make_recorder: Callable[..., Recorder]
) -> None:
    runtime = {"rollout_workers": 2, "inference_workers": 1, "inference_device": "cpu", "replay_shards": 2}
    runtime["reanalyse_workers"] = 1
    run_section = {"training_steps": 10**6, "evaluate_every_learner_steps": 20, "log_every_s": 1e6}
    spec = make_spec(section={"refreshed_share": 0.2}, runtime=runtime, run=run_section)
    spec.folder.mkdir(parents=True)
    heartbeat = Heartbeat(spec.folder)
    with heartbeat, started(spec, functools.partial(make_recorder, heartbeat=heartbeat, on_ray=True)) as run:
        run.work_until(lambda: {row.kind for row in workers(spec.folder)} == set(WorkerKind))
        run.work_until(lambda: all(row.cores_used > 0 for row in workers(spec.folder) if row.kind == "rollout"))
        run.work_until(lambda: all("priorities" in row.shares for row in workers(spec.folder) if row.kind == "shard"))
        run.work_until(lambda: is_stepping(workers(spec.folder)))
        check_processes(run, workers(spec.folder))
        run.recorder.write()
        row = [row for row in read_metrics(spec.folder) if "replay/inserted" in row][-1]
        text = scraped(lambda text: series_of(text).get("ray_rlsys_time_s") == row["time_s"] and not undrawn(text))
    check_series(row, series_of(text))
    check_times(row)


def is_stepping(rows: list[WorkerRow]) -> bool:
    """Whether the rollout workers have stepped since they were last asked; a wait for replay can outlast that."""
    return all(row.rates["env steps"] > 0 for row in rows if row.kind == "rollout")


def check_processes(run: Run, rows: list[WorkerRow]) -> None:
    """Every process has a row of its own with what it costs and does."""
    by_place = {(row.kind, row.index): row for row in rows}
    one_each = [("driver", 0), ("learner", 0), ("evaluator", 0), ("server", 0)]
    several = [("shard", 0), ("shard", 1), ("inference", 0), ("reanalyse", 0), ("rollout", 0), ("rollout", 1)]
    assert list(by_place) == [*one_each, *several]
    assert len({row.pid for row in rows}) == len(rows)
    assert all(row.memory_bytes > 10 * 2**20 and row.node and row.does for row in rows)
    for kind in ("rollout", "learner", "shard", "inference"):
        assert by_place[kind, 0].pid == run.pid_of(kind)
    rollout = by_place["rollout", 0]
    assert rollout.rates["env steps"] > 0 and rollout.version is not None and rollout.lag is not None


def check_series(row: dict[str, float], series: dict[str, float]) -> None:
    """Every number of the row is a series with its value."""
    assert len(row) > 40
    for name, value in row.items():
        assert series[series_name(name)] == pytest.approx(value), name


def check_times(row: dict[str, float]) -> None:
    """The parts of the time of every kind of worker are there, and add up."""
    kinds = by_kind(row)
    assert set(kinds["rollout"]) == {"act", "env", "write", "wait_replay", "wait_weights", "other"}
    learner = {"wait_replay", "copy", "update", "priorities", "publish", "other"}
    assert learner <= set(kinds["learner"]) <= learner | {"save", "held"}
    assert {"insert", "sample", "priorities", "wait"} <= set(kinds["shard"])
    assert set(kinds["inference"]) == {"act", "wait"}
    for kind, parts in kinds.items():
        assert sum(parts.values()) == pytest.approx(1.0), kind


def undrawn(text: str) -> list[str]:
    """Returns the expressions of the dashboard that find no series."""
    names = {line.split("{")[0] for line in text.splitlines() if not line.startswith("#")}
    return [expression for expression in expressions() if not any(re.fullmatch(series(expression), n) for n in names)]


def series(expression: str) -> str:
    """Returns the pattern of the names of an expression's series."""
    match = re.fullmatch(r'(?P<name>\w+)?(?:\{(?:__name__=~"(?P<pattern>[^"]+)",)?.*\})?', expression)
    assert match is not None, expression
    return str(match["name"] or match["pattern"])


def expressions() -> list[str]:
    return [
        target["expr"] for panel in json.loads(SHIPPED.read_text())["panels"] for target in panel.get("targets", ())
    ]


def test_the_shipped_dashboard_is_the_layout() -> None:
    assert SHIPPED.read_text() == dashboard.grafana_json() + "\n"


def test_the_dashboard_has_what_grafana_needs_and_no_panel_lies_on_another() -> None:
    tree = dashboard.grafana()
    assert {"uid", "title", "schemaVersion", "time", "templating", "panels"} <= set(tree)
    assert [choice["name"] for choice in tree["templating"]["list"]] == ["datasource", "experiment", "run"]
    ids = [panel["id"] for panel in tree["panels"]]
    assert len(ids) == len(set(ids))
    covered: set[tuple[int, int]] = set()
    for panel in tree["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & covered and place["x"] + place["w"] <= 24, panel["title"]
        covered |= cells
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert references and len(references) == len(set(references))
    of_runs = [expression for expression in expressions() if "rlsys" in expression]
    assert all(expression.endswith('experiment=~"$experiment",run=~"$run"}') for expression in of_runs)


def test_the_same_layout_is_a_view_of_wandb() -> None:
    pytest.importorskip("wandb_workspaces")
    workspace = dashboard.wandb_workspace("me", "rlsys")
    titles = {panel.title for section in workspace.sections for panel in section.panels}
    assert titles == {panel.title for panels in dashboard.LAYOUT.values() for panel in panels if panel.metrics}


def test_a_view_that_cannot_be_saved_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: Any) -> None:
        raise ModuleNotFoundError

    def refused(*arguments: Any) -> None:
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(dashboard, "wandb_workspace", missing)
    with pytest.raises(ConfigError, match=r"Install rlsys\[wandb-view\]"):
        dashboard.save_to_wandb("me", "rlsys")
    monkeypatch.setattr(dashboard, "wandb_workspace", refused)
    with pytest.raises(ConfigError, match=r"did not take the view of me/rlsys \(ConnectionError: no network\)"):
        dashboard.save_to_wandb("me", "rlsys")
