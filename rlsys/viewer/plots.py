"""Plots of a run: how it learned, and what the policy thought in evaluated episodes.

Figures are made without pyplot, so nothing is shared between them and no screen is needed.
Shape legend: T decisions of an episode, A actions.
"""

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlsys.types import Array
from rlsys.viewer.trace import PREDICTED_REWARD, Trace

Row = Mapping[str, float]
"""One row of metrics: "learner_step", "env_steps", "time_s" and metrics named `group/name`."""

ENDINGS = (".png", ".svg", ".pdf")
"""What a figure can be saved as."""

_MOST_POINTS = 1_000


def plot_learning(rows: Sequence[Row]) -> Figure:
    """Draws returns over environment steps and over hours, losses over learner steps, and rates over hours.

    Args:
      rows: metrics of a run, oldest first; what they lack is left out.
    """
    figure = Figure(figsize=(11, 7), layout="constrained")
    by_steps, by_time, losses, rates = figure.subplots(2, 2).flat
    for axes, over, scale, label in (
        (by_steps, "env_steps", 1, "environment steps"),
        (by_time, "time_s", 3_600, "hours"),
    ):
        _draw(axes, rows, over, ["episodes/return", "evaluation/return"], scale)
        axes.set(xlabel=label, ylabel="return")
    _draw(losses, rows, "learner_step", _names(rows, "loss/"))
    losses.set(xlabel="learner steps", ylabel="loss")
    if all(bool((line.get_ydata() > 0).all()) for line in losses.get_lines()):
        losses.set_yscale("log")
    _draw(rates, rows, "time_s", [name for name in _names(rows, "throughput/") if name.endswith("_per_s")], 3_600)
    rates.set(xlabel="hours", ylabel="per second")
    return figure


def plot_episodes(
    groups: Mapping[str, Sequence[Trace]], *, discount: float | None = None, bounds: bool = True, smooth: int = 1
) -> Figure:
    """Draws what happened in evaluated episodes above what the policy had expected, one axis below the other.

    The axes are the return, the predicted return (where the policy reports predicted rewards), the true value, each
    number that the policy reports per decision, and each distribution over actions. A line is the median over episodes;
    shorter episodes count with their last value.

    Args:
      groups: label -> episodes played alike; one colour each.
      discount: of the true value; None leaves it out.
      bounds: shade the range between the quartiles.
      smooth: decisions over which the curves are averaged.
    """
    panels = _panels([trace for traces in groups.values() for trace in traces], discount)
    figure = Figure(figsize=(11, 2 * len(panels) + 1), layout="constrained")
    for axes, (title, series) in zip(figure.subplots(len(panels), 1, squeeze=False).flat, panels.items(), strict=True):
        for label, traces in groups.items():
            values = [value for trace in traces if (value := series(trace)) is not None]
            if values:
                _draw_quartiles(axes, label, values, bounds, smooth)
        axes.set(xlabel="decision", ylabel=title)
        axes.label_outer()
    figure.axes[0].legend(fontsize="small")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure; the file's ending, one of `ENDINGS`, says how."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def to_svg(figure: Figure) -> str:
    """Returns a figure as an `<svg>` element; the same figure always as the same text."""
    with matplotlib.rc_context({"svg.hashsalt": "rlsys"}):
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def quartiles(series: Iterable[Array], smooth: int = 1) -> Array:
    """Returns the lower quartile, median and upper quartile over series of different lengths.

    Args:
      series: arrays `[T]`; each is continued with its last value up to the longest.
      smooth: width of the moving average over the result.

    Returns:
      `[3, T - smooth + 1]`, or the plain mean where T is below `smooth`.
    """
    arrays = [np.asarray(values, np.float64) for values in series]
    longest = max(map(len, arrays))
    extended = np.stack([np.pad(values, (0, longest - len(values)), mode="edge") for values in arrays])
    found = np.quantile(extended, [0.25, 0.5, 0.75], axis=0)
    width = min(smooth, longest)
    return np.stack([np.convolve(row, np.full(width, 1 / width), mode="valid") for row in found])


def _panels(traces: Sequence[Trace], discount: float | None) -> dict[str, Callable[[Trace], Array | None]]:
    panels: dict[str, Callable[[Trace], Array | None]] = {"return": lambda trace: trace.returns}
    names = {name: value.ndim for trace in traces for name, value in trace.extras.items() if value.ndim <= 2}
    if PREDICTED_REWARD in names:
        panels["predicted return"] = lambda trace: np.cumsum(trace.extras[PREDICTED_REWARD])
    if discount is not None:
        panels["value"] = lambda trace: trace.value(discount)
    for name in sorted(names, key=names.__getitem__):
        if name != PREDICTED_REWARD:
            panels[name.replace("_", " ")] = lambda trace, name=name: trace.extras.get(name)  # type: ignore[misc]
    return panels


def _draw_quartiles(axes: Axes, label: str, values: Sequence[Array], bounds: bool, smooth: int) -> None:
    """Draws one line per group, or one per group and action."""
    columns = (
        [values] if values[0].ndim == 1 else [[value[:, a] for value in values] for a in range(values[0].shape[1])]
    )
    for action, column in enumerate(columns):
        low, middle, high = quartiles(column, smooth)
        decisions = np.arange(len(middle)) + (smooth - 1) / 2
        name = label if len(columns) == 1 else f"{label}, action {action}"
        (line,) = axes.plot(decisions, middle, label=name, linewidth=1)
        if bounds and len(column) > 1:
            axes.fill_between(decisions, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def _draw(axes: Axes, rows: Sequence[Row], over: str, names: Sequence[str], scale: float = 1.0) -> None:
    for name in names:
        points = [(row[over] / scale, row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]
        if points:
            x, y = np.array(points[:: 1 + len(points) // _MOST_POINTS]).T
            axes.plot(x, y, label=name, linewidth=1, marker="." if len(points) < 30 else "")
    if axes.get_lines():
        axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def _names(rows: Sequence[Row], prefix: str) -> list[str]:
    return sorted({name for row in rows for name in row if name.startswith(prefix)})
