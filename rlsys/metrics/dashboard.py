"""The one layout of dashboards: which panels there are, as a Grafana dashboard and as a W&B workspace.

rlsys dashboard grafana > cluster/grafana/rlsys.json
rlsys dashboard wandb --entity ENTITY --project PROJECT
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from rlsys.errors import ConfigError
from rlsys.metrics.sinks import axis_of, series_name

_COLUMNS = 3
_PANEL_WIDTH, _PANEL_HEIGHT = 24 // _COLUMNS, 8
_RUN = "{{experiment}} {{run}}"
_SELECTED = 'experiment=~"$experiment",run=~"$run"'


@dataclass(frozen=True)
class Panel:
    """One graph.

    Attributes:
      title: what it shows.
      metrics: names of rows' metrics; `.*` in one stands for anything.
      unit: as Grafana calls it.
      stacked: draw the lines upon each other, as for parts of a whole.
      expressions: legend -> PromQL of Ray's own series; W&B has no such panel.
    """

    title: str
    metrics: tuple[str, ...] = ()
    unit: Literal["short", "percentunit", "mbytes", "bytes"] = "short"
    stacked: bool = False
    expressions: tuple[tuple[str, str], ...] = ()


LAYOUT: dict[str, tuple[Panel, ...]] = {
    "Learning": (
        Panel("Return of games", ("episodes/return",)),
        Panel("Return of evaluations", ("evaluation/return", "evaluation/return_median")),
        Panel("Losses", (".*loss.*",)),
    ),
    "Rates": (
        Panel("Env steps per second", ("throughput/env_steps_per_s",)),
        Panel("Updates per second", ("throughput/updates_per_s",)),
        Panel("Env steps", ("env_steps",)),
    ),
    "Queues and lags": (
        Panel("Items in replay", ("replay/items",)),
        Panel("Samples per insert", ("replay/samples_per_insert",)),
        Panel("Batches on their way", ("replay/batches_in_flight",)),
        Panel("Age of samples in versions", ("replay/version_lag_median", "replay/version_lag_p95")),
        Panel("Age of targets in updates", ("replay/target_age_mean", "replay/target_age_max")),
        Panel("Searches of stored rows", ("replay/refreshed_share",), "percentunit"),
        Panel("Slowest worker's weights: versions behind", ("workers/version_lag",)),
        Panel("Inference: decisions per batch", ("inference/batch_size",)),
    ),
    "Actors": (
        Panel("Rollout workers: where time goes", ("workers/rollout_.*_share",), "percentunit", stacked=True),
        Panel("Reanalyse workers: where time goes", ("workers/reanalyse_.*_share",), "percentunit", stacked=True),
        Panel("Inference workers: where time goes", ("workers/inference_.*_share",), "percentunit", stacked=True),
        Panel("Rollout workers", ("system/rollout_processes",)),
    ),
    "Learners and replay": (
        Panel("Learner idle", ("learner/idle_share",), "percentunit"),
        Panel("Learner: where time goes", ("workers/learner_.*_share",), "percentunit", stacked=True),
        Panel("Replay shards: where time goes", ("workers/shard_.*_share",), "percentunit", stacked=True),
    ),
    "Processes": (
        Panel("CPU cores by kind of process", ("system/.*_cpu_cores",), stacked=True),
        Panel("Memory by kind of process", ("system/.*_memory_mib",), "mbytes", stacked=True),
        Panel("Cores of the machines: busy, and all", ("system/busy_cores", "system/cores")),
        Panel("Restarts and wrong weights", ("workers/restarts", "workers/wrong_weights")),
    ),
    "Ray": (
        Panel(
            "Object store",
            unit="bytes",
            expressions=(
                ("used on {{NodeAddress}}", "ray_object_store_used_memory"),
                ("free on {{NodeAddress}}", "ray_object_store_available_memory"),
                ("on disk for want of room, {{NodeAddress}}", "ray_object_store_fallback_memory"),
            ),
        ),
        Panel("Memory of the machines", unit="bytes", expressions=(("{{instance}}", "ray_node_mem_used"),)),
        Panel("Disk used", unit="bytes", expressions=(("{{instance}}", "ray_node_disk_usage"),)),
    ),
}


def grafana() -> dict[str, Any]:
    """Returns the dashboard as Grafana imports it: of one experiment and run, or of several."""
    panels: list[dict[str, Any]] = []
    top = 0
    for section, members in LAYOUT.items():
        panels.append(_grafana_section(len(panels) + 1, section, top))
        for place, panel in enumerate(members):
            row, column = divmod(place, _COLUMNS)
            y = top + 1 + row * _PANEL_HEIGHT
            where = {"x": column * _PANEL_WIDTH, "y": y, "w": _PANEL_WIDTH, "h": _PANEL_HEIGHT}
            panels.append(_grafana_panel(len(panels) + 1, panel, where))
        top += 1 + -(-len(members) // _COLUMNS) * _PANEL_HEIGHT
    steps = series_name("learner_step")
    return {
        "uid": "rlsys",
        "title": "rlsys",
        "tags": ["rlsys"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                _grafana_choice("experiment", f"label_values({steps}, experiment)"),
                _grafana_choice("run", f'label_values({steps}{{experiment=~"$experiment"}}, run)'),
            ]
        },
        "panels": panels,
    }


def grafana_json() -> str:
    """Returns the dashboard as the file that Grafana imports."""
    return json.dumps(grafana(), indent=1)


def save_to_wandb(entity: str, project: str) -> str:
    """Saves the layout as a view of a W&B project; returns its address.

    Raises:
      ConfigError: wandb-workspaces is not installed, or W&B did not take it.
    """
    try:
        workspace = wandb_workspace(entity, project)
        workspace.save()
    except ModuleNotFoundError:
        raise ConfigError(
            "a W&B view needs wandb-workspaces, which is not installed. Install rlsys[wandb-view]; without a view W&B "
            "makes a section of each group of metrics."
        ) from None
    except Exception as error:  # noqa: BLE001 - a tracking service may fail in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"Weights & Biases did not take the view of {entity}/{project} ({reason[:200]}). Run 'wandb login' and see "
            "whether the project is there; the first run that is tracked online makes it."
        ) from None
    return str(workspace.url)


def wandb_workspace(entity: str, project: str) -> Any:
    """Returns the layout as a workspace that is not saved yet."""
    import wandb_workspaces.reports.v2 as parts
    import wandb_workspaces.workspaces as spaces

    sections = []
    for section, members in LAYOUT.items():
        panels = [_wandb_panel(parts, panel) for panel in members if panel.metrics]
        if panels:
            sections.append(spaces.Section(name=section, panels=panels, is_open=True))
    return spaces.Workspace(entity=entity, project=project, name="rlsys", sections=sections)


def _wandb_panel(parts: Any, panel: Panel) -> Any:
    plot_type = "stacked-area" if panel.stacked else "line"
    axis = axis_of(panel.metrics[0])
    if any(".*" in metric for metric in panel.metrics):
        return parts.LinePlot(title=panel.title, x=axis, metric_regex="|".join(panel.metrics), plot_type=plot_type)
    return parts.LinePlot(title=panel.title, x=axis, y=list(panel.metrics), plot_type=plot_type)


def _grafana_section(number: int, title: str, top: int) -> dict[str, Any]:
    where = {"x": 0, "y": top, "w": 24, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": where, "panels": []}


def _grafana_panel(number: int, panel: Panel, where: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    expressions = [_query(metric) for metric in panel.metrics]
    targets = [
        {"refId": chr(ord("A") + index), "datasource": source, "expr": expression, "legendFormat": legend}
        for index, (legend, expression) in enumerate([*expressions, *panel.expressions])
    ]
    stacking = {"mode": "normal" if panel.stacked else "none"}
    custom = {"fillOpacity": 30 if panel.stacked else 0, "stacking": stacking}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": where,
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def _query(metric: str) -> tuple[str, str]:
    """Returns legend and PromQL of one metric, or of all that a pattern means."""
    series = series_name(metric)
    if ".*" in series:
        return f"{{{{__name__}}}} {_RUN}", f'{{__name__=~"{series}",{_SELECTED}}}'
    return f"{metric} {_RUN}", f"{series}{{{_SELECTED}}}"


def _grafana_choice(name: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "sort": 2,
    }
