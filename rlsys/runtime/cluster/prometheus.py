"""Rows of metrics as gauges on Ray's own exporter, for Prometheus: one series per metric and run, none per worker.

Ray serves them, on every node, at http://<node>:<metrics export port>/metrics, with or without its dashboard. A gauge
shows the newest row that had its metric, and goes with the driver's process.
"""

import math
from typing import Any

from rlsys.metrics.sinks import Row, gauge_name

_STEPS = ("learner_step", "env_steps", "time_s")


class Prometheus:
    """A sink that sets one gauge per metric, tagged with experiment and run."""

    def __init__(self, experiment: str, run_id: str) -> None:
        from ray.util.metrics import Gauge

        self._make_gauge = Gauge
        self._tags = {"experiment": experiment, "run": run_id}
        self._gauges: dict[str, Any] = {}

    def write(self, row: Row) -> None:
        """Shows the row; what is not finite is shown as nothing."""
        for name in _STEPS:
            self._set(name, float(getattr(row, name)))
        for name, value in row.metrics.items():
            self._set(name, math.nan if value is None else value)

    def rewind(self, learner_step: int) -> None:
        """Does nothing: only the newest row is shown."""

    def close(self) -> None:
        """Does nothing: the gauges go with the process."""

    def _set(self, name: str, value: float) -> None:
        if name not in self._gauges:
            self._gauges[name] = self._make_gauge(gauge_name(name), f"rlsys: {name}", tag_keys=tuple(self._tags))
        self._gauges[name].set(value, tags=self._tags)
